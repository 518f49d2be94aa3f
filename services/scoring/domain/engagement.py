"""Engagement: how much of late a person has turned to the company, and how much away from it.

Two decayed sums, one of what speaks for the relationship and one of what speaks against it (complaint, dismissal,
unsubscribing), each halved with time. Shown is `100·S/(S+k)` with `S = max(positive − negative, 0)`: k is the
S of a score of 50, and a complaint weighs as much as its weight in contacts. Behaviour is not attitude: what people
answer in surveys (NPS, CSAT, ...) never enters here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from services.scoring.domain.decay import Decayed, term
from shared import events
from shared.events import Touchpoint

WEIGHTS: Mapping[str, float] = MappingProxyType({
    # Calls other than track go by their type.
    "page": 1.0,
    "screen": 1.0,
    "identify": 2.0,
    "group": 0.0,
    "alias": 0.0,
    # The nearer to a purchase, the more.
    "Product Viewed": 2.0,
    "Product Added": 4.0,
    "Checkout Started": 5.0,
    "Order Completed": 10.0,
    "Points Spent": 3.0,
    "Referral Made": 8.0,
    "Offer Clicked": 3.0,
    "Offer Accepted": 5.0,
    # What the company does, and what people say in surveys, is not the person's engagement.
    "Offer Shown": 0.0,
    "Points Earned": 0.0,
    "Promise Made": 0.0,
    "Promise Kept": 0.0,
    "Complaint Resolved": 0.0,
    "Feedback Given": 0.0,
    "Order Refunded": 0.0,
    # Against.
    "Offer Dismissed": -2.0,
    "Complaint Opened": -8.0,
    "Unsubscribed": -8.0,
    "Consent Granted": 2.0,
    "Consent Withdrawn": -8.0,
})  # fmt: skip
"""Points of a touchpoint by what it is: see `signal`. Below zero speaks against."""


class Signals(msgspec.Struct, frozen=True):
    """What touchpoints mean for engagement: configuration, with defaults that suit a shop."""

    weights: Mapping[str, float] = msgspec.field(default_factory=lambda: WEIGHTS)
    # Of track events without a weight of their own.
    other: float = 1.0
    # Days after which a touchpoint counts half, and where some events keep their own pace.
    half_life: float = 30.0
    half_lives: Mapping[str, float] = {}
    # The sum that shows as a score of 50.
    k: float = 10.0


class Engagement(msgspec.Struct, frozen=True):
    """Both sums, by half-life in days: after the setting changes, what was counted before decays as it was counted."""

    positive: Mapping[str, Decayed] = {}
    negative: Mapping[str, Decayed] = {}


def signal(touchpoint: Touchpoint) -> str:
    """Under which name the touchpoint's weight is found: its event for `track`, its type for the other calls.

    `Consent Changed` is two things: `Consent Granted` and `Consent Withdrawn`.
    """
    call = touchpoint.data
    if call.type != "track":
        return call.type
    if call.name == "Consent Changed":
        return "Consent Granted" if _granted(touchpoint) else "Consent Withdrawn"
    return call.name or ""


class _Consent(msgspec.Struct):
    granted: bool | None = None


def _granted(touchpoint: Touchpoint) -> bool:
    try:
        return bool(msgspec.json.decode(touchpoint.data.properties, type=_Consent).granted)
    except msgspec.ValidationError:
        return False  # anything but true grants nothing


def engaged(touchpoint: Touchpoint, signals: Signals) -> Engagement:
    """The engagement in this one touchpoint."""
    name = signal(touchpoint)
    weight = signals.weights.get(name, signals.other)
    half_life = signals.half_lives.get(name, signals.half_life)
    if weight == 0:
        return Engagement()
    sums = {repr(float(half_life)): term(abs(weight), touchpoint.at, half_life)}
    return Engagement(positive=sums) if weight > 0 else Engagement(negative=sums)


def merged(*sides: Engagement) -> Engagement:
    """All sides in one: commutative and associative, to the last bit."""
    return Engagement(
        positive=_added([side.positive for side in sides]),
        negative=_added([side.negative for side in sides]),
    )


def shown(engagement: Engagement, signals: Signals, now: datetime) -> events.Engagement:
    """What others see of it, as of `now`."""
    positive, negative = (
        math.fsum(decayed.at(now, float(half_life)) for half_life, decayed in sums.items())
        for sums in (engagement.positive, engagement.negative)
    )
    net = max(positive - negative, 0.0)
    return events.Engagement(
        score=round(100 * net / (net + signals.k), 4), positive=round(positive, 4), negative=round(negative, 4)
    )


def _added(sides: list[Mapping[str, Decayed]]) -> dict[str, Decayed]:
    total: dict[str, Decayed] = {}
    for side in sides:
        for half_life, decayed in side.items():
            total[half_life] = total.get(half_life, Decayed()) + decayed
    return {half_life: total[half_life] for half_life in sorted(total)}
