"""The schema beside the live one: made, filled with what is not in the log, and exchanged with it.

Names of schemas stand in these statements as text: they are the operator's own, and no parameter can be one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from services.profile.store import partitions
from services.profile.store.facts import COPIED, FACTS, FUNCTIONS
from shared.db import Work

EXISTS = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
CHILDREN = text("SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = :parent")
OID = text("SELECT CAST(CAST(:name AS regclass) AS oid)")
COUNTED = "phase IN ('filling', 'showing', 'ready')"
ENDLESS = text("SELECT set_config('statement_timeout', '0', true), set_config('work_mem', '64MB', true)")


async def exists(work: Work, schema: str) -> bool:
    return (await work.execute(EXISTS, {"name": schema})).scalar() is not None


async def revision(work: Work, schema: str) -> str | None:
    """The newest migration that a schema has."""
    found: str | None = (await work.execute(text(f'SELECT version_num FROM "{schema}".alembic_version'))).scalar()  # noqa: S608
    return found


async def drop(work: Work, schema: str) -> None:
    """With all that is in it."""
    await endless(work)
    await work.execute(text(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))


async def endless(work: Work) -> None:
    """Let statements of this transaction take as long as they take: they read whole tables."""
    await work.execute(ENDLESS)


async def copy(
    work: Work,
    live: str,
    shadow: str,
) -> None:
    """Take over what is not in the log."""
    for name in COPIED:
        await work.execute(text(f'DELETE FROM "{shadow}".{name}'))  # noqa: S608 - names of ours
        await work.execute(text(f'INSERT INTO "{shadow}".{name} SELECT * FROM "{live}".{name}'))  # noqa: S608


async def other_definitions(work: Work, live: str, shadow: str) -> bool:
    """Whether events are counted by other definitions here than there."""
    one, other = (f'SELECT id, revision FROM "{name}".computed_definition WHERE {COUNTED}' for name in (live, shadow))  # noqa: S608
    differ = f"SELECT EXISTS (({one} EXCEPT {other}) UNION ALL ({other} EXCEPT {one}))"
    found: bool = (await work.execute(text(differ))).scalar_one()
    return found


async def take_definitions(work: Work, live: str, shadow: str) -> None:
    """Count by the definitions of now from here on. Those that are new are to be filled from what is there already."""
    ours, theirs = f'"{shadow}".computed_definition', f'"{live}".computed_definition'
    columns = "id, revision, name, formula, since, saved_at"
    for statement in (
        f"DELETE FROM {ours} WHERE (id, revision) NOT IN (SELECT id, revision FROM {theirs} WHERE {COUNTED})",  # noqa: S608
        f"""
        INSERT INTO {ours} ({columns}, phase, fill)
        SELECT {columns}, 'filling', '{{}}' FROM {theirs} WHERE {COUNTED} ON CONFLICT DO NOTHING
        """,  # noqa: S608
        f'DELETE FROM "{shadow}".computed_part WHERE (trait, revision) NOT IN (SELECT id, revision FROM {ours})',  # noqa: S608
        f'DELETE FROM "{shadow}".generation',  # noqa: S608
        f'INSERT INTO "{shadow}".generation SELECT * FROM "{live}".generation',  # noqa: S608
    ):
        await work.execute(text(statement))


async def analyze(work: Work, schema: str) -> None:
    """So that plans are right from the first moment."""
    await endless(work)
    for fact in FACTS:
        await work.execute(text(f'ANALYZE "{schema}".{fact.name}'))


async def exchange(work: Work, live: str, shadow: str) -> None:
    """Let the facts of both schemas change places, with their partitions, indexes and triggers.

    Only while nobody absorbs. Raises DBAPIError with SQLSTATE 55P03 where somebody reads for long: nobody may have to
    wait behind us.
    """
    await partitions.lock(work)
    names = ", ".join(f'"{live}".{fact.name}' for fact in FACTS)
    await work.execute(text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))
    aside = f"{live}_aside"
    await work.execute(text(f'CREATE SCHEMA "{aside}"'))
    for source, target in ((live, aside), (shadow, live), (aside, shadow)):
        await _move(work, source, target)
    await work.execute(text(f'DROP SCHEMA "{aside}"'))


async def rename(work: Work, schema: str, name: str) -> None:
    await work.execute(text(f'ALTER SCHEMA "{schema}" RENAME TO "{name}"'))
    for function in FUNCTIONS:
        await work.execute(text(f'ALTER FUNCTION "{name}".{function}() SET search_path = "{name}"'))


async def _move(work: Work, source: str, target: str) -> None:
    for fact in FACTS:
        for name in (*await _children(work, source, fact.name), fact.name):
            await work.execute(text(f'ALTER TABLE "{source}"."{name}" SET SCHEMA "{target}"'))
    for function in FUNCTIONS:
        await work.execute(text(f'ALTER FUNCTION "{source}".{function}() SET SCHEMA "{target}"'))
        await work.execute(text(f'ALTER FUNCTION "{target}".{function}() SET search_path = "{target}"'))


async def _children(work: Work, schema: str, name: str) -> Sequence[str]:
    """The partitions of a table; none where it has none."""
    parent = (await work.execute(OID, {"name": f'"{schema}".{name}'})).scalar_one()
    return (await work.execute(CHILDREN, {"parent": parent})).scalars().all()
