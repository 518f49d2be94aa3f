"""What became of each offer of each decision, and who was shown what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, text

from services.personalize.domain.evidence import Counts
from services.personalize.domain.outcomes import Outcome, Subject, Times
from services.personalize.store.evidence import array
from shared.db import Work, aware
from shared.identifiers import Identifier


class Key(msgspec.Struct, frozen=True, order=True):
    """One offer of one decision."""

    decision_id: str
    offer_id: str


class Taught(NamedTuple):
    """An outcome, what of it has been counted as evidence so far, and when it is to be looked at again."""

    outcome: Outcome
    counts: Counts
    due: datetime | None


class Seen(msgspec.Struct, frozen=True, order=True):
    """One time that somebody, under one identifier, was shown an offer."""

    person: Identifier
    offer_id: str
    decision_id: str


# The row is where feedback and the decision's record meet, whichever comes first: each writes what it knows, and reads
# what the other has written. The earliest time of each step is kept (LEAST leaves nulls out).
FOLD = text("""
    INSERT INTO outcome (
        decision_id, offer_id, shown_at, clicked_at, accepted_at, dismissed_at, placement, channel, version, features
    )
    SELECT decision_id, offer_id, shown_at, clicked_at, accepted_at, dismissed_at, placement, channel, version,
        CAST(features AS double precision[])
    FROM unnest(
        CAST(:decision_ids AS text[]), CAST(:offer_ids AS text[]), CAST(:shown AS timestamptz[]),
        CAST(:clicked AS timestamptz[]), CAST(:accepted AS timestamptz[]), CAST(:dismissed AS timestamptz[]),
        CAST(:placements AS text[]), CAST(:channels AS text[]), CAST(:versions AS integer[]), CAST(:features AS text[])
    ) AS more (
        decision_id, offer_id, shown_at, clicked_at, accepted_at, dismissed_at, placement, channel, version, features
    )
    ON CONFLICT (decision_id, offer_id) DO UPDATE
    SET shown_at = least(outcome.shown_at, excluded.shown_at),
        clicked_at = least(outcome.clicked_at, excluded.clicked_at),
        accepted_at = least(outcome.accepted_at, excluded.accepted_at),
        dismissed_at = least(outcome.dismissed_at, excluded.dismissed_at),
        placement = coalesce(outcome.placement, excluded.placement),
        channel = coalesce(outcome.channel, excluded.channel),
        version = coalesce(outcome.version, excluded.version),
        features = coalesce(outcome.features, excluded.features)
    RETURNING outcome.*
""")
TEACH = text("""
    UPDATE outcome
    SET shown = new.shown, clicked = new.clicked, considered = new.considered, accepted = new.accepted,
        due_at = new.due_at
    FROM unnest(
        CAST(:decision_ids AS text[]), CAST(:offer_ids AS text[]), CAST(:shown AS smallint[]),
        CAST(:clicked AS smallint[]), CAST(:considered AS smallint[]), CAST(:accepted AS smallint[]),
        CAST(:due AS timestamptz[])
    ) AS new (decision_id, offer_id, shown, clicked, considered, accepted, due_at)
    WHERE outcome.decision_id = new.decision_id AND outcome.offer_id = new.offer_id
""")
# Whoever closes windows at the same time takes other rows.
DUE = text("""
    SELECT * FROM outcome WHERE due_at <= :now ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
""")
OF_DECISION = text("SELECT * FROM outcome WHERE decision_id = :decision_id ORDER BY offer_id")
EXPOSE = text("""
    INSERT INTO exposure (kind, value, offer_id, decision_id, shown_at, accepted_at, dismissed_at)
    SELECT * FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:offer_ids AS text[]), CAST(:decision_ids AS text[]),
        CAST(:shown AS timestamptz[]), CAST(:accepted AS timestamptz[]), CAST(:dismissed AS timestamptz[])
    )
    ON CONFLICT (kind, value, offer_id, decision_id) DO UPDATE
    SET shown_at = least(exposure.shown_at, excluded.shown_at),
        accepted_at = least(exposure.accepted_at, excluded.accepted_at),
        dismissed_at = least(exposure.dismissed_at, excluded.dismissed_at)
""")


async def fold(work: Work, more: Mapping[Key, Outcome]) -> dict[Key, Taught]:
    """Fold `more` into what is known, locking the rows; give them as they are now known."""
    rows = sorted(more.items(), key=lambda row: row[0])
    times, subjects = [outcome.times for _, outcome in rows], [outcome.subject for _, outcome in rows]
    parameters = {
        **_keys([key for key, _ in rows]),
        "shown": [each.shown for each in times],
        "clicked": [each.clicked for each in times],
        "accepted": [each.accepted for each in times],
        "dismissed": [each.dismissed for each in times],
        "placements": [each and each.placement for each in subjects],
        "channels": [each and each.channel for each in subjects],
        "versions": [each and each.version for each in subjects],
        "features": [each and array(each.features) for each in subjects],
    }
    return _taught(await work.execute(FOLD, parameters)) if rows else {}


async def due(work: Work, now: datetime, limit: int) -> dict[Key, Taught]:
    """At most `limit` outcomes whose silence has become an answer by `now`, locked; those that others hold left out."""
    return _taught(await work.execute(DUE, {"now": now, "limit": limit}))


async def teach(work: Work, lessons: Mapping[Key, tuple[Counts, datetime | None]]) -> None:
    """Note what of each outcome has been counted, and when it is due to be looked at again. The rows are locked."""
    if not lessons:
        return
    counts = [counts for counts, _ in lessons.values()]
    parameters = {
        **_keys(list(lessons)),
        **{name: [getattr(each, name) for each in counts] for name in Counts._fields},
        "due": [due for _, due in lessons.values()],
    }
    await work.execute(TEACH, parameters)


async def expose(work: Work, seen: Mapping[Seen, Times]) -> None:
    """Remember who was shown what, and what they made of it."""
    if not seen:
        return
    rows = sorted(seen.items(), key=lambda row: row[0])
    await work.execute(
        EXPOSE,
        {
            "kinds": [key.person.kind for key, _ in rows],
            "values": [key.person.value for key, _ in rows],
            "offer_ids": [key.offer_id for key, _ in rows],
            "decision_ids": [key.decision_id for key, _ in rows],
            "shown": [times.shown for _, times in rows],
            "accepted": [times.accepted for _, times in rows],
            "dismissed": [times.dismissed for _, times in rows],
        },
    )


async def of_decision(work: Work, decision_id: str) -> dict[Key, Taught]:
    """What became of each offer of the decision, by offer."""
    return _taught(await work.execute(OF_DECISION, {"decision_id": decision_id}))


def _keys(keys: Sequence[Key]) -> dict[str, Any]:
    return {"decision_ids": [key.decision_id for key in keys], "offer_ids": [key.offer_id for key in keys]}


def _taught(rows: Iterable[Row[Any]]) -> dict[Key, Taught]:
    return {
        Key(row.decision_id, row.offer_id): Taught(
            Outcome(
                Times(*map(aware, (row.shown_at, row.clicked_at, row.accepted_at, row.dismissed_at))),
                None if row.placement is None else _subject(row),
            ),
            Counts(row.shown, row.clicked, row.considered, row.accepted),
            aware(row.due_at),
        )
        for row in rows
    }


def _subject(row: Row[Any]) -> Subject:
    return Subject(row.placement, row.channel, row.version, tuple(row.features))
