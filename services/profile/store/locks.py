"""Locks that are on no row. Each ends with its transaction; in which order they are taken, says `store`.

8002 sets them apart from those that others in this database may take on the same names.
"""

from __future__ import annotations

from sqlalchemy import text

from shared.db import Work

_KEY = "hashtextextended(current_schema() || '.' || CAST(:name AS text), 8002)"
ALONE = text(f"SELECT pg_advisory_xact_lock({_KEY})")
TOGETHER = text(f"SELECT pg_advisory_xact_lock_shared({_KEY})")
IF_FREE = text(f"SELECT pg_try_advisory_xact_lock({_KEY})")


async def alone(work: Work, name: str) -> None:
    """Wait until nobody else has it, and be the only one."""
    await work.execute(ALONE, {"name": name})


async def together(work: Work, name: str) -> None:
    """Wait until nobody is alone with it, and share it with others who do this."""
    await work.execute(TOGETHER, {"name": name})


async def if_free(work: Work, name: str) -> bool:
    """Be the only one, unless somebody else has it; give which."""
    mine: bool = (await work.execute(IF_FREE, {"name": name})).scalar_one()
    return mine
