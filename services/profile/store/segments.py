"""Segments, who is in them, and the signals that wait for Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from services.profile.domain.publication import Entered, Publication
from shared.db import Work
from shared.events import Signalled, encode

ALL = text("SELECT * FROM segment ORDER BY id")
FIND = text("SELECT * FROM segment WHERE id = :id")
# The same rule again changes nobody: there is nothing to fill.
SAVE = text("""
    INSERT INTO segment (id, name, rule, saved_at, filling) VALUES (:id, :name, :rule, :now, true)
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name, rule = excluded.rule, saved_at = excluded.saved_at,
        filling = segment.filling OR segment.rule <> excluded.rule,
        filled_to = CASE WHEN segment.rule <> excluded.rule THEN NULL ELSE segment.filled_to END
    RETURNING *
""")
PAGE = text("""
    SELECT id, name, rule, saved_at, filling FROM segment WHERE id > :after ORDER BY id LIMIT :limit
""")
COUNT = text("SELECT count(*) FROM segment_member WHERE segment_id = :id")
MEMBERS = text("""
    SELECT profile_id, since FROM segment_member
    WHERE segment_id = :id AND (CAST(:after AS uuid) IS NULL OR profile_id > CAST(:after AS uuid))
    ORDER BY profile_id LIMIT :limit
""")
FILLING = text("SELECT id, filled_to FROM segment WHERE filling ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED")
FILLED = text("UPDATE segment SET filled_to = CAST(:to AS uuid), filling = :filling WHERE id = :id")
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
    """A segment that is being filled, locked, with the last profile that was marked for it."""
    return (await work.execute(FILLING)).one_or_none()


async def filled(work: Work, segment_id: str, to: str | None, *, more: bool) -> None:
    """The segment has been filled up to a profile; whether there is `more` to do."""
    await work.execute(FILLED, {"id": segment_id, "to": to, "filling": more})


async def count(work: Work, segment_id: str) -> int:
    counted: int = (await work.execute(COUNT, {"id": segment_id})).scalar_one()
    return counted


async def members(work: Work, segment_id: str, after: str | None, limit: int) -> Sequence[Row[Any]]:
    """Who is in the segment, by profile id, those past `after`."""
    return (await work.execute(MEMBERS, {"id": segment_id, "after": after, "limit": limit})).all()


async def change(work: Work, before: Mapping[str, Iterable[Entered]], publications: Iterable[Publication]) -> None:
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
