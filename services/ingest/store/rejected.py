"""The queue of rejected events: those that wait for somebody to mend them, and what became of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Row, Select, Text, cast, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, JSONPATH

from services.ingest.domain.bodies import cleaned
from services.ingest.tables import REJECTED
from shared.db import Work
from shared.events import Refusal

Status = Literal["waiting", "replayed", "discarded"]

KEPT_HISTORY = 20
"""Entries of an event's history: the last ones."""

KEPT_PATH = f"$[last - {KEPT_HISTORY - 1} to last]"

# One that is there already stays as it is: the record was read twice, or the same call waits from before.
ADD = text("""
    INSERT INTO rejected
        (id, source, received_at, type, name, message_id, code, body, refusal, size, digest, status, history)
    SELECT fresh.*, 'waiting', '[]' FROM unnest(
        CAST(:ids AS text[]), CAST(:sources AS text[]), CAST(:received_ats AS timestamptz[]), CAST(:types AS text[]),
        CAST(:names AS text[]), CAST(:message_ids AS text[]), CAST(:codes AS text[]), CAST(:bodies AS bytea[]),
        CAST(:refusals AS json[]), CAST(:sizes AS integer[]), CAST(:digests AS bytea[])
    ) AS fresh
    ON CONFLICT DO NOTHING
""")
MARK = text(f"""
    UPDATE rejected SET
        status = new.status,
        history = jsonb_path_query_array(rejected.history || new.entry, '{KEPT_PATH}')
    FROM unnest(CAST(:ids AS text[]), CAST(:statuses AS text[]), CAST(:entries AS jsonb[])) AS new (id, status, entry)
    WHERE rejected.id = new.id
""")  # noqa: S608 - our own
# The newest of those that are too many, or too much.
OVERFLOW = text("""
    SELECT received_at, id FROM (
        SELECT received_at, id, row_number() OVER newest AS place, sum(size) OVER newest AS bytes FROM rejected
        WINDOW newest AS (ORDER BY received_at DESC, id DESC ROWS UNBOUNDED PRECEDING)
    ) AS held
    WHERE place > :events OR bytes > :bytes ORDER BY received_at DESC, id DESC LIMIT 1
""")
# What somebody is replaying right now is left for the next time.
DROP = text("""
    DELETE FROM rejected WHERE id = ANY (ARRAY(
        SELECT id FROM rejected WHERE (received_at, id) <= (:received_at, CAST(:id AS text))
        ORDER BY received_at, id LIMIT :most FOR UPDATE SKIP LOCKED
    ))
""")
WAITING = text("SELECT count(*) FROM rejected WHERE status = 'waiting'")


class Place(NamedTuple):
    """A place in the queue, which is ordered by when events were received."""

    received_at: datetime
    id: str


class Kept(NamedTuple):
    """A rejected event to be kept. `digest` is what it shares with the same call sent again."""

    id: str
    source: str
    refusal: Refusal
    digest: bytes | None


class Mark(NamedTuple):
    """What became of an event: its new status, and the entry of its history that says how."""

    id: str
    status: Status
    entry: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rejected events; all where nothing is said. `since` is part of the time meant, `until` is not."""

    ids: Sequence[str] | None = None
    reason: str | None = None
    source: str | None = None
    type: str | None = None
    event: str | None = None
    status: Status | None = None
    message_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def add(work: Work, events: Sequence[Kept]) -> int:
    """Let these wait; give how many of them are new."""
    documents = [_document(each.refusal) for each in events]
    refusals = [_refusal(document) for document in documents]
    bodies = [each.refusal.body for each in events]
    rows = {
        "ids": [each.id for each in events],
        "sources": [each.source for each in events],
        "received_ats": [each.received_at for each in refusals],
        "types": [each.type for each in refusals],
        "names": [each.name for each in refusals],
        "message_ids": [each.message_id for each in refusals],
        "codes": [each.reasons[0].code if each.reasons else "unusable" for each in refusals],
        "bodies": bodies,
        "refusals": [document.decode() for document in documents],
        "sizes": [len(body) + len(document) for body, document in zip(bodies, documents, strict=True)],
        "digests": [each.digest for each in events],
    }
    return (await work.execute(ADD, rows)).rowcount


async def page(work: Work, which: Selection, before: Place | None, limit: int) -> Sequence[Row[Any]]:
    """Those of `which` before that place, newest first, without their bodies."""
    wanted: Select[Any] = (
        select(*_summary).where(*_matching(which)).order_by(_T.received_at.desc(), _T.id.desc()).limit(limit)
    )
    if before is not None:
        wanted = wanted.where(_place < tuple_(*before))
    found: Sequence[Row[Any]] = (await work.execute(wanted)).all()
    return found


async def find(work: Work, rejected_id: str) -> Row[Any] | None:
    """All of one event."""
    wanted: Select[Any] = select(*_summary, *_rest).where(_T.id == rejected_id)
    found: Row[Any] | None = (await work.execute(wanted)).one_or_none()
    return found


async def counts(work: Work, which: Selection, limit: int) -> Sequence[Row[Any]]:
    """How many there are of each (reason, source, event), the largest groups first, with the sums over all groups."""
    events = func.count()
    wanted = (
        select(
            _T.code,
            _T.source,
            _T.name,
            events.label("events"),
            func.min(_T.received_at).label("first_at"),
            func.max(_T.received_at).label("last_at"),
            func.sum(events).over().label("total"),
            func.count().over().label("groups"),
        )
        .where(*_matching(which))
        .group_by(_T.code, _T.source, _T.name)
        .order_by(events.desc(), _T.code, _T.source, _T.name)
        .limit(limit)
    )
    return (await work.execute(wanted)).all()


async def oldest(work: Work, which: Selection, after: Place | None, limit: int, *, lock: bool) -> Sequence[Row[Any]]:
    """Those of `which` after that place that wait, oldest first, with all that it takes to judge them.

    With `lock` nobody else gets them until the transaction ends, and what somebody else has is left out.
    """
    wanted = select(_T.id, _T.source, _T.received_at, *_rest).where(*_waiting(which, after))
    wanted = wanted.order_by(_T.received_at, _T.id).limit(limit)
    if lock:
        wanted = wanted.with_for_update(skip_locked=True)
    return (await work.execute(wanted)).all()


async def discard(work: Work, which: Selection, limit: int, entry: Mapping[str, Any]) -> int:
    """Set the oldest of `which` aside that wait; give how many. What somebody else has is left out."""
    taken = select(_T.id).where(*_waiting(which, None)).order_by(_T.received_at, _T.id).limit(limit)
    told = cast(dict(entry), JSONB)
    aside = (
        update(REJECTED)
        .where(_T.id.in_(select(taken.with_for_update(skip_locked=True).cte("taken").c.id)))
        .values(
            status="discarded",
            history=func.jsonb_path_query_array(_T.history.op("||")(told), cast(KEPT_PATH, JSONPATH)),
        )
    )
    return (await work.execute(aside)).rowcount


async def count_waiting(work: Work, which: Selection, after: Place | None) -> int:
    """How many of `which` after that place wait."""
    counted: int = (await work.execute(select(func.count()).where(*_waiting(which, after)))).scalar_one()
    return counted


async def mark(work: Work, marks: Sequence[Mark]) -> None:
    """Write down what became of events that this transaction has locked."""
    rows = {
        "ids": [each.id for each in marks],
        "statuses": [each.status for each in marks],
        "entries": [cleaned(msgspec.json.encode(each.entry)).decode() for each in marks],
    }
    await work.execute(MARK, rows)


async def overflow(work: Work, *, events: int, bytes: int) -> Place | None:
    """The newest event that has no room where there is some for so many `events` of so many `bytes`."""
    row = (await work.execute(OVERFLOW, {"events": events, "bytes": bytes})).one_or_none()
    return None if row is None else Place(row.received_at, row.id)


async def drop(work: Work, until: Place, most: int) -> int:
    """Delete the oldest, up to and with that place; give how many."""
    return (await work.execute(DROP, {**until._asdict(), "most": most})).rowcount


async def waiting(work: Work) -> int:
    counted: int = (await work.execute(WAITING)).scalar_one()
    return counted


def refusal(row: Row[Any]) -> Refusal:
    """What `oldest` and `find` give, as it came through the topic."""
    return replace(_refusal(row.refusal), body=row.body)


_T = REJECTED.c
_place = tuple_(_T.received_at, _T.id)
_first = _T.refusal["reasons"][0]
_summary = (
    _T.id,
    _T.source,
    _T.received_at,
    _T.type,
    _T.name,
    _T.message_id,
    _T.code,
    _first["message"].as_string().label("message"),
    _first["path"].as_string().label("path"),
    _T.status,
)
_rest = (_T.body, cast(_T.refusal, Text).label("refusal"), cast(_T.history, Text).label("history"))


def _matching(which: Selection) -> list[ColumnElement[bool]]:
    equal = (
        (_T.code, which.reason),
        (_T.source, which.source),
        (_T.type, which.type),
        (_T.name, which.event),
        (_T.status, which.status),
        (_T.message_id, which.message_id),
    )
    found = [column == wanted for column, wanted in equal if wanted is not None]
    if which.ids is not None:
        found.append(_T.id == func.any(cast(list(which.ids), ARRAY(Text))))
    if which.since is not None:
        found.append(_T.received_at >= which.since)
    if which.until is not None:
        found.append(_T.received_at < which.until)
    return found


def _waiting(which: Selection, after: Place | None) -> list[ColumnElement[bool]]:
    conditions = [*_matching(which), _T.status == "waiting"]
    return conditions if after is None else [*conditions, _place > tuple_(*after)]


_refusal = msgspec.json.Decoder(Refusal).decode


def _document(refusal: Refusal) -> bytes:
    """All of it but the body, as JSON that PostgreSQL takes."""
    return cleaned(msgspec.json.encode(replace(refusal, body=b"")))
