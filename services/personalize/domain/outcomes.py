"""Outcomes: what became of an offer that was decided on, and what that teaches.

One outcome per (decision, offer). It is folded from feedback by keeping the earliest time of each step, which is
commutative, associative and idempotent; what it teaches depends on it and on the present alone. So feedback may come
late, twice, in any order, before its own decision's record: each outcome teaches once, and the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from services.personalize.domain.channels import OUTBOUND
from services.personalize.domain.evidence import NOTHING, Counts
from shared.clock import later
from shared.events import Choice, Touchpoint

Step = Literal["shown", "clicked", "accepted", "dismissed"]

STEPS: Mapping[str, Step] = {
    "Offer Shown": "shown",
    "Offer Clicked": "clicked",
    "Offer Accepted": "accepted",
    "Offer Dismissed": "dismissed",
}
"""The touchpoints that are feedback, by name."""

IMPLIED: Mapping[Step, tuple[Step, ...]] = {
    "shown": ("shown",),
    "clicked": ("shown", "clicked"),
    "accepted": ("shown", "clicked", "accepted"),
    "dismissed": ("shown", "dismissed"),
}
"""What a step says has happened: nobody accepts what they have not been shown."""

SIDE_UNKNOWN = "holdout"
"""Among what a decision had to do without: on which side of the holdout the person is."""

LONGEST_ID = 200
"""Characters of an id in feedback. Ours are shorter; what is longer names nothing we gave out."""


class Times(msgspec.Struct, frozen=True):
    """The earliest time of each step, where it has happened."""

    shown: datetime | None = None
    clicked: datetime | None = None
    accepted: datetime | None = None
    dismissed: datetime | None = None

    @classmethod
    def of(cls, step: Step, at: datetime) -> Times:
        return cls(**dict.fromkeys(IMPLIED[step], at))


class Feedback(msgspec.Struct, frozen=True):
    """One touchpoint's word on an offer. `decision_id` is None where the client named none: then the person has seen
    the offer, but nothing can be learned from it."""

    offer_id: str
    decision_id: str | None
    times: Times


class Subject(msgspec.Struct, frozen=True):
    """What a decision's record says of an outcome: what is learned is learned about this."""

    placement: str
    channel: str
    version: int
    features: tuple[float, ...]


class Outcome(msgspec.Struct, frozen=True):
    """What is known of one offer of one decision. Without its subject (the record is still on its way) it teaches
    nothing yet."""

    times: Times = Times()
    subject: Subject | None = None


class Windows(msgspec.Struct, frozen=True):
    """How long silence is awaited. A click in a channel where the company speaks first may take days to come."""

    click: timedelta
    outbound_click: timedelta
    acceptance: timedelta

    def of_click(self, channel: str) -> timedelta:
        return self.outbound_click if channel in OUTBOUND else self.click


class _Properties(msgspec.Struct):
    offer_id: str
    decision_id: str | None = None


def step(touchpoint: Touchpoint) -> Step | None:
    """Which step `touchpoint` reports; None where it is no feedback."""
    return STEPS.get(touchpoint.data.name or "") if touchpoint.data.type == "track" else None


def feedback(touchpoint: Touchpoint) -> Feedback | None:
    """What `touchpoint` says of an offer; None where it is no feedback, or names no offer that we could know."""
    reported = step(touchpoint)
    if reported is None:
        return None
    try:
        said = msgspec.json.decode(touchpoint.data.properties, type=_Properties)
    except msgspec.DecodeError:
        return None
    if not 0 < len(said.offer_id) <= LONGEST_ID or len(said.decision_id or "") > LONGEST_ID:
        return None
    return Feedback(said.offer_id, said.decision_id or None, Times.of(reported, touchpoint.at))


def subject(choice: Choice) -> Subject | None:
    """What feedback on `choice` teaches about.

    None where the person could not be looked up: they were decided for as a stranger, which they may not be, and
    without knowing whether they are in the holdout.
    """
    if SIDE_UNKNOWN in choice.degraded:
        return None
    return Subject(choice.placement, choice.channel, choice.learner_version, choice.features)


def fold(sides: Iterable[Times]) -> Times:
    """The earliest time of each step over all sides."""
    earliest: dict[str, datetime] = {}
    for side in sides:
        for each, at in msgspec.structs.asdict(side).items():
            if at is not None:
                earliest[each] = min(at, earliest.get(each, at))
    return Times(**earliest)


def lesson(outcome: Outcome, windows: Windows, now: datetime) -> Counts:
    """What `outcome` teaches as of `now`.

    A click or a dismissal settles an exposure, and so does silence once the click's window has closed; until then it is
    pending, and pending teaches nothing, rather than "no". An acceptance is awaited likewise after a click. A click
    that comes after its window still counts, and takes the silence back.
    """
    times, subject = outcome.times, outcome.subject
    if subject is None or times.shown is None:
        return NOTHING
    clicked, accepted, dismissed = times.clicked is not None, times.accepted is not None, times.dismissed is not None
    settled = clicked or dismissed or now >= later(times.shown, windows.of_click(subject.channel))
    considered = times.clicked is not None and (
        accepted or dismissed or now >= later(times.clicked, windows.acceptance)
    )
    return Counts(int(settled), int(clicked), int(considered), int(accepted))


def due(outcome: Outcome, windows: Windows, now: datetime) -> datetime | None:
    """When `outcome` will teach something else by the passing of time alone; None where it won't."""
    times, subject = outcome.times, outcome.subject
    if subject is None or times.shown is None:
        return None
    taught = lesson(outcome, windows, now)
    if not taught.shown:
        return later(times.shown, windows.of_click(subject.channel))
    if times.clicked is not None and not taught.considered:
        return later(times.clicked, windows.acceptance)
    return None
