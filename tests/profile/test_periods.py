"""The layout of the timeline in time: every moment has one partition, and they are few."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profile.domain.periods import ahead, kept_from, month_of, named, needed, period_of, start_of

MOMENTS = st.datetimes(timezones=st.just(UTC))
NOW = datetime(2026, 3, 15, tzinfo=UTC)

EVERY_MONTH = [datetime(year, month, 1, tzinfo=UTC) for year in (*range(1900, 2050), 1, 9999) for month in range(1, 13)]


@given(MOMENTS)
def test_every_moment_is_in_its_period(at: datetime) -> None:
    period = period_of(month_of(at)) if month_of(at) < month_of(datetime.max) else None
    if period is not None:
        assert period.start is None or period.start <= at
        assert at < period.end
        assert named(period.name) == period


@given(MOMENTS, MOMENTS)
def test_periods_do_not_overlap(one: datetime, other: datetime) -> None:
    first, second = sorted((one, other))
    if month_of(second) < month_of(datetime.max):
        before, after = period_of(month_of(first)), period_of(month_of(second))
        assert before == after or (after.start is not None and before.end <= after.start)


@given(MOMENTS)
def test_a_month_is_from_its_start_to_the_next_ones(at: datetime) -> None:
    month = month_of(at)
    assert start_of(month) <= at
    assert month == 9999 * 12 + 11 or at < start_of(month + 1)


def test_a_month_is_that_of_utc() -> None:
    assert month_of(datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=3)))) == 2026 * 12 + 1


@given(st.lists(MOMENTS))
def test_no_times_that_anybody_makes_up_need_many_partitions(moments: list[datetime]) -> None:
    found = needed([*moments, *EVERY_MONTH], NOW)
    assert len(found) == 1 + 50 + 6 * 12 + 4
    assert all(period.end <= datetime(2026, 5, 1, tzinfo=UTC) for period in found)


def test_this_month_and_the_next_are_needed_ahead() -> None:
    assert sorted(each.name for each in ahead(datetime(2026, 12, 31, 23, tzinfo=UTC))) == ["2026_12", "2027_01"]


@pytest.mark.parametrize(
    ("months", "kept"),
    [
        (1, datetime(2026, 2, 1, tzinfo=UTC)),
        (3, datetime(2025, 12, 1, tzinfo=UTC)),
        (74, datetime(2020, 1, 1, tzinfo=UTC)),
        (75, datetime(2019, 1, 1, tzinfo=UTC)),
        (100, datetime(2017, 1, 1, tzinfo=UTC)),
        (56 * 12 + 2, datetime(1970, 1, 1, tzinfo=UTC)),
        (56 * 12 + 3, None),
        (10**6, None),
    ],
)
def test_retention_never_cuts_a_partition_in_two(months: int, kept: datetime | None) -> None:
    assert kept_from(NOW, months) == kept


@pytest.mark.parametrize("name", ["rest", "2020", "1997_03", "2026_13", "before_1969", "0001"])
def test_no_other_name_is_a_periods(name: str) -> None:
    with pytest.raises(ValueError):
        named(name)
