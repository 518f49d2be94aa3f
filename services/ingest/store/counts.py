"""What requests leave behind, added up: calls taken by source and day, and departures from the plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from sqlalchemy import text

from shared.db import Work


class Use(NamedTuple):
    """What calls are counted by, for quotas."""

    source: str
    day: date


class Departed(NamedTuple):
    """What departures from the plan are counted by."""

    source: str
    type: str
    name: str
    day: date
    mode: str
    path: str


# Rows arrive sorted by key: two processes then lock in one order and never deadlock.
ADD_USE = text("""
    INSERT INTO quota_use (source, day, calls)
    SELECT * FROM unnest(CAST(:source AS text[]), CAST(:day AS date[]), CAST(:calls AS bigint[]))
    ON CONFLICT (source, day) DO UPDATE SET calls = quota_use.calls + excluded.calls
""")
ADD_DEPARTURES = text("""
    INSERT INTO plan_violation (source, type, name, day, mode, path, calls)
    SELECT * FROM unnest(
        CAST(:source AS text[]), CAST(:type AS text[]), CAST(:name AS text[]), CAST(:day AS date[]),
        CAST(:mode AS text[]), CAST(:path AS text[]), CAST(:calls AS bigint[])
    )
    ON CONFLICT (source, type, name, day, mode, path) DO UPDATE SET calls = plan_violation.calls + excluded.calls
""")
USED = text("""
    SELECT name, calls FROM source JOIN quota_use ON source = name AND day = :day WHERE quota IS NOT NULL
""")


async def add_use(work: Work, more: Mapping[Use, int]) -> None:
    """Add to the calls taken."""
    if more:
        rows = sorted(more.items())
        keys = {name: [getattr(use, name) for use, _ in rows] for name in Use._fields}
        await work.execute(ADD_USE, {**keys, "calls": [calls for _, calls in rows]})


async def add_departures(work: Work, more: Mapping[Departed, int]) -> None:
    """Add to the departures from the plan."""
    if more:
        rows = sorted(more.items())
        keys = {name: [getattr(departed, name) for departed, _ in rows] for name in Departed._fields}
        await work.execute(ADD_DEPARTURES, {**keys, "calls": [calls for _, calls in rows]})


async def used(work: Work, day: date) -> dict[Use, int]:
    """The calls that all processes have taken on `day`, of the sources that have a quota."""
    return {Use(row.name, day): row.calls for row in await work.execute(USED, {"day": day})}
