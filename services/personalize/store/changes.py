"""What changed since somebody last looked, in a table that many transactions write at once.

Each row keeps the id of the transaction that wrote it last. A reader remembers the horizon it read under: the oldest
transaction that was still running then. Whatever it could not see was written by that transaction or a later one; so
reading all rows from the horizon on sees every change at least once. (A number from a sequence would not do: a
transaction may take one, commit after a later one, and never be seen.)
"""

from __future__ import annotations

from sqlalchemy import text

from shared.db import Work

BEGINNING = "0"
"""A horizon before all rows."""

HORIZON = text("SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)")


async def horizon(work: Work) -> str:
    """What to remember. Ask before reading: what commits in between is then read again, and not overlooked."""
    found: str = (await work.execute(HORIZON)).scalar_one()
    return found
