"""Which profiles must be scored and published again: those whose version is ahead of the published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import msgspec
from sqlalchemy import text

from shared.db import Work
from shared.identifiers import Identifier

MARK = text("""
    INSERT INTO score (profile_id, version, published, marked_at, buys)
    SELECT profile_id, 1, 0, CAST(:now AS timestamptz), false
    FROM unnest(CAST(:profiles AS text[])) AS marked (profile_id)
    ORDER BY profile_id COLLATE "C"
    ON CONFLICT (profile_id) DO UPDATE SET
        version = score.version + 1,
        marked_at = CASE WHEN score.version > score.published THEN score.marked_at ELSE excluded.marked_at END
""")
OWNERS = text("""
    SELECT DISTINCT profile_id FROM member
    WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
    ORDER BY profile_id
""")
# Skipping what is locked: whoever holds it is marking it once more, or publishing it.
TAKE = text("""
    SELECT score.profile_id, score.version, score.marked_at,
        EXISTS (
            SELECT 1 FROM member JOIN membership USING (profile_id)
            WHERE profile_id = score.profile_id AND redirect IS NULL
        ) AS stands
    FROM score WHERE version > published ORDER BY marked_at LIMIT :limit FOR UPDATE OF score SKIP LOCKED
""")
KEEP = text("""
    UPDATE score SET buys = new.buys, scored_on = :today
    FROM unnest(CAST(:profiles AS text[]), CAST(:buys AS boolean[])) AS new (profile_id, buys)
    WHERE score.profile_id = new.profile_id
""")
CLEAR = text("""
    WITH sent AS (
        SELECT score.profile_id FROM score
        JOIN unnest(CAST(:profiles AS text[]), CAST(:versions AS bigint[])) AS sent (profile_id, version)
            USING (profile_id, version)
        ORDER BY profile_id FOR UPDATE OF score
    )
    UPDATE score SET published = score.version FROM sent WHERE score.profile_id = sent.profile_id
""")
BUYING = text("""
    SELECT profile_id FROM score WHERE buys AND profile_id > :after ORDER BY profile_id LIMIT :limit FOR UPDATE
""")
AGED = text("""
    SELECT profile_id FROM score WHERE buys AND scored_on < :today
    ORDER BY scored_on LIMIT :limit FOR UPDATE SKIP LOCKED
""")
BACKLOG = text("SELECT count(*) FROM score WHERE version > published")
VERSION = text("SELECT version FROM score WHERE profile_id = :profile")


class Dirty(msgspec.Struct, frozen=True):
    """A profile to be scored. It `stands` unless it was absorbed, or lost all its identifiers."""

    profile_id: str
    version: int
    marked_at: datetime
    stands: bool


async def mark(work: Work, profiles: Sequence[str], now: datetime) -> None:
    """Raise the version of each of `profiles`."""
    if profiles:
        await work.execute(MARK, {"profiles": sorted(profiles), "now": now})


async def owners(work: Work, identifiers: Sequence[Identifier]) -> list[str]:
    """The profiles that have any of `identifiers`, sorted."""
    keys = {"kinds": [each.kind for each in identifiers], "values": [each.value for each in identifiers]}
    return list((await work.execute(OWNERS, keys)).scalars())


async def take(work: Work, limit: int) -> list[Dirty]:
    """Some profiles to be scored, those that wait the longest, locked until `work` ends."""
    rows = await work.execute(TAKE, {"limit": limit})
    return [Dirty(row.profile_id, row.version, row.marked_at, row.stands) for row in rows]


async def keep(work: Work, buys: Mapping[str, bool], today: date) -> None:
    """Note that these profiles were scored, and which of them buy."""
    await work.execute(KEEP, {"profiles": list(buys), "buys": list(buys.values()), "today": today})


async def clear(work: Work, versions: Mapping[str, int]) -> None:
    """These versions are published: no longer dirty is who has not moved since."""
    await work.execute(CLEAR, {"profiles": list(versions), "versions": list(versions.values())})


async def buying(work: Work, after: str, limit: int) -> list[str]:
    """The next profiles that buy, in the order of ids, locked."""
    return list((await work.execute(BUYING, {"after": after, "limit": limit})).scalars())


async def aged(work: Work, today: date, limit: int) -> list[str]:
    """Some profiles that buy and were last scored on an earlier day, locked."""
    return list((await work.execute(AGED, {"today": today, "limit": limit})).scalars())


async def backlog(work: Work) -> int:
    """How many profiles are dirty."""
    return int((await work.execute(BACKLOG)).scalar_one())


async def version(work: Work, profile_id: str) -> int:
    """The version of the profile's scores; 0 before they were first called for."""
    return (await work.execute(VERSION, {"profile": profile_id})).scalar() or 0
