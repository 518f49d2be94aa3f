"""The timeline's partitions, and how far back it goes.

Whoever makes or drops one holds an advisory lock: so two processes that want the same never meet half way. Locks are
taken in one order by all: the advisory lock, the timeline, its rest.

- A partition is made beside the timeline and then attached. Nobody waits for that who writes into another; but it waits
  for all who use the rest, such as a backup. Then it gives up soon: touchpoints wait in the rest, where they show like
  any, and move when the partition can be made.
- Dropping waits for all who use the timeline, and all who come later wait behind it: so it gives up soon, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text

from services.profile.domain.periods import Period, named
from services.profile.store import locks
from shared.clock import rfc3339
from shared.db import Work

PREFIX = "timeline_"
REST = "timeline_rest"

PATIENCE = "500ms"
"""How long a lock is waited for, and others may have to wait behind: a batch takes a quarter of that."""

HURRY = text("SELECT set_config('lock_timeout', :patience, true)")
NAMES = text("""
    SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = CAST('timeline' AS regclass) AND relname <> :rest
""")
REMOVED_BEFORE = text("SELECT removed_before FROM retention WHERE what = 'timeline'")
REMOVE_BEFORE = text("""
    INSERT INTO retention (what, removed_before) VALUES ('timeline', :moment)
    ON CONFLICT (what) DO UPDATE SET removed_before = excluded.removed_before
    WHERE retention.removed_before < excluded.removed_before
""")
# The rest is empty but for odd times: there is nothing to be won by an index on the time alone.
WAITING = text("SELECT DISTINCT ON (month_of(at)) at FROM timeline_rest ORDER BY month_of(at)")
FORGET_REST = text("""
    DELETE FROM timeline_rest
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM timeline_rest WHERE at < :moment LIMIT :most))
""")
FORGET_PRESENCE = text("""
    DELETE FROM presence WHERE ctid = ANY (ARRAY(SELECT ctid FROM presence WHERE month < :month LIMIT :most))
""")
# Of the catalogue alone: it takes no lock, and what it says is as old as the last vacuum or analyze.
MEASURE = text("""
    WITH part AS (
        SELECT pg_class.* FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = CAST('timeline' AS regclass)
    ), page AS (
        SELECT relpages FROM part
        UNION ALL SELECT toast.relpages FROM part JOIN pg_class AS toast ON toast.oid = part.reltoastrelid
        UNION ALL SELECT index.relpages FROM part JOIN pg_index ON indrelid = part.oid
            JOIN pg_class AS index ON index.oid = indexrelid
    )
    SELECT (SELECT count(*) FROM part) AS partitions,
        (SELECT coalesce(sum(greatest(reltuples, 0)), 0) FROM part) AS rows,
        (SELECT coalesce(sum(CAST(relpages AS bigint)), 0) FROM page)
            * CAST(current_setting('block_size') AS bigint) AS bytes
""")


class Measures(NamedTuple):
    partitions: int
    rows: float
    bytes: int


async def lock(work: Work) -> None:
    """Let whoever else makes or drops partitions wait until this transaction ends; and wait for no lock for long."""
    await work.execute(HURRY, {"patience": PATIENCE})
    await locks.alone(work, "timeline")


async def existing(work: Work) -> set[Period]:
    """All but the rest."""
    names = (await work.execute(NAMES, {"rest": REST})).scalars()
    return {named(name.removeprefix(PREFIX)) for name in names}


async def waiting(work: Work) -> Sequence[datetime]:
    """A moment of each month that the rest holds touchpoints of."""
    return (await work.execute(WAITING)).scalars().all()


async def make(work: Work, period: Period) -> None:
    """Make it, which does not exist, with what waits for it in the rest. Only under the lock."""
    for statement in _making(period):
        await work.execute(text(statement))


def _making(period: Period) -> Sequence[str]:
    table, end = PREFIX + period.name, f"'{rfc3339(period.end)}'"
    start = "MINVALUE" if period.start is None else f"'{rfc3339(period.start)}'"
    since = "'-infinity'" if period.start is None else start
    return (
        f"CREATE TABLE {table} (LIKE timeline)",
        f"LOCK TABLE {REST} IN ACCESS EXCLUSIVE MODE",
        f"""
        WITH taken AS (DELETE FROM {REST} WHERE at >= {since} AND at < {end} RETURNING *)
        INSERT INTO {table} SELECT * FROM taken
        """,  # noqa: S608 - nothing in it but names and moments of ours
        f"ALTER TABLE timeline ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({end})",
    )


async def drop(work: Work, period: Period) -> None:
    """Raises DBAPIError with SQLSTATE 55P03 where somebody uses the timeline for long. Only under the lock."""
    await work.execute(text(f"DROP TABLE {PREFIX}{period.name}"))


async def removed_before(work: Work) -> datetime | None:
    """Before which moment retention has removed everything; None where it has removed nothing."""
    moment: datetime | None = (await work.execute(REMOVED_BEFORE)).scalar_one_or_none()
    return moment


async def remove_before(work: Work, moment: datetime) -> None:
    """From now on nothing shows, or is kept, that is older than `moment`. It never goes back."""
    await work.execute(REMOVE_BEFORE, {"moment": moment})


async def forget_rest(work: Work, moment: datetime, most: int) -> int:
    """Forget what the rest holds from before `moment`, so many rows at most; give how many they were."""
    return (await work.execute(FORGET_REST, {"moment": moment, "most": most})).rowcount


async def forget_presence(work: Work, month: int, most: int) -> int:
    """Forget who was there before `month`, so many rows at most; give how many they were."""
    return (await work.execute(FORGET_PRESENCE, {"month": month, "most": most})).rowcount


async def measure(work: Work) -> Measures:
    """How large the timeline is, by PostgreSQL's statistics."""
    row = (await work.execute(MEASURE)).one()
    return Measures(row.partitions, float(row.rows), int(row.bytes))
