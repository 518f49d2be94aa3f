"""The unified view of one person, folded from what is known; and what rules see of it.

Everything in a view is sorted: two reads of one state are the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from services.profile.domain import consent, groups, traits
from services.profile.domain.fragment import REFERRAL, Fragment
from services.profile.domain.graph import Standing, root
from shared.clock import rfc3339
from shared.events import KnownIdentifier, ShownScores, Touchpoints, Trait, View
from shared.facts import PROVENANCE, provenance

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
            KnownIdentifier(member.identifier.kind, member.identifier.value, rfc3339(member.since), member.trust)
            for member in members
        ),
        traits=_traits(known),
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
        groups=groups.present(known.groups),
        consent=consent.shown(known.consent, known.client_consent),
        scores=scores,
    )


def facts(seen: View, known: Fragment, now: datetime, *, with_provenance: bool = False) -> Facts:
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
        **({PROVENANCE: provenance(seen)} if with_provenance else {}),
    }


def _traits(known: Fragment) -> dict[str, Trait]:
    return {
        name: Trait(word.value, rfc3339(word.at), word.source, word.touchpoint_id, trust)
        for name, (word, trust) in sorted(traits.winners(known.traits, known.client_traits).items())
        if word.value is not None
    }


def _present(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if value is not None}


def _named(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value}


def _shown(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
