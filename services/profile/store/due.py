"""Who is to be looked at again because of time alone."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from shared.db import Work

# What another process takes, or a publisher is just writing anew, is passed over: nobody waits here for anybody.
TAKE = text("""
    WITH due AS (
        SELECT profile_id FROM view WHERE due_at <= :now ORDER BY due_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE view SET due_at = NULL FROM due WHERE view.profile_id = due.profile_id
    RETURNING view.profile_id
""")


async def take(work: Work, now: datetime, limit: int) -> list[str]:
    """Some who are due, the longest first. They are due no more: whoever takes them sees that they are looked at."""
    return [str(id) for id in (await work.execute(TAKE, {"now": now, "limit": limit})).scalars()]
