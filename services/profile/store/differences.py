"""The live tables held against those beside them, set against set; and whose the differences are.

`changed` stands in the schema beside: the identifiers whose views follow from what differs. It is worked off after the
exchange, so that the exchange itself stays short.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import text

from services.profile.domain.linking import Move
from services.profile.domain.periods import month_of
from services.profile.domain.rebuilt import Difference, Side
from services.profile.store import partitions
from services.profile.store.facts import FACTS, Fact
from shared.db import Work
from shared.identifiers import Identifier

SAMPLES = 3
"""Of each sort of difference."""

EVER = datetime.min.replace(tzinfo=UTC)


async def differences(work: Work, live: str, shadow: str) -> list[Difference]:
    """All tables compared, but for what retention has passed. `work` searches where the definitions of now are."""
    passed = await partitions.removed_before(work) or EVER
    scope = {"since": passed, "month": month_of(passed)}
    await work.execute(text(f'DROP TABLE IF EXISTS "{shadow}".changed'))
    await work.execute(
        text(f"""
            CREATE TABLE "{shadow}".changed (
                kind text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL, PRIMARY KEY (kind, value)
            )
        """)
    )
    return [await _difference(work, live, shadow, fact, scope) for fact in FACTS]


async def _difference(work: Work, live: str, shadow: str, fact: Fact, scope: dict[str, object]) -> Difference:
    wanted = {name: value for name, value in scope.items() if f":{name}" in fact.recent}
    rows = (await work.execute(text(_compared(live, shadow, fact)), wanted | {"samples": SAMPLES})).all()
    sides = {row.side: Side(row.number, tuple(tuple(map(str, each)) for each in row.samples)) for row in rows}
    return Difference(fact.name, *(sides.get(side, Side()) for side in ("here", "there", "other")))


def _compared(live: str, shadow: str, fact: Fact) -> str:
    """The statement: how many rows are only here, only there, or other; the identifiers concerned go into `changed`."""
    key = ", ".join(fact.key)
    owner = dict.fromkeys((*fact.key, *(fact.owner or ())))
    differs = [_differs(name, is_json) for name, is_json in fact.content]
    scope = f"{fact.recent} AND {fact.counts}"
    note = ""
    if fact.owner is not None and fact.shows:
        note = f"""
            , noted AS (
                INSERT INTO "{shadow}".changed SELECT DISTINCT {", ".join(fact.owner)} FROM difference
                ON CONFLICT DO NOTHING
            )"""  # noqa: S608 - nothing in it but names of ours
    return f"""
        WITH difference AS MATERIALIZED (
            SELECT {", ".join(owner)},
                CASE WHEN made.there IS NULL THEN 'here' WHEN live.there IS NULL THEN 'there' ELSE 'other' END AS side
            FROM (SELECT *, true AS there FROM "{live}".{fact.name} WHERE {scope}) AS live
            FULL JOIN (SELECT *, true AS there FROM "{shadow}".{fact.name} WHERE {scope}) AS made USING ({key})
            WHERE live.there IS NULL OR made.there IS NULL {"".join(f" OR ({each})" for each in differs)}
        ){note}
        SELECT side, count(*) AS number,
            (SELECT array_agg(ARRAY[{", ".join(f"CAST({name} AS text)" for name in fact.key)}]) FROM (
                SELECT {key} FROM difference AS one WHERE one.side = difference.side ORDER BY {key} LIMIT :samples
            ) AS few) AS samples
        FROM difference GROUP BY side
    """  # noqa: S608 - nothing in it but names of ours


def _differs(name: str, is_json: bool) -> str:
    """JSON that was written in another order of its keys says the same."""
    if not is_json:
        return f"live.{name} IS DISTINCT FROM made.{name}"
    one, other = f"live.{name}", f"made.{name}"
    return (
        f"CASE WHEN CAST({one} AS text) IS NOT DISTINCT FROM CAST({other} AS text) THEN false "
        f"ELSE CAST({one} AS jsonb) IS DISTINCT FROM CAST({other} AS jsonb) END"
    )


async def moved(work: Work, live: str, shadow: str) -> list[Move]:
    """The identifiers that are in another profile there than here."""
    rows = await work.execute(
        text(f"""
            SELECT kind, value, live.profile_id AS before, made.profile_id AS after
            FROM "{live}".identifier AS live FULL JOIN "{shadow}".identifier AS made USING (kind, value)
            WHERE live.profile_id IS DISTINCT FROM made.profile_id
        """)  # noqa: S608
    )
    return [
        Move(
            Identifier(row.kind, row.value),
            None if row.before is None else str(row.before),
            None if row.after is None else str(row.after),
        )
        for row in rows
    ]


async def take_joined(work: Work, live: str, shadow: str) -> None:
    """Whoever is in the same profile there shows from the same version on."""
    await work.execute(
        text(f"""
            UPDATE "{shadow}".identifier AS made SET joined = live.joined FROM "{live}".identifier AS live
            WHERE (live.kind, live.value) = (made.kind, made.value) AND live.joined <> made.joined
                AND live.profile_id IS NOT DISTINCT FROM made.profile_id
        """)  # noqa: S608
    )


async def next_changed(work: Work, schema: str, limit: int) -> Sequence[Identifier]:
    """Some of the identifiers whose views are to follow; they are struck from the list."""
    rows = await work.execute(
        text(f"""
            DELETE FROM "{schema}".changed
            WHERE ctid = ANY (ARRAY(SELECT ctid FROM "{schema}".changed LIMIT :limit)) RETURNING kind, value
        """),  # noqa: S608
        {"limit": limit},
    )
    return [Identifier(*row) for row in rows]
