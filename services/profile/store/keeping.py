"""Where the log no longer reaches back: what it does not tell is taken over from the live tables, and nothing is lost.

`kept` stands in the schema beside: the identifiers of whom more touchpoints are known than the log has. What is about
them is kept as each table asks for (store/facts.py); whose everybody is, is decided anew afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from services.profile.domain.graph import Standing
from services.profile.domain.rebuilt import Kept
from services.profile.store import partitions
from services.profile.store.facts import FACTS, Fact
from services.profile.store.identities import TAKE_EARLIER, placed
from shared.db import Work
from shared.identifiers import Identifier

COUNT = "coalesce((SELECT sum(CAST(value AS bigint)) FROM json_each_text({state} -> 'channels')), 0)"


async def since(work: Work, schema: str) -> datetime | None:
    """When the first touchpoint of a timeline was received."""
    found: datetime | None = (await work.execute(text(f'SELECT min(received_at) FROM "{schema}".timeline'))).scalar()  # noqa: S608
    return found


async def search(work: Work, schema: str) -> None:
    """Let what this transaction does from now on be done in `schema`."""
    await work.execute(text("SELECT set_config('search_path', :schema, true)"), {"schema": f'"{schema}"'})


async def note(work: Work, live: str, shadow: str, before: datetime | None) -> Kept:
    """Find of whom more is known than the log tells."""
    await work.execute(text(f'DROP TABLE IF EXISTS "{shadow}".kept'))
    here, there = COUNT.format(state="live.state"), COUNT.format(state="made.state")
    await work.execute(
        text(f"""
            CREATE TABLE "{shadow}".kept AS SELECT * FROM (
                SELECT kind, value, {here} - {there} AS more
                FROM "{live}".fragment AS live LEFT JOIN "{shadow}".fragment AS made USING (kind, value)
                WHERE CAST(live.state AS text) IS DISTINCT FROM CAST(made.state AS text)
            ) AS counted WHERE more > 0
        """)  # noqa: S608
    )
    await work.execute(text(f'ALTER TABLE "{shadow}".kept ADD PRIMARY KEY (kind, value)'))
    row = (await work.execute(text(f'SELECT count(*), coalesce(sum(more), 0) FROM "{shadow}".kept'))).one()  # noqa: S608
    return Kept(row[0], int(row[1]), before)


async def keep(work: Work, live: str, shadow: str) -> None:
    """Take over what is kept but for whose everybody is; and which events were seen, so that none of them counts again.

    `work` searches in `shadow`.
    """
    have = await partitions.existing(work)
    await search(work, live)
    needed = await partitions.existing(work) - have
    await search(work, shadow)
    for period in sorted(needed):
        await partitions.make(work, period)
    for fact in FACTS:
        for statement in _taking_over(live, shadow, fact):
            await work.execute(text(statement))
    seen = f'INSERT INTO "{shadow}".event_seen SELECT * FROM "{live}".event_seen ON CONFLICT DO NOTHING'  # noqa: S608
    await work.execute(text(seen))


def _taking_over(live: str, shadow: str, fact: Fact) -> Sequence[str]:
    if fact.kept == "after":
        return ()
    columns = ", ".join(column.name for column in fact.table.columns)
    if fact.owner is None:  # what is served has heard all that the log tells, and more
        rows = f'SELECT {columns} FROM "{live}".{fact.name}'  # noqa: S608
        return f'DELETE FROM "{shadow}".{fact.name}', f'INSERT INTO "{shadow}".{fact.name} ({columns}) {rows}'  # noqa: S608
    owner, key = ", ".join(fact.owner), ", ".join(fact.key)
    whose = f'({owner}) IN (SELECT kind, value FROM "{shadow}".kept) AND {fact.counts}'  # noqa: S608
    theirs = f'SELECT {columns} FROM "{live}".{fact.name} WHERE {whose}'  # noqa: S608
    add = f'INSERT INTO "{shadow}".{fact.name} AS made ({columns}) {theirs} ON CONFLICT'
    match fact.kept:
        case "whole":
            clear = f'DELETE FROM "{shadow}".{fact.name} WHERE ({owner}) IN (SELECT kind, value FROM "{shadow}".kept)'  # noqa: S608
            return clear, f"{add} DO NOTHING"
        case "all":
            return (f"{add} DO NOTHING",)
        case _:
            return (f"{add} ({key}) {TAKE_EARLIER.format(before='made')}",)


async def standings(
    work: Work, live: str, shadow: str, after: Identifier | None, limit: int
) -> tuple[dict[Identifier, Standing], Identifier | None]:
    """What is known here of those kept, and of those that they said something about: some of them, those after `after`.

    Gives also after whom to go on; None at the end.
    """
    rows = await work.execute(
        text(f"""
            SELECT kind, value FROM "{shadow}".kept
            WHERE CAST(:kind AS text) IS NULL OR (kind, value) > (CAST(:kind AS text), CAST(:value AS text))
            ORDER BY kind, value LIMIT :limit
        """),  # noqa: S608
        {"kind": after and after.kind, "value": after and after.value, "limit": limit},
    )
    some = [Identifier(*row) for row in rows]
    if not some:
        return {}, None
    known = await work.execute(
        text(f"""
            WITH wanted (kind, value) AS MATERIALIZED (
                SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[]))
            ), concerned AS (
                SELECT kind, value FROM wanted
                UNION SELECT member_kind, member_value FROM wanted JOIN "{live}".edge
                    ON (owner_kind, owner_value) = (wanted.kind, wanted.value)
            )
            SELECT identifier.* FROM concerned JOIN "{live}".identifier USING (kind, value)
        """),  # noqa: S608
        {"kinds": [each.kind for each in some], "values": [each.value for each in some]},
    )
    return {key: place.standing for key, place in placed(known).items()}, some[-1]
