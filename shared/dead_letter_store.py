"""The table of a service's dead letters, and every statement on it.

A letter is `waiting` until somebody does something about it; `ordered` while it waits to be applied once more, in its
mended form where it has one; then `replayed`, or `waiting` again where it could not be applied; or `discarded`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, LargeBinary, MetaData, Row, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.db import Work
from shared.events import DeadLetter

Status = Literal["waiting", "ordered", "replayed", "discarded"]

TABLES_V1 = (
    """
    CREATE TABLE dead_letter (
        id text COLLATE "C" PRIMARY KEY,
        topic text COLLATE "C" NOT NULL,
        partition integer NOT NULL,
        "offset" bigint NOT NULL,
        at timestamptz NOT NULL,
        reason text NOT NULL,
        key bytea,
        value bytea,
        mended bytea,
        status text NOT NULL,
        history jsonb NOT NULL
    )
    """,
    "CREATE INDEX dead_letter_by_time ON dead_letter (at, id)",
    "CREATE INDEX dead_letter_ordered ON dead_letter (at, id) WHERE status = 'ordered'",
)
"""For a migration of every service that consumes."""

KEPT_HISTORY = 20
"""Entries of a letter's history: the last ones."""

# A letter that is there already stays as it is: a record that is put aside twice is one letter.
ADD = text("""
    INSERT INTO dead_letter (id, topic, partition, "offset", at, reason, key, value, status, history)
    SELECT fresh.*, 'waiting', '[]' FROM unnest(
        CAST(:ids AS text[]), CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]),
        CAST(:ats AS timestamptz[]), CAST(:reasons AS text[]), CAST(:keys AS bytea[]), CAST(:values AS bytea[])
    ) AS fresh
    ON CONFLICT DO NOTHING
""")
_MATCHING = """
    (CAST(:ids AS text[]) IS NULL OR id = ANY(CAST(:ids AS text[])))
    AND (:topic = '' OR topic = :topic) AND (:status = '' OR status = :status)
    AND (:reason = '' OR strpos(lower(reason), lower(:reason)) > 0)
    AND at >= coalesce(CAST(:since AS timestamptz), '-infinity')
    AND at < coalesce(CAST(:until AS timestamptz), 'infinity')
"""
_SHOWN = 'id, topic, partition, "offset", at, reason, status'
_WHOLE = f"{_SHOWN}, key, value, mended, CAST(history AS text) AS history"
PAGE = text(f"""
    SELECT {_SHOWN} FROM dead_letter
    WHERE {_MATCHING} AND (CAST(:at AS timestamptz) IS NULL OR (at, id) < (CAST(:at AS timestamptz), :id))
    ORDER BY at DESC, id DESC LIMIT :limit
""")  # noqa: S608 - our own
FIND = text(f"SELECT {_WHOLE} FROM dead_letter WHERE id = :id")  # noqa: S608 - our own
# The oldest first. Whoever replays or discards the same ones at this moment has them.
OLDEST = text(f"""
    SELECT {_WHOLE} FROM dead_letter WHERE {_MATCHING} ORDER BY at, id LIMIT :limit FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - our own
COUNT = text(f"SELECT count(*) FROM dead_letter WHERE {_MATCHING}")  # noqa: S608 - our own
TAKE = text(f"""
    SELECT {_WHOLE} FROM dead_letter WHERE status = 'ordered' ORDER BY at, id LIMIT 1 FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - our own
# What has been replayed stays so: another process may have applied what this one could not.
MARK = text(f"""
    UPDATE dead_letter SET
        status = :status,
        mended = :mended,
        history = jsonb_path_query_array(history || CAST(:entry AS jsonb), '$[last - {KEPT_HISTORY - 1} to last]')
    WHERE id = :id AND status <> 'replayed'
""")  # noqa: S608 - our own
STATUSES = text("SELECT id, status FROM dead_letter WHERE id = ANY(CAST(:ids AS text[]))")
FORGET = text("DELETE FROM dead_letter WHERE at < :before AND status <> 'ordered'")
WAITING = text("SELECT topic, count(*) AS letters FROM dead_letter WHERE status = 'waiting' GROUP BY topic")


class Selection(NamedTuple):
    """The letters meant: those with these ids, of a topic, in a status, whose reason has these words in it, put aside
    at `since` or later and before `until`. A field that is empty says nothing.
    """

    ids: Sequence[str] | None = None
    topic: str = ""
    status: Status | Literal[""] = ""
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None


class Place(NamedTuple):
    """A place in the list, which is ordered by when letters were put aside."""

    at: datetime
    id: str


class Mark(NamedTuple):
    """A letter's new status, its mended form, and the entry of its history that says why."""

    id: str
    status: Status
    mended: bytes | None
    entry: Mapping[str, Any]


def add_dead_letters(metadata: MetaData) -> None:
    """Declare the table in a service's metadata, so that a test can hold it against the migrations."""
    name = Text(collation="C")
    table = Table(
        "dead_letter",
        metadata,
        Column("id", name, primary_key=True),
        Column("topic", name, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False),
        Column("reason", Text, nullable=False),
        Column("key", LargeBinary),
        Column("value", LargeBinary),
        Column("mended", LargeBinary),
        Column("status", Text, nullable=False),
        Column("history", JSONB, nullable=False),
    )
    Index("dead_letter_by_time", table.c.at, table.c.id)
    Index("dead_letter_ordered", table.c.at, table.c.id, postgresql_where=text("status = 'ordered'"))


async def add(work: Work, letters: Sequence[DeadLetter]) -> None:
    """Let `letters` wait."""
    bodies = [each.data for each in letters]
    rows = {
        "ids": [each.id for each in letters],
        "topics": [each.topic for each in bodies],
        "partitions": [each.partition for each in bodies],
        "offsets": [each.offset for each in bodies],
        "ats": [each.time for each in letters],
        "reasons": [each.reason.replace("\0", "\ufffd") for each in bodies],  # PostgreSQL has no such character
        "keys": [each.key for each in bodies],
        "values": [each.value for each in bodies],
    }
    await work.execute(ADD, rows)


async def page(work: Work, which: Selection, before: Place | None, limit: int) -> Sequence[Row[Any]]:
    """Give those of `which` before that place, newest first, without what is in them."""
    at, id = before or (None, "")
    return (await work.execute(PAGE, {**which._asdict(), "at": at, "id": id, "limit": limit})).all()


async def find(work: Work, letter_id: str) -> Row[Any] | None:
    """Give all of one letter."""
    found: Row[Any] | None = (await work.execute(FIND, {"id": letter_id})).one_or_none()
    return found


async def oldest(work: Work, which: Selection, limit: int) -> Sequence[Row[Any]]:
    """Give all of the oldest of `which`, and lock them."""
    return (await work.execute(OLDEST, {**which._asdict(), "limit": limit})).all()


async def count(work: Work, which: Selection) -> int:
    """Give how many letters `which` means."""
    counted: int = (await work.execute(COUNT, which._asdict())).scalar_one()
    return counted


async def take(work: Work) -> Row[Any] | None:
    """Give the oldest letter that is to be applied once more and that nobody else is applying, and lock it."""
    found: Row[Any] | None = (await work.execute(TAKE)).one_or_none()
    return found


async def mark(work: Work, marks: Sequence[Mark]) -> None:
    """Write down what has become of letters."""
    for each in marks:
        entry = msgspec.json.encode(each.entry).decode().replace("\\u0000", "\\ufffd")
        await work.execute(MARK, {"id": each.id, "status": each.status, "mended": each.mended, "entry": entry})


async def statuses(work: Work, ids: Sequence[str]) -> Mapping[str, Status]:
    """Give the status of each of these letters that is there."""
    return {row.id: row.status for row in await work.execute(STATUSES, {"ids": list(ids)})}


async def waiting(work: Work) -> Mapping[str, int]:
    """Give how many letters wait for somebody, by topic."""
    return {row.topic: row.letters for row in await work.execute(WAITING)}


async def forget(work: Work, before: datetime) -> None:
    """Delete the letters that were put aside before that moment."""
    await work.execute(FORGET, {"before": before})
