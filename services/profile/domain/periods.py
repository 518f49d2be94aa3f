"""How the timeline is laid out in time: which partition a moment belongs to, and which of them are kept.

- From 2020 on a partition is a month; from 1970 to 2019 a year; all before 1970 is one. So whatever times clients make
  up, there are some fifty partitions of history, and twelve more for each year that really passes.
- What lies past the next month has none of its own and waits in the rest (`timeline_rest`) until its month is near.
- Retention counts in whole months, and never cuts a partition in two: reaching back before 2020 it keeps whole years.

A month is a number, counted since the year 0: months of all years compare, and none is out of a calendar's range.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import NamedTuple

YEARS = 1970
"""The first year with a partition of its own."""

MONTHS = 2020
"""The first year whose months have partitions of their own: older than any history that is removed by the month."""


FIRST_MONTH = MINYEAR * 12
LAST_MONTH = MAXYEAR * 12 + 11
"""Of our calendar."""


class Period(NamedTuple):
    """The time of one partition: from `start` on (None: from ever), up to but without `end`."""

    name: str
    start: datetime | None
    end: datetime


def month_of(at: datetime) -> int:
    """The month of `at`, in UTC."""
    at = at.astimezone(UTC)
    return at.year * 12 + at.month - 1


def start_of(month: int) -> datetime:
    """Its first moment."""
    year, index = divmod(month, 12)
    return datetime(year, index + 1, 1, tzinfo=UTC)


def period_of(month: int) -> Period:
    """The partition that `month` is in."""
    year, index = divmod(month, 12)
    if year < YEARS:
        return Period(f"before_{YEARS}", None, start_of(YEARS * 12))
    if year < MONTHS:
        return Period(f"{year}", start_of(year * 12), start_of(year * 12 + 12))
    return Period(f"{year}_{index + 1:02}", start_of(month), start_of(month + 1))


def needed(moments: Iterable[datetime], now: datetime) -> set[Period]:
    """The partitions that `moments` belong to. None for what lies past the next month."""
    latest = month_of(now) + 1
    return {period_of(month) for month in {month_of(at) for at in moments} if month <= latest}


def ahead(now: datetime) -> set[Period]:
    """The partitions that will be needed whatever happens: this month's and the next."""
    return {period_of(month_of(now)), period_of(month_of(now) + 1)}


def named(name: str) -> Period:
    """The period that has this name. Raises ValueError where none has."""
    year, _, index = name.removeprefix("before_").partition("_")
    before = int(year) - 1 if name.startswith("before_") else int(year)
    found = period_of(before * 12 + int(index or 1) - 1)
    if found.name != name:
        raise ValueError(f"{name} names no period")
    return found


def kept_from(now: datetime, months: int) -> datetime | None:
    """Before which moment nothing is kept, when `months` whole months are; None where that reaches back for ever."""
    return period_of(max(month_of(now) - months, 0)).start
