"""PostgreSQL: one engine a process, one transaction a unit of work.

Each service has its own schema and role; connections see only that schema (`search_path`), so statements carry no
prefix. Nobody commits but the block that began: `begin` and `retrying` are the only two places.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import asyncpg
import structlog
from alembic import command, context
from alembic.config import Config
from sqlalchemy import URL, MetaData, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.settings import DatabaseSettings

log = structlog.get_logger(__name__)
T = TypeVar("T")

Work = AsyncConnection
"""A connection inside one transaction that somebody else begins and ends."""

RETRIED = {"40P01", "40001"}
"""SQLSTATE of deadlock and serialization failure: PostgreSQL's way to say "once more, please"."""

LOCK_NOT_AVAILABLE = "55P03"
"""SQLSTATE where somebody else has had a lock for longer than we wait."""

NOT_ALLOWED = "42501"
"""SQLSTATE where a role may not do that."""

AWAY_CLASSES = {"08", "28", "3D", "3F", "53", "57", "58"}
AWAY = {"25006", NOT_ALLOWED, "42P01", LOCK_NOT_AVAILABLE}
"""SQLSTATEs, whole classes and single ones, of a database that can't serve us now; see `is_away`."""

FAILURES = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What asking PostgreSQL raises, by SQLAlchemy and without it; of some of it `is_away` holds."""

ATTEMPTS = 8


class Database:
    """The process's connections to its own schema."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: DatabaseSettings, *, longest: float | None = 60) -> AsyncIterator[Self]:
        """Connects on first use, so that a service can start, and say so, while PostgreSQL is away.

        `longest`: seconds that a statement is waited for, whatever PostgreSQL itself would allow; None: for ever.
        """
        engine = create_async_engine(
            _url(settings),
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=5,
            pool_pre_ping=False,  # a round trip per transaction; a dead connection is found, and retried, on use
            connect_args=_connecting(settings, longest),
        )
        try:
            yield cls(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Work]:
        """One transaction: committed at the end of the block, rolled back when the block raises."""
        async with self.engine.begin() as work:
            yield work

    async def retrying(self, use: Callable[[Work], Awaitable[T]]) -> T:
        """`use` in a transaction, again from its start, with jitter, where PostgreSQL broke a deadlock."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self.begin() as work:
                    return await use(work)
            except DBAPIError as error:
                if sqlstate(error) not in RETRIED or attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, no secret
        raise AssertionError("unreachable: the last attempt returns or raises")


M = TypeVar("M", datetime, datetime | None)


def aware(at: M) -> M:
    """A moment from a row, as it was stored. The first one of our calendar, which is what a client writes that leaves
    its time empty, stands there as -infinity and comes back without its zone.
    """
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's five-character code behind `error`, where there is one."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code: str | None = getattr(original, "sqlstate", None)
    return code


def is_away(error: BaseException) -> bool:
    """Whether `error` says that PostgreSQL can't serve now, and the same work may succeed later.

    By SQLSTATE class: 08 connection, 53 resources (disk full, too many connections), 57 operator intervention
    (shutting down, statement time-out), 58 system error, 25006 read-only, 55P03 lock time-out; what a database that
    is just being restored says: 28 and 42501 (not allowed), 3D, 3F and 42P01 (no such database, schema or table);
    and what never reached it.
    """
    code = sqlstate(error)
    if code is not None:
        return code[:2] in AWAY_CLASSES or code in AWAY | RETRIED
    if isinstance(error, DBAPIError):
        original = error.orig
        return (
            error.connection_invalidated
            or isinstance(error, InterfaceError | OperationalError)
            or (original is not None and isinstance(original.__cause__, asyncpg.InterfaceError | OSError))
        )
    return isinstance(error, OSError | TimeoutError | PoolTimeout | asyncpg.InterfaceError)


def migrate(settings: DatabaseSettings, scripts: Path) -> None:
    """Bring the service's schema up to the newest of `scripts` (its `migrations/`), making the schema where needed."""
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")


def run_migrations(metadata: MetaData) -> None:
    """The whole of a service's `migrations/env.py`."""
    settings: DatabaseSettings = context.config.attributes["settings"]
    asyncio.run(_migrations(settings, metadata))


async def _migrations(settings: DatabaseSettings, metadata: MetaData) -> None:
    session = _session(settings) | {"statement_timeout": "0", "lock_timeout": "10000"}
    engine = create_async_engine(_url(settings), connect_args={"server_settings": session})
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(current_schemas(false)::text))"))
            if not (await connection.execute(_SCHEMA_EXISTS, {"name": settings.db_schema})).scalar():
                await connection.execute(text(f'CREATE SCHEMA "{settings.db_schema}"'))
            await connection.run_sync(_upgrade, metadata, settings.db_schema)
    finally:
        await engine.dispose()


_SCHEMA_EXISTS = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")


def _upgrade(connection: object, metadata: MetaData, schema: str) -> None:
    context.configure(connection=connection, target_metadata=metadata, version_table_schema=schema)  # type: ignore[arg-type]
    with context.begin_transaction():
        context.run_migrations()


def _url(settings: DatabaseSettings) -> URL:
    return make_url(settings.url.get_secret_value()).set(drivername="postgresql+asyncpg")


def connecting(settings: DatabaseSettings, *, longest: float | None = 60) -> dict[str, Any]:
    """What asyncpg is told to connect as `Database` does."""
    url = _url(settings)
    _, told = url.get_dialect()().create_connect_args(url)
    return {**told, **_connecting(settings, longest)}


def _connecting(settings: DatabaseSettings, longest: float | None) -> dict[str, Any]:
    return {"server_settings": _session(settings), "timeout": 5, "command_timeout": longest}


def _session(settings: DatabaseSettings) -> dict[str, str]:
    return {
        "application_name": f"temas {settings.db_schema}",
        "search_path": settings.db_schema,
        "timezone": "UTC",
        "statement_timeout": str(settings.statement_timeout),
        "lock_timeout": str(settings.lock_timeout),
        "idle_in_transaction_session_timeout": "60000",
        # Every plan here is short and simple: compiling one costs more than running it.
        "jit": "off",
    }
