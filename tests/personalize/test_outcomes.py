"""Feedback: whatever comes in whatever order, each outcome teaches once, and what a plain oracle says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.personalize.domain.evidence import NOTHING, Counts
from services.personalize.domain.outcomes import Outcome, Subject, Times, Windows, due, feedback, fold, lesson, subject
from shared.events import Touchpoint
from tests.builders import START, after, touchpoint
from tests.personalize.questions import decided, offer

WINDOWS = Windows(click=timedelta(minutes=30), outbound_click=timedelta(days=3), acceptance=timedelta(days=7))
END = after(days=30)
"""Every window has closed by then."""

WEB, MAIL = (Subject("home", channel, 1, (1.0, 0.0)) for channel in ("web", "email"))
DECISIONS = {"d-1": WEB, "d-2": MAIL, "d-3": WEB}
STEPS = ("Shown", "Clicked", "Accepted", "Dismissed")

Told = Touchpoint | str
"""Feedback, or the id of a decision whose record arrives."""


def said(step: str, decision: str = "d-1", offer: str = "tea", *, at: datetime = START) -> Touchpoint:
    return touchpoint(f"Offer {step}", properties={"decision_id": decision, "offer_id": offer}, at=at)


class Tally:
    """What the store and the learner keep, in memory: outcomes, what each was counted for, and the sum."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str], Outcome] = defaultdict(Outcome)
        self.counted: dict[tuple[str, str], Counts] = defaultdict(Counts)
        self.evidence: dict[str, Counts] = defaultdict(Counts)

    def take(self, batch: Iterable[Told], now: datetime) -> None:
        for told in batch:
            for key, more in self._news(told):
                known = self.outcomes[key]
                self.outcomes[key] = Outcome(fold([known.times, more.times]), known.subject or more.subject)
        for key, outcome in self.outcomes.items():
            taught = lesson(outcome, WINDOWS, now)
            self.evidence[key[1]] = self.evidence[key[1]].plus(taught.minus(self.counted[key]))
            self.counted[key] = taught

    def _news(self, told: Told) -> list[tuple[tuple[str, str], Outcome]]:
        if isinstance(told, str):
            return [((told, offer), Outcome(subject=DECISIONS[told])) for offer in ("tea", "coffee")]
        word = feedback(told)
        assert word is not None
        return [((word.decision_id or "", word.offer_id), Outcome(word.times))]


def oracle(told: Sequence[Told]) -> dict[str, Counts]:
    """The counts at `END`, from the set of what was told: all windows are closed, silence has spoken."""
    recorded = {each for each in told if isinstance(each, str)}
    steps = defaultdict(set)
    for each in told:
        if isinstance(each, Touchpoint) and each.properties()["decision_id"] in recorded:
            steps[each.properties()["decision_id"], each.properties()["offer_id"]].add((each.data.name or "")[6:])
    clicked = {key for key, seen in steps.items() if seen & {"Clicked", "Accepted"}}
    accepted = {key for key, seen in steps.items() if "Accepted" in seen}
    shown, clicks, taken = (Counter(offer for _, offer in keys) for keys in (steps, clicked, accepted))
    return {offer: Counts(shown[offer], clicks[offer], clicks[offer], taken[offer]) for offer in shown}


touchpoints = st.builds(
    lambda step, decision, offer, minutes: said(step, decision, offer, at=after(minutes)),
    st.sampled_from(STEPS),
    st.sampled_from([*DECISIONS, "unheard of"]),
    st.sampled_from(["tea", "coffee"]),
    st.integers(0, 14 * 24 * 60),
)


@given(st.lists(touchpoints, max_size=12), st.sets(st.sampled_from(list(DECISIONS))), st.data())
@settings(max_examples=100, deadline=None)
def test_order_duplication_and_batches_never_show(
    contacts: list[Touchpoint], records: set[str], data: st.DataObject
) -> None:
    told: list[Told] = [*contacts, *sorted(records)]
    again = data.draw(st.lists(st.sampled_from(told), max_size=8)) if told else []
    arrival = data.draw(st.permutations([*told, *again]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arrival)), max_size=4)))
    moments = sorted(data.draw(st.lists(st.integers(0, 20 * 24 * 60), min_size=5, max_size=5)))

    tally = Tally()
    for start, stop, minutes in zip([0, *cuts], [*cuts, len(arrival)], moments, strict=False):
        tally.take(arrival[start:stop], after(minutes))
    tally.take([], END)
    assert {offer: counts for offer, counts in tally.evidence.items() if any(counts)} == oracle(told)


# --- one by one ------------------------------------------------------------------------------------------------------


def outcome(*steps: tuple[str, float], subject: Subject | None = WEB) -> Outcome:
    """Steps, each that many minutes after `START`."""
    words = [feedback(said(step, at=after(minutes))) for step, minutes in steps]
    return Outcome(fold(word.times for word in words if word is not None), subject)


@pytest.mark.parametrize(
    ("steps", "minutes", "taught", "next_minutes"),
    [
        ([("Shown", 0)], 29, NOTHING, 30),
        ([("Shown", 0)], 30, Counts(1, 0, 0, 0), None),
        ([("Shown", 0), ("Clicked", 5)], 5, Counts(1, 1, 0, 0), 5 + 7 * 1440),
        ([("Shown", 0), ("Clicked", 5)], 5 + 7 * 1440, Counts(1, 1, 1, 0), None),
        ([("Clicked", 5)], 6, Counts(1, 1, 0, 0), 5 + 7 * 1440),
        ([("Accepted", 5)], 6, Counts(1, 1, 1, 1), None),
        ([("Shown", 0), ("Dismissed", 1)], 1, Counts(1, 0, 0, 0), None),
        ([("Clicked", 1), ("Dismissed", 2)], 2, Counts(1, 1, 1, 0), None),
        ([("Dismissed", 2), ("Accepted", 3)], 3, Counts(1, 1, 1, 1), None),
        ([("Shown", 0), ("Clicked", 600)], 601, Counts(1, 1, 0, 0), 600 + 7 * 1440),
    ],
)
def test_what_an_outcome_teaches_and_when_it_is_due(
    steps: list[tuple[str, float]], minutes: float, taught: Counts, next_minutes: float | None
) -> None:
    known = outcome(*steps)
    assert lesson(known, WINDOWS, after(minutes)) == taught
    assert due(known, WINDOWS, after(minutes)) == (None if next_minutes is None else after(next_minutes))


def test_where_the_company_speaks_first_silence_takes_longer() -> None:
    known = outcome(("Shown", 0), subject=MAIL)
    assert lesson(known, WINDOWS, after(days=2.9)) == NOTHING
    assert due(known, WINDOWS, after(days=2.9)) == after(days=3)
    assert lesson(known, WINDOWS, after(days=3)) == Counts(1, 0, 0, 0)


def test_without_the_decisions_record_nothing_is_taught() -> None:
    unknown = outcome(("Accepted", 0), subject=None)
    assert (lesson(unknown, WINDOWS, END), due(unknown, WINDOWS, END)) == (NOTHING, None)


def test_a_record_without_feedback_teaches_nothing() -> None:
    assert (lesson(Outcome(subject=WEB), WINDOWS, END), due(Outcome(subject=WEB), WINDOWS, END)) == (NOTHING, None)


@pytest.mark.parametrize(
    "properties",
    [{}, {"offer_id": ""}, {"offer_id": 7}, {"offer_id": "x" * 201}, {"offer_id": "tea", "decision_id": "x" * 201}],
)
def test_feedback_that_names_no_offer_of_ours_is_none(properties: dict[str, object]) -> None:
    assert feedback(touchpoint("Offer Shown", properties=properties)) is None


def test_only_tracked_feedback_counts() -> None:
    assert feedback(touchpoint("Product Viewed", properties={"offer_id": "tea"})) is None
    assert feedback(touchpoint("Offer Shown", kind="page", properties={"offer_id": "tea"})) is None
    word = feedback(touchpoint("Offer Shown", properties={"offer_id": "tea", "position": 3}))
    assert word is not None
    assert (word.decision_id, word.times) == (None, Times(shown=START))


def test_a_decision_for_somebody_unknown_teaches_nothing() -> None:
    choice = decided(offer())
    assert subject(choice) == Subject("home", "web", choice.learner_version, choice.features)
    assert subject(replace(choice, degraded=("profile",))) is not None, "who it is was remembered"
    assert subject(replace(choice, degraded=("profile", "holdout"))) is None
