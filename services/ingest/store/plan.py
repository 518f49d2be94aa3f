"""The tracking plan, every version of it, and how often it was departed from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text

from services.ingest.domain.plan import PlannedEvent, Where
from shared.db import Work

REMOVED = "removed"
"""The mode of a version that took its event out of the plan. Versions before it stay, to be looked at and restored."""

# The highest version of each planned event, those left out that were taken out of the plan.
_NEWEST = """
    SELECT * FROM (
        SELECT DISTINCT ON (source, type, name) * FROM planned_event ORDER BY source, type, name, version DESC
    ) AS highest
    WHERE mode <> 'removed'
"""
# What a source plans for itself holds instead of what is planned for all: its departures count for its own event.
_SHOWN = f"""
    WITH newest AS ({_NEWEST}), counted AS (
        SELECT source, type, name, sum(calls) AS calls FROM plan_violation WHERE day >= :since GROUP BY 1, 2, 3
    )
    SELECT newest.*, CAST(schema AS text) AS schema_text, (
        SELECT CAST(coalesce(sum(calls), 0) AS bigint) FROM counted
        WHERE counted.type = newest.type AND counted.name = newest.name AND (
            counted.source = newest.source OR newest.source = '*' AND NOT EXISTS (
                SELECT FROM newest AS own
                WHERE own.source = counted.source AND own.type = counted.type AND own.name = counted.name
            )
        )
    ) AS departures
    FROM newest
"""  # noqa: S608 - both are ours
IN_FORCE = text(f"""
    SELECT source, type, name, version, mode, CAST(schema AS text) AS schema FROM ({_NEWEST}) AS newest
""")  # noqa: S608
COUNT = text(f"SELECT count(*) FROM ({_NEWEST}) AS newest")  # noqa: S608
PAGE = text(f"""
    {_SHOWN} WHERE (type, name, source) > (:type, :name, :source) ORDER BY type, name, source LIMIT :limit
""")
SHOW = text(f"{_SHOWN} WHERE source = :source AND type = :type AND name = :name")
VERSIONS = text("""
    SELECT source, type, name, version, mode, CAST(schema AS text) AS schema_text, saved_at, saved_by
    FROM planned_event WHERE source = :source AND type = :type AND name = :name AND version < :before
    ORDER BY version DESC LIMIT :limit
""")
ADD = text("""
    INSERT INTO planned_event (source, type, name, version, mode, schema, saved_at, saved_by)
    VALUES (:source, :type, :name, :version, :mode, CAST(:schema AS json), :now, :by)
""")
VIOLATIONS = text("""
    SELECT source, day, mode, path, calls FROM plan_violation
    WHERE type = :type AND name = :name AND day >= :since AND (:source = '*' OR source = :source)
    ORDER BY day DESC, calls DESC, path, source, mode LIMIT :limit
""")


LATEST = 2**31 - 1
"""Past every version there will be."""


async def in_force(work: Work) -> Sequence[PlannedEvent]:
    """The plan: the highest version of each event that is in it."""
    return [PlannedEvent(*row) for row in await work.execute(IN_FORCE)]


async def count(work: Work) -> int:
    """How many events are planned."""
    counted: int = (await work.execute(COUNT)).scalar_one()
    return counted


async def page(work: Work, after: Where, limit: int, since: date) -> Sequence[Row[Any]]:
    """Planned events by type, name and source, those past `after`, with the departures from each `since` that day."""
    return (await work.execute(PAGE, {**after._asdict(), "limit": limit, "since": since})).all()


async def show(work: Work, where: Where, since: date) -> Row[Any] | None:
    """A planned event, with the departures from it `since` that day; None where it is not in the plan."""
    return (await work.execute(SHOW, {**where._asdict(), "since": since})).one_or_none()


async def versions(work: Work, where: Where, before: int, limit: int) -> Sequence[Row[Any]]:
    """Versions lower than `before`, highest first; those that took the event out of the plan have the mode REMOVED."""
    return (await work.execute(VERSIONS, {**where._asdict(), "before": before, "limit": limit})).all()


async def add(work: Work, where: Where, *, version: int, mode: str, schema: str, now: datetime, by: str) -> None:
    """Another version. Whoever adds has the lock of the audit, so that no two take the same number."""
    row = {**where._asdict(), "version": version, "mode": mode, "schema": schema, "now": now, "by": by}
    await work.execute(ADD, row)


async def violations(work: Work, where: Where, since: date, limit: int) -> Sequence[Row[Any]]:
    """Where calls departed from an event, by source, day, mode and path, newest day first; all sources' for `*`."""
    return (await work.execute(VIOLATIONS, {**where._asdict(), "since": since, "limit": limit})).all()
