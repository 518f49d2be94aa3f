"""Profiles in the order of their ids. Those are SHA-1 of a name (UUIDv5): a run of them is a sample by chance."""

from __future__ import annotations

from sqlalchemy import text

from shared.db import Work

# Narrow rows, one pass: 0.1 s for a million.
TOTAL = text("SELECT count(*) FROM profile WHERE redirect IS NULL")
RUN = text("""
    SELECT profile_id FROM profile
    WHERE redirect IS NULL AND profile_id > CAST(:after AS uuid) AND profile_id <= CAST(:until AS uuid)
    ORDER BY profile_id LIMIT :limit
""")

FIRST, LAST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


async def total(work: Work) -> int:
    """How many profiles there are, without those that were absorbed."""
    counted: int = (await work.execute(TOTAL)).scalar_one()
    return counted


async def run(work: Work, after: str, until: str, limit: int) -> list[str]:
    """The next profiles past `after`, up to `until`, without those that were absorbed."""
    rows = await work.execute(RUN, {"after": after, "until": until, "limit": limit})
    return [str(id) for id in rows.scalars()]
