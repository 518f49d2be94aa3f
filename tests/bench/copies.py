"""A crowd, loaded in bulk: the rows that the service wrote for one person, once more for each of the others."""

from __future__ import annotations

import asyncpg
from sqlalchemy import JSON, Column, Table, Text, Uuid, text

from services.profile.domain.identity import profile_id
from services.profile.tables import METADATA
from shared.db import Database, Work
from shared.identifiers import Identifier
from tests.bench.inside import Inside
from tests.bench.people import People, person

MODEL = "u-model"
TOUCHPOINTS = 5
"""Of each person, before what is measured."""

CHUNK = 50_000
"""People loaded in one transaction: a statement of the service may take a minute at most."""

PERSONAL = ("fragment", "identifier", "edge", "profile", "view", "timeline", "segment_member", "score")
"""The tables with rows of single people. `presence` follows from the timeline by itself."""

COPIES = "CREATE TEMPORARY TABLE copy (name text, profile_id uuid)"
SEEN = """
    INSERT INTO event_seen SELECT decode(md5(name || '/' || number), 'hex'), now()
    FROM copy CROSS JOIN generate_series(1, :touchpoints) AS number
"""
MEASURED = """
    WITH RECURSIVE part AS (
        SELECT oid, relname AS name, oid AS relation FROM pg_class
        WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relkind IN ('r', 'p') AND NOT relispartition
        UNION ALL SELECT part.oid, part.name, inhrelid FROM part JOIN pg_inherits ON inhparent = relation
    )
    SELECT name, CAST(sum(greatest(reltuples, 0)) AS bigint) AS rows,
        CAST(sum(pg_total_relation_size(relation)) AS bigint) AS bytes
    FROM part JOIN pg_class ON pg_class.oid = relation
    WHERE relkind = 'r' GROUP BY name HAVING sum(reltuples) > 0 ORDER BY bytes DESC
"""


async def model(parts: Inside) -> None:
    """Let the service absorb and publish one person."""
    people = People(lambda _: MODEL, known=1)
    await parts.absorb(people.records(TOUCHPOINTS))
    await parts.publish()


async def load(database: Database, first: int, end: int) -> None:
    """Everybody from number `first` up to but without `end`, as copies of the model."""
    for start in range(first, end, CHUNK):
        await _load(database, start, min(start + CHUNK, end))
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as work:
        await work.execute(text("SET statement_timeout = 0"))
        for name in (*PERSONAL, "presence", "event_seen"):
            await work.execute(text(f"VACUUM ANALYZE {name}"))


async def _load(database: Database, first: int, end: int) -> None:
    async with database.begin() as work:
        await work.execute(text("SET LOCAL statement_timeout = 0"))
        await work.execute(text(COPIES))
        await _names(work, first, end)
        for name in PERSONAL:
            await work.execute(text(_copied(METADATA.tables[name])), {"id": profile_id(Identifier("user_id", MODEL))})
        await work.execute(text(SEEN), {"touchpoints": TOUCHPOINTS})
        await work.execute(text("DROP TABLE copy"))


async def sizes(work: Work) -> dict[str, tuple[int, int]]:
    """Rows and bytes, indexes included, of each table; the largest first."""
    return {row.name: (row.rows, row.bytes) for row in (await work.execute(text(MEASURED))).all()}


async def _names(work: Work, first: int, end: int) -> None:
    connection: asyncpg.Connection = (await work.get_raw_connection()).driver_connection
    everybody = ((name, profile_id(Identifier("user_id", name))) for name in map(person, range(first, end)))
    await connection.copy_records_to_table("copy", records=everybody)


def _copied(table: Table) -> str:
    """The statement that copies the model's rows: its name is replaced wherever it stands, and so is its id."""
    columns = ", ".join(column.name for column in table.columns)
    values = ", ".join(_value(column) for column in table.columns)
    mine = "original.profile_id = CAST(:id AS uuid)" if "profile_id" in table.columns else f"original::text ~ '{MODEL}'"
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {values} "
        f"FROM (SELECT * FROM {table.name} AS original WHERE {mine}) AS original CROSS JOIN copy"
    )


def _value(column: Column[object]) -> str:
    name = f"original.{column.name}"
    if isinstance(column.type, Text | JSON):
        kind = "json" if isinstance(column.type, JSON) else "text"
        plain = f"replace(CAST({name} AS text), '{MODEL}', copy.name)"
        return f"CAST(replace({plain}, CAST(:id AS text), CAST(copy.profile_id AS text)) AS {kind})"
    if isinstance(column.type, Uuid):
        return f"CASE WHEN {name} = CAST(:id AS uuid) THEN copy.profile_id ELSE {name} END"
    return name
