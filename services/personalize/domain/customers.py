"""What a decision knows of the person it is made for: the view, if there is one, and what they have been shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from shared.events import View
from shared.facts import PROVENANCE, provenance
from shared.identifiers import Identifier, normal

Facts = dict[str, Any]
"""What rules see: each variable's JSON value, and the datetime `now`."""


NOTHING_ORDERED: Mapping[str, Any] = {"order_count": 0, "order_value": 0.0}


class Exposure(msgspec.Struct, frozen=True):
    """One time that an offer was put before the person, and whether they took it or waved it away."""

    offer_id: str
    shown_at: datetime
    accepted_at: datetime | None = None
    dismissed_at: datetime | None = None


class Past(msgspec.Struct, frozen=True):
    """All that happened between one person and one offer: every exposure, the last acceptance, the last dismissal."""

    shown: tuple[datetime, ...] = ()
    accepted: datetime | None = None
    dismissed: datetime | None = None


Reliance = Literal["current", "recent", "unknown"]
"""How far what is known of a person may be relied on.

current: it was looked up for this decision, in a read model that keeps up.
recent: it was true a short while ago. It says who the person is, but not what they have said or seen since.
unknown: the person could not be looked up. There may be an old view and old exposures; what they say against an offer
still counts, what they say for it does not.
"""


class Known(msgspec.Struct, frozen=True):
    """What is known of the asked person. `view` is None for a visitor without a profile: a normal case."""

    view: View | None = None
    exposures: tuple[Exposure, ...] = ()
    reliance: Reliance = "current"

    @property
    def side(self) -> bool:
        """Whether it is known which side of the holdout the person is on."""
        return self.reliance != "unknown" or self.view is not None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The question: what to offer this person, here, now."""

    profile: Identifier
    placement: str
    channel: str
    context: dict[str, Any] = {}
    limit: int = 1


def person(text: str) -> Identifier:
    """`user_id:u-17` as an identifier, its value as profiles compare it. Raises ValueError: how it should be."""
    return normal(Identifier.parse(text.strip()))


def pasts(exposures: Iterable[Exposure]) -> Mapping[str, Past]:
    """The exposures by offer."""
    by_offer: dict[str, list[Exposure]] = {}
    for exposure in exposures:
        by_offer.setdefault(exposure.offer_id, []).append(exposure)
    return {
        offer_id: Past(
            shown=tuple(sorted(exposure.shown_at for exposure in there)),
            accepted=max((each.accepted_at for each in there if each.accepted_at is not None), default=None),
            dismissed=max((each.dismissed_at for each in there if each.dismissed_at is not None), default=None),
        )
        for offer_id, there in by_offer.items()
    }


def root(request: Request, view: View | None) -> str:
    """The identifier that decides on the holdout: what the person was first seen with, as far as anybody knows.

    Of somebody who can't be looked up it is the identifier asked for. For most visitors they are the same, and the
    record of the decision says that the side was not known.
    """
    return view.root if view is not None and view.root is not None else str(request.profile)


def facts(request: Request, view: View | None, now: datetime, *, with_provenance: bool = False) -> Facts:
    """What eligibility rules may ask about. What is not known is absent, so that a rule about it is unknown; a visitor
    without a profile has ordered nothing and is in no stage, no segment and no group. `with_provenance`: whether a rule
    asks for it."""
    view = view if view is not None else View(profile_id="", version=0)
    return {
        "traits": {name: trait.value for name, trait in view.traits.items()},
        "computed": {
            **{name: value for name, value in {**NOTHING_ORDERED, **view.computed}.items() if value is not None},
            "touchpoint_count": view.touchpoints.count,
            **_named("first_touchpoint_at", view.touchpoints.first_at),
            **_named("last_touchpoint_at", view.touchpoints.last_at),
        },
        "scores": _present(view.scores) if view.scores is not None else {},
        "stage": view.stage.name if view.stage is not None else "",
        "segments": [segment.id for segment in view.segments],
        "consent": msgspec.to_builtins(view.consent),
        "channels": view.touchpoints.channels,
        "groups": [group.id for group in view.groups],
        "now": now,
        "context": request.context,
        "channel": request.channel,
        "placement": request.placement,
        **({PROVENANCE: provenance(view)} if with_provenance else {}),
    }


def _present(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if value is not None}


def _named(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}
