"""Who is to be looked at again because of time alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from services.profile.store import locks
from shared.db import Work

FIND = text("SELECT profile_id FROM view WHERE due_at <= :now ORDER BY due_at LIMIT :limit")
# What a publisher has written anew meanwhile, and is due later, stays.
DROP = text("""
    WITH locked AS (
        SELECT profile_id FROM view WHERE profile_id = ANY(CAST(:ids AS uuid[])) AND due_at <= :now
        ORDER BY profile_id FOR NO KEY UPDATE
    )
    UPDATE view SET due_at = NULL FROM locked WHERE view.profile_id = locked.profile_id
""")


async def lock(work: Work) -> bool:
    """Whether this transaction is the one that looks for who is due now."""
    return await locks.if_free(work, "due")


async def find(work: Work, now: datetime, limit: int) -> list[str]:
    """Some who are due, the longest first."""
    return [str(id) for id in (await work.execute(FIND, {"now": now, "limit": limit})).scalars()]


async def drop(work: Work, ids: Sequence[str], now: datetime) -> None:
    """They are due no more: whoever does so sees that they are looked at, and has marked their profiles before.

    In that order, as publishers do: a consumer that holds one of these profiles then holds up no publication.
    """
    if ids:
        await work.execute(DROP, {"ids": ids, "now": now})
