"""Time is an argument: whoever needs the present takes a `Clock`, so that a test can say what time it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

LAST = datetime.max.replace(tzinfo=UTC)
"""The last moment of our calendar."""

Clock = Callable[[], datetime]
"""Gives the present, in UTC, to the millisecond."""


def system_clock() -> datetime:
    """The machine's time, in UTC, to the millisecond: finer than that no answer of ours shows."""
    return milliseconds(datetime.now(UTC))


def milliseconds(at: datetime) -> datetime:
    """`at` cut to whole milliseconds, so that what is stored, compared and shown is one and the same moment."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def later(at: datetime, by: timedelta) -> datetime:
    """`at` and `by` after it; the last moment of our calendar where that is past its end."""
    try:
        return at + by
    except OverflowError:
        return LAST


_WRITTEN = len("2026-03-01T10:00:00.000")


def rfc3339(at: datetime) -> str:
    """`at` as every answer shows it: `2026-03-01T10:00:00.000Z`. Without a zone it is UTC: see `db.aware`."""
    utc = at if at.tzinfo is UTC or at.tzinfo is None else at.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:_WRITTEN] + "Z"
