"""The unified view of one person, folded from what is known; and what rules see of it.

Everything in a view is sorted: two reads of one state are the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from services.profile.domain import groups
from services.profile.domain.consent import Consents
from services.profile.domain.fragment import REFERRAL, Fragment
from services.profile.domain.graph import Standing, root
from services.profile.domain.groups import Stays
from services.profile.domain.traits import Traits
from shared.clock import rfc3339
from shared.events import Consent, InGroup, KnownIdentifier, ShownScores, Touchpoints, Trait, View

Facts = dict[str, Any]
"""What rules see: each variable's JSON value, and the datetime `now`."""


def view(
    profile_id: str, version: int, members: Iterable[Standing], known: Fragment, scores: ShownScores | None
) -> View:
    """The view of the person who is `members`, before anybody's rules: without segments and stage."""
    members = sorted(members, key=lambda member: member.identifier)
    return View(
        profile_id=profile_id,
        version=version,
        root=str(root(members)),
        identifiers=tuple(
            KnownIdentifier(member.identifier.kind, member.identifier.value, rfc3339(member.since))
            for member in members
        ),
        traits=_traits(known.traits),
        computed={
            "order_count": known.orders.count,
            "order_value": known.orders.value,
            "first_order_at": _shown(known.orders.first),
            "last_order_at": _shown(known.orders.last),
        },
        touchpoints=Touchpoints(
            count=known.count,
            first_at=None if known.first is None else rfc3339(known.first.at),
            last_at=None if known.last is None else rfc3339(known.last.at),
            channels=dict(sorted(known.channels.items())),
        ),
        groups=_groups(known.groups),
        consent=_consent(known.consent),
        scores=scores,
    )


def facts(seen: View, known: Fragment, now: datetime) -> Facts:
    """What rules may ask about a person. What is not known is absent, so that a rule about it is unknown."""
    return {
        "traits": {name: trait.value for name, trait in seen.traits.items()},
        "computed": {
            **{name: value for name, value in seen.computed.items() if value is not None},
            "touchpoint_count": seen.touchpoints.count,
            **_named("first_touchpoint_at", seen.touchpoints.first_at),
            **_named("last_touchpoint_at", seen.touchpoints.last_at),
            "referral_count": known.events.get(REFERRAL, 0),
        },
        "scores": _present(seen.scores) if seen.scores is not None else {},
        "consent": msgspec.to_builtins(seen.consent),
        "channels": seen.touchpoints.channels,
        "groups": [group.id for group in seen.groups],
        "now": now,
    }


def _traits(traits: Traits) -> dict[str, Trait]:
    return {
        name: Trait(word.value, rfc3339(word.at), word.source, word.touchpoint_id)
        for name, word in sorted(traits.items())
        if word.value is not None
    }


def _groups(stays: Stays) -> tuple[InGroup, ...]:
    return tuple(InGroup(group_id, rfc3339(since)) for group_id, since in groups.present(stays).items())


def _consent(consents: Consents) -> dict[str, dict[str, Consent]]:
    return {
        purpose: {
            channel: Consent(verdict.granted, rfc3339(verdict.at), verdict.touchpoint_id)
            for channel, verdict in sorted(channels.items())
        }
        for purpose, channels in sorted(consents.items())
    }


def _present(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if value is not None}


def _named(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value}


def _shown(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
