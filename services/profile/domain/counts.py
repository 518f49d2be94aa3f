"""How many are in a segment, over time: by hours and by days, both of UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

Unit = Literal["hour", "day"]

KEPT = timedelta(days=400)
"""A year can be laid beside the one before."""

LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


def hour_of(at: datetime) -> datetime:
    """The beginning of the hour that `at` is in."""
    return beginning(at, "hour")


def ending(at: datetime, unit: Unit) -> datetime:
    """When the last hour or day ends that begins before `at`."""
    begins = beginning(at, unit)
    if begins == at or begins > datetime.max.replace(tzinfo=UTC) - LENGTHS[unit]:
        return at
    return begins + LENGTHS[unit]


def beginning(at: datetime, unit: Unit) -> datetime:
    """The beginning of the hour or the day that `at` is in."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour if unit == "hour" else hour.replace(hour=0)
