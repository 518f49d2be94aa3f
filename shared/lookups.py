"""Single statements that read, asked of PostgreSQL by the shortest way.

What SQLAlchemy does for a statement takes ten times as long as the driver does, and so does what is asked for here:
a row by its key, on which a client waits. They have connections of their own: they never wait behind a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import asyncpg
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from shared.db import connecting
from shared.settings import DatabaseSettings

CONNECTIONS = 4
"""At most. An answer takes about a millisecond: four give thousands a second."""

PATIENCE = 5.0
"""Seconds that a statement waits for one of them."""

STOPS_WITHIN = 3.0
"""Seconds that what is still asked may take at the end."""

Row = Any
"""asyncpg's record, which is a sequence too, and has no types."""


class Lookup:
    """A statement of SQLAlchemy's, as the driver takes it."""

    def __init__(self, statement: TextClause) -> None:
        compiled = statement.compile(dialect=dialect.dialect())  # type: ignore[no-untyped-call]
        self.sql = str(compiled)
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())


class Lookups:
    """A process's connections for such statements."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: DatabaseSettings) -> AsyncIterator[Self]:
        """Connects on first use, as `Database` does; a connection that broke is replaced when it is next wanted."""
        pool = asyncpg.create_pool(
            **connecting(settings),
            min_size=0,
            max_size=CONNECTIONS,
            max_inactive_connection_lifetime=0,  # a timer for each statement, else
            connection_class=_Unchanged,
        )
        await pool
        try:
            yield cls(pool)
        finally:
            try:
                async with asyncio.timeout(STOPS_WITHIN):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def rows(self, lookup: Lookup, values: Mapping[str, Any]) -> list[Row]:
        """What `lookup` finds with `values`, by name. Raises asyncpg's errors, OSError and TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            connection = await self.pool.acquire()
        try:
            found: list[Row] = await connection.fetch(lookup.sql, *(values[name] for name in lookup.names))
        finally:
            await self.pool.release(connection)
        return found


class _Unchanged(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that a lookup leaves as it was: there is nothing to reset, which would be another round trip."""

    def get_reset_query(self) -> str:
        return ""
