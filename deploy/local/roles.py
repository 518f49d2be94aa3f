"""Who may do what in the database: a role for each service, owner of the schemas that it makes, and no more."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

LIMITS = {
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
}
"""What holds in every session that does not ask for something else."""


async def grant(server: str, database: str, passwords: Mapping[str, str]) -> None:
    """Make `database` on the server of the URL `server`, with a role and a schema for each name in `passwords`.

    What is there already is kept; passwords are set to the ones given.
    """
    connection = await asyncpg.connect(server)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await _run(connection, "CREATE DATABASE %I", database)
        for role, password in passwords.items():
            await _role(connection, role, password)
    finally:
        await connection.close()
    connection = await asyncpg.connect(server, database=database)
    try:
        await _run(connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database)
        for role in passwords:
            # CREATE: of schemas of its own, in which it makes tables anew beside those that it serves from.
            await _run(connection, "GRANT CONNECT, CREATE ON DATABASE %I TO %I", database, role)
            await _run(connection, "CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I", role, role)
    finally:
        await connection.close()


async def _role(connection: asyncpg.Connection, role: str, password: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await _run(connection, "CREATE ROLE %I", role)
    await _run(connection, "ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %L", role, password)
    await _run(connection, "ALTER ROLE %I SET search_path = %I", role, role)
    for limit, value in LIMITS.items():
        await _run(connection, "ALTER ROLE %I SET %I = %L", role, limit, value)


async def _run(connection: asyncpg.Connection, statement: str, *names: str) -> None:
    """Run `statement`, its %I filled with names and its %L with values, quoted by PostgreSQL itself."""
    await connection.execute(await connection.fetchval("SELECT format($1, VARIADIC $2::text[])", statement, names))
