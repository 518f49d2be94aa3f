"""When a call happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.calls import Sent
from services.ingest.domain.moments import FUTURE, happened, moment

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-01T10:00:00Z",
        "2026-03-01T10:00:00.000Z",
        "2026-03-01T10:00:00.000999Z",
        "2026-03-01T10:00:00.000000999Z",
        "2026-03-01t10:00:00z",
        " 2026-03-01T10:00:00Z ",
        "2026-03-01 10:00:00",
        "2026-03-01T10:00:00",
        "2026-03-01T13:00:00+03:00",
        "2026-03-01T13:00:00+0300",
        "1772359200",
        1772359200,
        1772359200.0,
        1772359200000,
        1772359200000000,
        1772359200000000000,
    ],
)
def test_moments_are_read_however_they_are_written(written: object) -> None:
    assert moment(written) == TEN
    assert moment(written).tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        "",
        "2026-13-01",
        "0001-01-01T00:00:00+05:00",
        True,
        None,
        [],
        {},
        1e300,
        -1e300,
        float("nan"),
        "1" * 400,
    ],
)
def test_what_is_no_moment_is_refused(written: object) -> None:
    with pytest.raises(ValueError):
        moment(written)


def at(batch_sent_at: datetime | None = None, **fields: Any) -> datetime:
    return happened(Sent(**fields), NOW, batch_sent_at)[0]


def test_a_number_as_text_is_no_date() -> None:
    assert moment("1710101010101") == moment(1710101010101) == datetime(2024, 3, 10, 20, 3, 30, 101_000, tzinfo=UTC)
    assert moment("20260301") == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_call_without_a_time_happened_now() -> None:
    assert at() == NOW
    assert at(timestamp="", original_timestamp=None) == NOW


def test_the_original_timestamp_stands_in() -> None:
    assert at(original_timestamp="2026-03-01T10:00:00Z") == TEN
    assert at(timestamp="2026-03-01T10:00:00Z", original_timestamp="2026-03-01T09:00:00Z") == TEN


def test_a_clock_that_is_wrong_is_corrected_both_ways() -> None:
    for wrong in (timedelta(hours=1), timedelta(days=-400)):
        said = (TEN + wrong).isoformat()
        assert at(timestamp=said, sent_at=(NOW + wrong).isoformat()) == TEN
        assert at(NOW + wrong, original_timestamp=said) == TEN


def test_the_calls_own_sent_at_comes_before_that_of_its_batch() -> None:
    call = Sent(timestamp="2026-03-01T11:00:00Z", sent_at="2026-03-01T13:00:00Z")
    assert happened(call, NOW, NOW - timedelta(days=9))[0] == TEN


def test_the_way_here_is_no_wrong_clock() -> None:
    """Else an event that is sent twice would have two times, and it would matter which of them arrives."""
    first, second = (at(NOW - timedelta(seconds=late), timestamp="2026-03-01T10:00:00Z") for late in (0.02, 4.0))
    assert first == second == TEN


def test_a_wrong_clock_gives_a_resent_event_its_first_time() -> None:
    wrong = timedelta(hours=1)
    times = {at(NOW + wrong - timedelta(milliseconds=ms), timestamp="2026-03-01T11:00:00Z") for ms in (20, 400)}
    assert times == {TEN}


def test_a_time_that_another_collector_corrected_is_not_corrected_again() -> None:
    long_ago = "2026-02-01T10:00:00Z"
    assert at(timestamp=long_ago, sent_at=long_ago, received_at=long_ago) == datetime(2026, 2, 1, 10, tzinfo=UTC)


def test_a_sent_at_that_can_not_be_read_says_nothing_of_the_clock() -> None:
    unreadable: tuple[Any, ...] = ("soon", {}, True, 1e300)
    for sent_at in unreadable:
        assert at(timestamp="2026-03-01T10:00:00Z", sent_at=sent_at) == TEN


def test_the_future_is_cut_and_history_is_not() -> None:
    assert happened(Sent(timestamp="2027-03-01T10:00:00Z"), NOW, None) == (NOW + FUTURE, True)
    assert happened(Sent(timestamp="2026-03-01T12:04:00Z"), NOW, None) == (NOW + timedelta(minutes=4), False)
    assert at(timestamp="1970-01-01T00:00:00Z") == datetime(1970, 1, 1, tzinfo=UTC)
    assert at(timestamp="0001-01-01T00:00:00Z").year == 1


@given(st.one_of(st.text(), st.floats(), st.integers(), st.datetimes().map(str)))
def test_a_moment_is_in_utc_to_the_millisecond_or_is_refused(written: object) -> None:
    try:
        read = moment(written)
    except ValueError:
        return
    assert read.tzinfo is UTC
    assert read.microsecond % 1000 == 0
