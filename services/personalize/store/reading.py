"""Reading outside of transactions, for what is asked with every decision.

One statement needs no transaction around it: BEGIN and COMMIT would be two more round trips, and SQLAlchemy's part of
them four times the processor time of the question itself. So connections are lent out as the driver's own. They are
none of those that write: while reads wait for a slow database, feedback is still taken in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.db import Database

Reader = Any
"""A connection of asyncpg, which has no types."""


@asynccontextmanager
async def reader(database: Database) -> AsyncIterator[Reader]:
    """A connection to read with. One on which anything fails is not used again."""
    held = await database.engine.raw_connection()
    try:
        yield held.driver_connection
    except BaseException:
        held.invalidate()
        raise
    finally:
        held.close()
