"""One moment has one text, wherever it is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import LAST, later, milliseconds, rfc3339, system_clock


def test_times_are_shown_in_utc_with_three_digits() -> None:
    istanbul = timezone(timedelta(hours=3))
    assert rfc3339(datetime(2026, 3, 1, 13, 0, 0, 7_999, tzinfo=istanbul)) == "2026-03-01T10:00:00.007Z"


def test_milliseconds_cuts_and_never_rounds_up() -> None:
    late = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert milliseconds(late) == datetime(2026, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_shown_is_what_is_stored(at: datetime) -> None:
    assert datetime.fromisoformat(rfc3339(at)) == milliseconds(at)


@given(*[st.datetimes(timezones=st.just(UTC))] * 2)
def test_the_order_of_the_texts_is_the_order_of_the_moments(one: datetime, other: datetime) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (milliseconds(one) < milliseconds(other))


@given(st.datetimes())
def test_a_moment_without_a_zone_is_utc(at: datetime) -> None:
    """So PostgreSQL's driver gives the first one of our calendar."""
    assert rfc3339(at) == rfc3339(at.replace(tzinfo=UTC))


@given(st.datetimes(timezones=st.just(UTC)), st.timedeltas(min_value=timedelta(0)))
def test_nothing_is_later_than_the_end_of_our_calendar(at: datetime, by: timedelta) -> None:
    found = later(at, by)
    assert at <= found <= LAST
    assert found in (LAST, at + min(by, LAST - at))


def test_the_system_clock_gives_utc_to_the_millisecond() -> None:
    now = system_clock()
    assert now.tzinfo is UTC
    assert now == milliseconds(now)
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)
