"""Engagement: a decayed sum that no order of arrival can move, by a single bit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scoring.domain import engagement
from services.scoring.domain.decay import DAY, Decayed, term
from services.scoring.domain.engagement import Engagement, Signals, engaged, merged, shown
from shared import events
from shared.events import Touchpoint
from tests.builders import START, after, ordered, touchpoint, viewed
from tests.scoring.lives import LIVES, Arrival, arrivals

SIGNALS = Signals()


def engagement_of(*life: Touchpoint, signals: Signals = SIGNALS) -> Engagement:
    return merged(*(engaged(each, signals) for each in life))


def at(known: Engagement, now: datetime, signals: Signals = SIGNALS) -> events.Engagement:
    return shown(known, signals, now)


def oracle(life: list[Touchpoint], now: datetime) -> tuple[float, float]:
    """Both sums as the paper has them, over the set of touchpoints."""
    positive = negative = 0.0
    for each in life:
        weight = SIGNALS.weights.get(str(each.data.name), SIGNALS.other)
        decayed = abs(weight) * 2 ** (-((now - each.at) / DAY) / SIGNALS.half_life)
        positive, negative = (positive + decayed, negative) if weight > 0 else (positive, negative + decayed)
    return positive, negative


# --- the sum ---------------------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(arrivals())
def test_the_order_and_the_place_of_arrival_never_show(arrival: Arrival) -> None:
    life, sides = arrival
    whole, parts = engagement_of(*life), merged(*(engagement_of(*side) for side in sides))
    assert msgspec.json.encode(parts) == msgspec.json.encode(whole)  # the same bytes, not nearly the same number


@settings(max_examples=80)
@given(LIVES)
def test_it_is_the_forward_decayed_sum_of_the_paper(life: list[Touchpoint]) -> None:
    now = datetime(2027, 1, 1, tzinfo=UTC)
    known, (positive, negative) = at(engagement_of(*life), now), oracle(life, now)
    assert known.positive == pytest.approx(positive, rel=1e-9, abs=1e-4)
    assert known.negative == pytest.approx(negative, rel=1e-9, abs=1e-4)


def test_a_weight_halves_with_each_half_life() -> None:
    once = term(8.0, START, 30)
    assert once.at(START, 30) == pytest.approx(8.0, rel=1e-11)
    assert once.at(START + timedelta(days=30), 30) == pytest.approx(4.0, rel=1e-11)
    assert once.at(START + timedelta(days=90), 30) == pytest.approx(1.0, rel=1e-11)


def test_nothing_known_is_nothing() -> None:
    assert Decayed().at(START, 30) == 0
    assert term(0.0, START, 30) == Decayed()
    assert Decayed() + term(1.0, START, 30) == term(1.0, START, 30)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_no_clock_makes_a_state_grow_without_end(moment: datetime) -> None:
    both = term(1.0, moment, 1.0) + term(1.0, datetime(2100, 1, 1, tzinfo=UTC), 1.0)
    assert len(msgspec.json.encode(both)) < 16_000
    assert both.at(datetime(1, 1, 2, tzinfo=UTC), 1.0) >= 0  # a clock far behind does not raise either


def test_what_was_counted_keeps_its_pace_when_the_setting_changes() -> None:
    before = engagement_of(ordered(), signals=Signals(half_life=30))
    since = engagement_of(ordered(), signals=Signals(half_life=10))
    known = at(merged(before, since), after(days=30))
    assert known.positive == pytest.approx(10 / 2 + 10 / 8, abs=1e-3)


def test_an_event_can_have_a_pace_of_its_own() -> None:
    signals = Signals(half_lives={"Complaint Opened": 90})
    known = at(engagement_of(touchpoint("Complaint Opened"), signals=signals), after(days=90), signals)
    assert known.negative == pytest.approx(4.0, abs=1e-3)


# --- the score -------------------------------------------------------------------------------------------------------


def test_k_points_are_a_score_of_fifty() -> None:
    known = at(engagement_of(ordered()), START)
    assert (known.score, known.positive, known.negative) == (50.0, 10.0, 0.0)


def test_what_speaks_against_is_taken_off_and_never_below_zero() -> None:
    happy, angry = engagement_of(ordered()), engagement_of(touchpoint("Complaint Opened", user="u-1"))
    assert at(merged(happy, angry), START).score == pytest.approx(100 * 2 / 12, abs=1e-3)
    assert at(angry, START).score == 0
    assert at(angry, START).negative == 8


def test_unknown_events_count_a_little_and_what_the_company_does_not_at_all() -> None:
    assert at(engagement_of(touchpoint("Anything")), START).positive == 1
    assert at(engagement_of(touchpoint("Offer Shown")), START).positive == 0
    assert at(engagement_of(touchpoint("Promise Kept")), START).positive == 0


@pytest.mark.parametrize("score", [0, 10])
def test_what_people_say_in_surveys_never_shows(score: int) -> None:
    answered = touchpoint("Feedback Given", properties={"kind": "nps", "score": score})
    assert engagement_of(answered) == Engagement()


def test_withdrawing_consent_speaks_against_and_granting_it_for() -> None:
    withdrawn = touchpoint("Consent Changed", properties={"purpose": "marketing", "granted": False})
    granted = touchpoint("Consent Changed", properties={"purpose": "marketing", "granted": True})
    unclear = touchpoint("Consent Changed", properties={"granted": "perhaps"})
    assert at(engagement_of(withdrawn), START).negative == 8
    assert at(engagement_of(granted), START).positive == 2
    assert at(engagement_of(unclear), START).negative == 8


def test_a_page_named_like_an_event_is_still_a_page() -> None:
    assert engagement.signal(viewed("Order Completed")) == "page"
    assert at(engagement_of(viewed("Order Completed")), START).positive == 1
