"""Purchases: days, not moments; money to the cent; refunds where they belong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings

from services.scoring.domain import fragment
from services.scoring.domain.cohort import Cohort
from services.scoring.domain.engagement import Signals
from services.scoring.domain.fragment import Fragment
from services.scoring.domain.purchases import (
    Days,
    DayTotal,
    bought,
    history,
    last_known_day,
    merged,
    purchases_between,
)
from shared.events import Touchpoint
from tests.builders import START, after, ordered, touchpoint, viewed
from tests.scoring.lives import LIVES, Arrival, arrivals

TODAY = START.date()


def days_of(*life: Touchpoint, zone: Any = UTC) -> Days:
    return merged(*(bought(each, zone) for each in life))


def fragment_of(life: Iterable[Touchpoint]) -> Fragment:
    return fragment.merged([Fragment(), *(fragment.fragment(each, Signals(), UTC) for each in life)])


def refunded(total: float, **rest: Any) -> Touchpoint:
    when = {"ordered_at": rest.pop("ordered_at")} if "ordered_at" in rest else {}
    return touchpoint("Order Refunded", user="u-1", properties={"total": total, **when}, **rest)


def state(days: Days, through: date) -> tuple[int, int, int, float]:
    """(x, t_x, T, z̄), in days."""
    known = history(days, through)
    assert known is not None
    cohort = Cohort.of([known], through)
    return int(cohort.x[0]), int(cohort.t_x_days[0]), int(cohort.T_days[0]), float(cohort.mean_value[0])


def oracle(life: list[Touchpoint], through: date) -> tuple[int, int, int, float] | None:
    """The state, straight from the set of touchpoints."""
    orders: dict[date, int] = defaultdict(int)
    money: dict[date, int] = defaultdict(int)
    for each in life:
        for day, total in bought(each, UTC).items():
            if day <= through:
                orders[day] += total.orders
                money[day] += total.micros
    on = sorted(day for day, count in orders.items() if count)
    if not on:
        return None
    repeat = sum(amount for day, amount in money.items() if day > on[0] and any(on[0] < each <= day for each in on))
    x = len(on) - 1
    return x, (on[-1] - on[0]).days, (through - on[0]).days, repeat / x / 1e6 if x else 0.0


# --- order never shows -----------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(arrivals())
def test_a_fragment_knows_only_the_set_of_its_touchpoints(arrival: Arrival) -> None:
    life, sides = arrival
    whole, parts = fragment_of(life), fragment.merged(fragment_of(side) for side in sides)
    assert msgspec.json.encode(parts) == msgspec.json.encode(whole)


@settings(max_examples=80)
@given(LIVES)
def test_the_state_is_what_the_set_says(life: list[Touchpoint]) -> None:
    for through in (date(2010, 6, 1), date(2030, 1, 1)):
        expected = oracle(life, through)
        days = days_of(*life)
        if expected is None:
            assert history(days, through) is None
        else:
            assert state(days, through) == pytest.approx(expected)


@settings(max_examples=50)
@given(LIVES)
def test_a_fragment_survives_being_written_down(life: list[Touchpoint]) -> None:
    known = fragment_of(life)
    assert msgspec.json.decode(msgspec.json.encode(known), type=Fragment) == known


# --- days ------------------------------------------------------------------------------------------------------------


def test_two_orders_of_one_day_are_one_purchase_day_even_when_they_arrive_late() -> None:
    days = days_of(ordered(10, order="o-2", at=after(days=7, minutes=5)), ordered(20), ordered(30, at=after(days=7)))
    assert state(days, TODAY + timedelta(days=14)) == (1, 7, 14, 40.0)
    assert history(days, date.max).orders == 3  # type: ignore[union-attr]


def test_a_day_begins_at_midnight_of_the_account() -> None:
    evening = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
    assert list(days_of(ordered(at=evening), zone=ZoneInfo("Europe/Istanbul"))) == [date(2026, 3, 2)]
    assert list(days_of(ordered(at=evening), zone=ZoneInfo("America/Los_Angeles"))) == [date(2026, 3, 1)]


def test_now_is_the_day_of_its_last_elapsed_microsecond() -> None:
    midnight = datetime(1997, 10, 1, tzinfo=UTC)
    assert last_known_day(midnight, UTC) == date(1997, 9, 30)
    assert last_known_day(midnight + timedelta(microseconds=1), UTC) == date(1997, 10, 1)
    assert last_known_day(midnight, ZoneInfo("Europe/Istanbul")) == date(1997, 10, 1)


def test_what_came_later_is_not_known_yet() -> None:
    days = days_of(ordered(), ordered(at=after(days=5)), ordered(at=after(days=9)))
    assert state(days, TODAY + timedelta(days=6)) == (1, 5, 6, 10.0)
    assert history(days, TODAY - timedelta(days=1)) is None
    assert purchases_between(days, TODAY, TODAY + timedelta(days=9)) == (2, 20_000_000)
    assert purchases_between(days, TODAY + timedelta(days=5), date.max) == (1, 10_000_000)


def test_the_first_purchase_today_is_a_customer_of_zero_weeks() -> None:
    assert state(days_of(ordered()), TODAY) == (0, 0, 0, 0.0)


# --- refunds ---------------------------------------------------------------------------------------------------------


def test_a_refund_is_negative_money_on_its_orders_day() -> None:
    days = days_of(
        ordered(), ordered(50, at=after(days=3)), refunded(20, at=after(days=9), ordered_at="2026-03-04T10:00:00Z")
    )
    assert days[date(2026, 3, 4)] == DayTotal(1, 30_000_000)
    assert state(days, TODAY + timedelta(days=10)) == (1, 3, 10, 30.0)


def test_a_day_with_only_refunds_is_no_purchase_day_and_its_money_is_missing_all_the_same() -> None:
    days = days_of(ordered(), ordered(50, at=after(days=3)), refunded(20, at=after(days=9)))
    assert state(days, TODAY + timedelta(days=10)) == (1, 3, 10, 30.0)
    assert history(days, date.max).micros == 40_000_000  # type: ignore[union-attr]
    # Before the refund nobody knew of it.
    assert state(days, TODAY + timedelta(days=8)) == (1, 3, 8, 50.0)


def test_who_only_ever_returned_something_is_no_customer() -> None:
    assert history(days_of(refunded(20)), date.max) is None


@pytest.mark.parametrize("when", ["yesterday", 17, None, "2026-13-01"])
def test_a_refund_whose_orders_day_makes_no_sense_counts_on_its_own(when: object) -> None:
    assert list(days_of(refunded(20, ordered_at=when))) == [TODAY]


def test_an_order_at_the_ends_of_the_calendar_is_an_order_everywhere() -> None:
    for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        for zone in ("America/New_York", "Europe/Istanbul"):
            days = days_of(msgspec.structs.replace(ordered(5), time=at), zone=ZoneInfo(zone))
            assert [each.orders for each in days.values()] == [1]


# --- money -----------------------------------------------------------------------------------------------------------


def test_an_order_without_a_price_is_still_a_purchase() -> None:
    assert bought(touchpoint("Order Completed", user="u-1"), UTC) == {TODAY: DayTotal(1, 0)}


def test_nothing_but_orders_is_a_purchase() -> None:
    assert not days_of(viewed(), viewed("Order Completed"), touchpoint("order completed"))


def test_properties_that_are_no_object_are_refused() -> None:
    broken = ordered()
    broken = msgspec.structs.replace(broken, data=msgspec.structs.replace(broken.data, properties=msgspec.Raw(b"[1]")))
    with pytest.raises(msgspec.DecodeError):
        bought(broken, UTC)
