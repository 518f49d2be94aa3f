"""How many are in a segment, and how many come and go, hour by hour.

Who comes and goes is counted where it is written, in the publisher's transaction: once, whatever is tried again.
How many are in it is looked up once an hour, segment by segment, each in a transaction of its own: one pass over that
segment's part of `segment_member_by_segment` alone (some 0.1 s for a million members), so 50 segments of a million
profiles take some seconds an hour, and no snapshot is held for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, text

from services.profile.domain.counts import Unit
from services.profile.store import locks
from services.profile.store.segments import Moved
from shared.db import Work

# Of the connection: publishers have different ones, and so mostly different rows, where neither waits for the other.
ADD = text("""
    INSERT INTO segment_change (segment_id, at, slot, entered, gone)
    SELECT segment_id, :hour, pg_backend_pid() % 16, entered, gone
    FROM unnest(CAST(:ids AS text[]), CAST(:entered AS bigint[]), CAST(:gone AS bigint[]))
        AS new (segment_id, entered, gone)
    ON CONFLICT (segment_id, at, slot) DO UPDATE
    SET entered = segment_change.entered + excluded.entered, gone = segment_change.gone + excluded.gone
""")
UNCOUNTED = text("""
    SELECT id FROM segment
    WHERE deleted_at IS NULL
        AND NOT EXISTS (SELECT FROM segment_count WHERE segment_id = segment.id AND at = :hour)
    ORDER BY id LIMIT 1
""")
COUNT = text("""
    INSERT INTO segment_count (segment_id, at, members)
    SELECT :id, :hour, count(*) FROM segment_member WHERE segment_id = :id
    ON CONFLICT DO NOTHING
""")
FORGET_CHANGES = text("DELETE FROM segment_change WHERE segment_id = :id AND at < :before")
FORGET_COUNTS = text("DELETE FROM segment_count WHERE segment_id = :id AND at < :before")
PAGE = text("""
    WITH counted AS (
        SELECT DISTINCT ON (date_trunc(:unit, at, 'UTC')) date_trunc(:unit, at, 'UTC') AS at, members
        FROM segment_count WHERE segment_id = :id AND at >= :since AND at < :until
        ORDER BY date_trunc(:unit, at, 'UTC'), segment_count.at
    ), changed AS (
        SELECT date_trunc(:unit, at, 'UTC') AS at,
            CAST(sum(entered) AS bigint) AS entered, CAST(sum(gone) AS bigint) AS gone
        FROM segment_change WHERE segment_id = :id AND at >= :since AND at < :until
        GROUP BY 1
    )
    SELECT at, members, coalesce(entered, 0) AS entered, coalesce(gone, 0) AS gone
    FROM counted FULL JOIN changed USING (at) ORDER BY at LIMIT :limit
""")


async def add(work: Work, moved: Moved, hour: datetime) -> None:
    """Count those who came and left. In one order by all, so that none waits for another that waits for it."""
    if names := sorted({*moved.entered, *moved.left}):
        entered, gone = ([side.get(name, 0) for name in names] for side in moved)
        await work.execute(ADD, {"hour": hour, "ids": names, "entered": entered, "gone": gone})


async def lock(work: Work) -> bool:
    """Whether this transaction is the one that counts now."""
    return await locks.if_free(work, "segment_count")


async def uncounted(work: Work, hour: datetime) -> str | None:
    """A segment that was not counted in this hour."""
    found: str | None = (await work.execute(UNCOUNTED, {"hour": hour})).scalar_one_or_none()
    return found


async def count(work: Work, segment_id: str, hour: datetime) -> None:
    """Count who is in a segment."""
    await work.execute(COUNT, {"id": segment_id, "hour": hour})


async def forget(work: Work, segment_id: str, before: datetime | None = None) -> None:
    """Forget what was counted of a segment, all or what is older than that."""
    for statement in (FORGET_CHANGES, FORGET_COUNTS):
        await work.execute(statement, {"id": segment_id, "before": before or datetime.max.replace(tzinfo=UTC)})


async def page(
    work: Work, segment_id: str, unit: Unit, between: tuple[datetime, datetime], limit: int
) -> Sequence[Row[Any]]:
    """The hours or days from one moment up to the other of which anything is known, the oldest first."""
    since, until = between
    asked = {"id": segment_id, "unit": unit, "since": since, "until": until, "limit": limit}
    return (await work.execute(PAGE, asked)).all()
