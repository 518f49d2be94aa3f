"""Definitions of computed traits, each revision a row; and the generation that they are of."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, text

from services.profile.domain.computed.definitions import Definition, Formula
from services.profile.domain.computed.filling import Fill
from services.profile.store import locks
from shared.db import Work

GENERATION = text("SELECT value FROM generation WHERE what = 'computed'")
ADVANCE = text("""
    INSERT INTO generation (what, value) VALUES ('computed', 1)
    ON CONFLICT (what) DO UPDATE SET value = generation.value + 1 RETURNING value
""")
_COLUMNS = """
    id, revision, name, CAST(formula AS text) AS formula, since, saved_at, phase, CAST(fill AS text) AS fill,
    complete_from, marked_to
"""
LIVE = text(f"""
    SELECT {_COLUMNS} FROM computed_definition WHERE phase IN ('filling', 'showing', 'ready') ORDER BY id, revision
""")  # noqa: S608 - columns
# The newest first, as whoever finishes one takes them.
HOLD = text(f"""
    SELECT {_COLUMNS} FROM computed_definition WHERE id = :id AND phase IN ('filling', 'showing', 'ready')
    ORDER BY revision DESC FOR NO KEY UPDATE
""")  # noqa: S608 - columns
# What is said of one: the newest, and which of its revisions shows.
PAGE = text(f"""
    SELECT DISTINCT ON (id) {_COLUMNS},
        max(revision) FILTER (WHERE phase <> 'filling') OVER (PARTITION BY id) AS shown
    FROM computed_definition
    WHERE phase IN ('filling', 'showing', 'ready') AND id > :after AND (CAST(:id AS text) IS NULL OR id = :id)
    ORDER BY id, revision DESC LIMIT :limit
""")  # noqa: S608 - columns
COUNT = text("""
    SELECT count(DISTINCT id) FROM computed_definition WHERE phase IN ('filling', 'showing', 'ready') AND id <> :id
""")
ADD = text("""
    INSERT INTO computed_definition (id, revision, name, formula, since, saved_at, phase, fill)
    VALUES (:id, :revision, :name, CAST(:formula AS json), :since, :saved_at, 'filling', CAST(:fill AS json))
""")
NAME = text("UPDATE computed_definition SET name = :name WHERE id = :id AND phase IN ('filling', 'showing', 'ready')")
# What never showed goes at once. What showed and is replaced does, too: the newer one brings the views in line.
SUPERSEDE = text("""
    UPDATE computed_definition SET phase = 'gone' WHERE id = :id AND revision < :revision AND phase = 'filling'
""")
REPLACE = text("""
    UPDATE computed_definition SET phase = 'gone'
    WHERE id = :id AND revision < :revision AND phase IN ('showing', 'ready')
""")
LEAVE = text("""
    UPDATE computed_definition
    SET phase = CASE phase WHEN 'filling' THEN 'gone' ELSE 'leaving' END, marked_to = NULL
    WHERE id = :id AND phase IN ('filling', 'showing', 'ready')
""")
# Whoever has the row has the work. First what people wait to see.
DUE = text(f"""
    SELECT {_COLUMNS} FROM computed_definition WHERE phase <> 'ready'
    ORDER BY array_position(ARRAY['leaving', 'showing', 'filling', 'gone'], phase COLLATE "C"), saved_at, id, revision
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608 - columns
UNFILLED = text("""
    SELECT count(*) FROM (
        SELECT FROM computed_definition WHERE phase = 'filling' ORDER BY id, revision FOR NO KEY UPDATE
    ) AS held
""")
FILLING = text(f"SELECT {_COLUMNS} FROM computed_definition WHERE phase = 'filling' ORDER BY id, revision")  # noqa: S608
PUT = text("""
    UPDATE computed_definition
    SET phase = :phase, fill = CAST(:fill AS json), complete_from = :complete_from, marked_to = CAST(:marked_to AS uuid)
    WHERE id = :id AND revision = :revision
""")
FORGET = text("DELETE FROM computed_definition WHERE id = :id AND revision = :revision")
PHASES = text("SELECT phase, count(*) AS number FROM computed_definition GROUP BY phase")


class Kept(NamedTuple):
    """A row. `shown`: the revision of the same id that views show; only where it was asked for."""

    definition: Definition
    name: str
    saved_at: datetime
    phase: str
    fill: Fill
    complete_from: datetime | None
    marked_to: str | None
    shown: int | None = None


async def lock(work: Work) -> None:
    """Be the only one who defines, absorbs or publishes until this transaction ends; after the definition's rows."""
    await locks.alone(work, "computed")


async def share(work: Work) -> None:
    """Let nothing be defined, shown or deleted until this transaction ends."""
    await locks.together(work, "computed")


async def generation(work: Work) -> int:
    found: int | None = (await work.execute(GENERATION)).scalar_one_or_none()
    return found or 0


async def advance(work: Work) -> int:
    """Begin a generation; give it. Only under the lock."""
    number: int = (await work.execute(ADVANCE)).scalar_one()
    return number


async def live(work: Work) -> list[Kept]:
    """All that events are counted by."""
    return [_kept(row) for row in await work.execute(LIVE)]


async def hold(work: Work, id: str) -> list[Kept]:
    """The live revisions of one id, the newest first, nobody else's until this transaction ends."""
    return [_kept(row) for row in await work.execute(HOLD, {"id": id})]


async def page(work: Work, after: str, limit: int, *, only: str | None = None) -> list[Kept]:
    """The newest of each id past `after`."""
    return [_kept(row) for row in await work.execute(PAGE, {"after": after, "limit": limit, "id": only})]


async def count_others(work: Work, id: str) -> int:
    """How many there are beside `id`."""
    counted: int = (await work.execute(COUNT, {"id": id})).scalar_one()
    return counted


async def add(work: Work, definition: Definition, name: str, fill: Fill, now: datetime) -> None:
    """Keep a new revision, to be filled."""
    await work.execute(
        ADD,
        {
            "id": definition.id,
            "revision": definition.revision,
            "name": name,
            "formula": _json(definition.formula),
            "since": definition.since,
            "saved_at": now,
            "fill": _json(fill),
        },
    )


async def rename(work: Work, id: str, name: str) -> None:
    await work.execute(NAME, {"id": id, "name": name})


async def supersede(work: Work, newer: Definition) -> None:
    """What is still being filled of the same id is gone, as nobody waits for it any more."""
    await work.execute(SUPERSEDE, {"id": newer.id, "revision": newer.revision})


async def replace(work: Work, newer: Definition) -> None:
    """What showed of the same id is gone: `newer` shows in its place."""
    await work.execute(REPLACE, {"id": newer.id, "revision": newer.revision})


async def leave(work: Work, id: str) -> None:
    """All revisions go out of the views."""
    await work.execute(LEAVE, {"id": id})


async def due(work: Work) -> Kept | None:
    """One that something is to be done about, nobody else's until this transaction ends."""
    row = (await work.execute(DUE)).one_or_none()
    return None if row is None else _kept(row)


async def filling(work: Work) -> list[Kept]:
    """Those that are not whole yet."""
    return [_kept(row) for row in await work.execute(FILLING)]


async def stop_filling(work: Work) -> None:
    """Let nothing be filled until this transaction ends: whoever fills has the row of what it fills."""
    await work.execute(UNFILLED)


async def put(work: Work, kept: Kept) -> None:
    """Write how far it is."""
    id, revision = kept.definition.key
    await work.execute(
        PUT,
        {
            "id": id,
            "revision": revision,
            "phase": kept.phase,
            "fill": _json(kept.fill),
            "complete_from": kept.complete_from,
            "marked_to": kept.marked_to,
        },
    )


async def forget(work: Work, kept: Kept) -> None:
    id, revision = kept.definition.key
    await work.execute(FORGET, {"id": id, "revision": revision})


async def phases(work: Work) -> dict[str, int]:
    """How many rows there are in each phase."""
    return {row.phase: row.number for row in await work.execute(PHASES)}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _kept(row: Row[Any]) -> Kept:
    return Kept(
        definition=Definition(
            id=row.id,
            revision=row.revision,
            formula=msgspec.json.decode(row.formula, type=Formula),
            since=row.since,
        ),
        name=row.name,
        saved_at=row.saved_at,
        phase=row.phase,
        fill=msgspec.json.decode(row.fill, type=Fill),
        complete_from=row.complete_from,
        marked_to=row.marked_to and str(row.marked_to),
        shown=getattr(row, "shown", None),
    )
