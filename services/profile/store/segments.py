"""Segments, who is in them, and the signals that wait for Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, text

from services.profile.domain.publication import Entered, Publication
from services.profile.store import locks
from shared.db import Work
from shared.events import Signalled, encode

EVERYBODY = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""The profile up to which everybody is marked. No profile has this id."""

ALL = text("SELECT * FROM segment WHERE deleted_at IS NULL ORDER BY id")
FIND = text("SELECT * FROM segment WHERE id = :id AND deleted_at IS NULL")
# The same rule again changes nobody: there is nothing to fill. One that was deleted is made anew: some have left it.
SAVE = text("""
    INSERT INTO segment (id, name, rule, saved_at, filling) VALUES (:id, :name, :rule, :now, true)
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name, rule = excluded.rule, saved_at = excluded.saved_at,
        filling = segment.filling OR segment.rule <> excluded.rule OR segment.deleted_at IS NOT NULL,
        filled_to = CASE
            WHEN segment.rule <> excluded.rule OR segment.deleted_at IS NOT NULL THEN NULL ELSE segment.filled_to
        END,
        deleted_at = NULL
    RETURNING *
""")
PAGE = text("""
    SELECT * FROM segment WHERE id > :after AND deleted_at IS NULL ORDER BY id LIMIT :limit
""")
COUNT = text("SELECT count(*) FROM segment_member WHERE segment_id = :id")
MEMBERS = text("""
    SELECT profile_id, since FROM segment_member
    WHERE segment_id = :id AND (CAST(:after AS uuid) IS NULL OR profile_id > CAST(:after AS uuid))
    ORDER BY profile_id LIMIT :limit
""")
FILLING = text("""
    SELECT id, filled_to FROM segment
    WHERE filling AND deleted_at IS NULL AND filled_to IS DISTINCT FROM CAST(:everybody AS uuid)
    ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
""")
MARKED = text("""
    SELECT id, saved_at FROM segment WHERE filling AND deleted_at IS NULL AND filled_to = CAST(:everybody AS uuid)
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
""")
DELETE = text("UPDATE segment SET deleted_at = :now WHERE id = :id AND deleted_at IS NULL RETURNING id, name, rule")
EMPTYING = text("""
    SELECT id FROM segment
    WHERE deleted_at IS NOT NULL
        AND (deleted_at <= :before OR EXISTS (SELECT FROM segment_member WHERE segment_id = segment.id))
    ORDER BY deleted_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
""")
# Who is marked will be told in any case, and there are never many of them.
UNMARKED = text("""
    SELECT profile_id FROM segment_member
    WHERE segment_id = :id AND NOT EXISTS (SELECT FROM mark WHERE mark.profile_id = segment_member.profile_id)
    ORDER BY profile_id LIMIT :limit
""")
FORGET = text("DELETE FROM segment WHERE id = :id AND deleted_at <= :before")
ENDED = text("SELECT id FROM segment WHERE id = :id AND deleted_at IS NOT NULL FOR UPDATE")
FILLED_TO = text("UPDATE segment SET filled_to = CAST(:to AS uuid) WHERE id = :id")
FILLED = text("UPDATE segment SET filling = false, filled_to = NULL WHERE id = :id")
LEAVE = text("""
    DELETE FROM segment_member
    USING unnest(CAST(:ids AS uuid[]), CAST(:segments AS text[])) AS old (profile_id, segment_id)
    WHERE segment_member.profile_id = old.profile_id AND segment_member.segment_id = old.segment_id
""")
ENTER = text("""
    INSERT INTO segment_member (profile_id, segment_id, since)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:segments AS text[]), CAST(:sinces AS timestamptz[]))
    ON CONFLICT DO NOTHING
""")
PUT_SIGNALS = text("""
    INSERT INTO signal (profile_id, id, body)
    SELECT * FROM unnest(CAST(:profiles AS uuid[]), CAST(:ids AS uuid[]), CAST(:bodies AS json[]))
    ON CONFLICT DO NOTHING
""")
SIGNALS = text("""
    SELECT profile_id, id, CAST(body AS text) AS body FROM signal
    WHERE profile_id = ANY(CAST(:ids AS uuid[])) ORDER BY profile_id, id
""")
DROP_SIGNALS = text("""
    DELETE FROM signal USING unnest(CAST(:profiles AS uuid[]), CAST(:ids AS uuid[])) AS sent (profile_id, id)
    WHERE signal.profile_id = sent.profile_id AND signal.id = sent.id
""")


async def lock(work: Work) -> None:
    """Be the only one who saves segments until this transaction ends: what each may ask for depends on the others."""
    await locks.alone(work, "segments")


async def rules(work: Work) -> dict[str, str]:
    """The text of every segment's rule."""
    return {row.id: row.rule for row in (await work.execute(ALL)).all()}


async def find(work: Work, segment_id: str) -> Row[Any] | None:
    return (await work.execute(FIND, {"id": segment_id})).one_or_none()


async def page(work: Work, after: str, limit: int) -> Sequence[Row[Any]]:
    """Segments by id, those past `after`."""
    return (await work.execute(PAGE, {"after": after, "limit": limit})).all()


async def save(work: Work, segment_id: str, name: str, rule: str, now: datetime) -> Row[Any]:
    """Make or change a segment; where its rule is new, it is to be filled from the first profile on."""
    return (await work.execute(SAVE, {"id": segment_id, "name": name, "rule": rule, "now": now})).one()


async def filling(work: Work) -> Row[Any] | None:
    """A segment for which somebody is still to be marked, locked, with the last profile that was."""
    return (await work.execute(FILLING, {"everybody": EVERYBODY})).one_or_none()


async def marked(work: Work) -> Sequence[Row[Any]]:
    """The segments for which everybody was marked and that still fill, locked; those that nobody else has."""
    return (await work.execute(MARKED, {"everybody": EVERYBODY})).all()


async def filled_to(work: Work, segment_id: str, to: str) -> None:
    """Profiles have been marked for the segment up to this one, or EVERYBODY."""
    await work.execute(FILLED_TO, {"id": segment_id, "to": to})


async def filled(work: Work, segment_id: str) -> None:
    """Nothing is left to fill of the segment."""
    await work.execute(FILLED, {"id": segment_id})


async def delete(work: Work, segment_id: str, now: datetime) -> Row[Any] | None:
    """Let nobody see a segment any more; give what it was, None where there was none."""
    return (await work.execute(DELETE, {"id": segment_id, "now": now})).one_or_none()


async def ended(work: Work, segment_id: str) -> bool:
    """Whether there was a segment of this id that was deleted and is not forgotten yet; locked, if so."""
    return (await work.execute(ENDED, {"id": segment_id})).one_or_none() is not None


async def emptying(work: Work, before: datetime) -> str | None:
    """A deleted segment, locked, that has members, or was deleted `before` that moment and can be forgotten."""
    found: str | None = (await work.execute(EMPTYING, {"before": before})).scalar_one_or_none()
    return found


async def unmarked(work: Work, segment_id: str, limit: int) -> list[str]:
    """Members of a segment that do not wait to be published."""
    return [str(id) for id in (await work.execute(UNMARKED, {"id": segment_id, "limit": limit})).scalars()]


async def forget(work: Work, segment_id: str, before: datetime) -> None:
    """Forget a segment that was deleted `before` that moment."""
    await work.execute(FORGET, {"id": segment_id, "before": before})


async def count(work: Work, segment_id: str) -> int:
    counted: int = (await work.execute(COUNT, {"id": segment_id})).scalar_one()
    return counted


async def members(work: Work, segment_id: str, after: str | None, limit: int) -> Sequence[Row[Any]]:
    """Who is in the segment, by profile id, those past `after`."""
    return (await work.execute(MEMBERS, {"id": segment_id, "after": after, "limit": limit})).all()


class Moved(NamedTuple):
    """How many came into which segments, and how many left them."""

    entered: Mapping[str, int]
    left: Mapping[str, int]


async def change(work: Work, before: Mapping[str, Iterable[Entered]], publications: Iterable[Publication]) -> Moved:
    """Bring the members from what they were `before` ({profile id: segments}) to what `publications` say."""
    old = {(id, each.name) for id, entered in before.items() for each in entered}
    new = {(each.view.profile_id, entered.name): entered.since for each in publications for entered in each.segments}
    if left := sorted(old - new.keys()):
        await work.execute(LEAVE, {"ids": [id for id, _ in left], "segments": [name for _, name in left]})
    if came := sorted(new.keys() - old):
        since = [new[key] for key in came]
        await work.execute(
            ENTER, {"ids": [id for id, _ in came], "segments": [name for _, name in came], "sinces": since}
        )
    return Moved(Counter(name for _, name in came), Counter(name for _, name in left))


async def put_signals(work: Work, signals: Sequence[Signalled]) -> None:
    """Keep signals until Kafka has them."""
    if signals:
        await work.execute(
            PUT_SIGNALS,
            {
                "profiles": [each.data.profile_id for each in signals],
                "ids": [each.id for each in signals],
                "bodies": [encode(each).decode() for each in signals],
            },
        )


async def signals(work: Work, profile_ids: Sequence[str]) -> list[Row[Any]]:
    """The signals of these profiles that Kafka does not have yet, those of earlier attempts included."""
    return list((await work.execute(SIGNALS, {"ids": profile_ids})).all())


async def drop_signals(work: Work, sent: Sequence[Row[Any]]) -> None:
    """Kafka has them."""
    if sent:
        await work.execute(
            DROP_SIGNALS, {"profiles": [row.profile_id for row in sent], "ids": [row.id for row in sent]}
        )
