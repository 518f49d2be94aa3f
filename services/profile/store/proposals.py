"""Proposals: two profiles that are likely one person's; and the views that they are found in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, text

from services.profile.domain.proposals import Found, Past, Proposal, Reason, Status
from services.profile.domain.rulings import Ruling
from services.profile.store.rulings import ruling_of
from shared.db import Work
from shared.identifiers import Identifier

VIEWS = text("""
    SELECT view.profile_id, CAST(view.body AS text) AS body
    FROM view JOIN profile USING (profile_id)
    WHERE profile.redirect IS NULL AND (CAST(:after AS uuid) IS NULL OR view.profile_id > CAST(:after AS uuid))
    ORDER BY view.profile_id LIMIT :limit
""")
PAST = text("SELECT id, one_kind, one_value, other_kind, other_value, status FROM proposal")
# Pairs of whom it was ever ruled that they are two, with every ruling on them: a pair stands in either order.
SPLITS = text("""
    SELECT ruling.* FROM ruling WHERE EXISTS (
        SELECT 1 FROM ruling AS split
        WHERE split.ruling = 'split' AND (
            (split.member_kind, split.member_value, split.owner_kind, split.owner_value)
                = (ruling.member_kind, ruling.member_value, ruling.owner_kind, ruling.owner_value)
            OR (split.member_kind, split.member_value, split.owner_kind, split.owner_value)
                = (ruling.owner_kind, ruling.owner_value, ruling.member_kind, ruling.member_value)
        )
    )
""")
# What somebody decides meanwhile stays so. One that is open again was proposed again.
PUT = text("""
    INSERT INTO proposal (
        id, one_kind, one_value, other_kind, other_value, weight, probability, reasons, proposed_at, status
    )
    SELECT new.*, CAST(:now AS timestamptz), 'open' FROM unnest(
        CAST(:ids AS text[]), CAST(:one_kinds AS text[]), CAST(:one_values AS text[]), CAST(:other_kinds AS text[]),
        CAST(:other_values AS text[]), CAST(:weights AS double precision[]),
        CAST(:probabilities AS double precision[]), CAST(:reasons AS json[])
    ) AS new
    ON CONFLICT (one_kind, one_value, other_kind, other_value) DO UPDATE SET
        (weight, probability, reasons, status, decided_at)
            = (excluded.weight, excluded.probability, excluded.reasons, 'open', NULL),
        proposed_at = CASE proposal.status WHEN 'open' THEN proposal.proposed_at ELSE excluded.proposed_at END
    WHERE proposal.status IN ('open', 'gone')
""")
GONE = text("""
    UPDATE proposal SET status = 'gone', decided_at = :now WHERE id = ANY(CAST(:ids AS text[])) AND status = 'open'
""")
PAGE = text("""
    SELECT * FROM proposal
    WHERE status = :status AND (CAST(:weight AS double precision) IS NULL OR (weight, id) < (:weight, :id))
    ORDER BY weight DESC, id DESC LIMIT :limit
""")
FIND = text("SELECT * FROM proposal WHERE id = :id")
LOCK = text("SELECT * FROM proposal WHERE id = :id FOR UPDATE")
DECIDE = text("""
    UPDATE proposal SET (status, decided_at, who, why) = (:status, :at, :who, :why) WHERE id = :id RETURNING *
""")

BATCH = 5_000
"""Proposals in one statement."""


async def views(work: Work, after: str | None, limit: int) -> list[tuple[str, str]]:
    """The next published views by profile id, as JSON; none of profiles that were absorbed."""
    return [(str(row.profile_id), row.body) for row in await work.execute(VIEWS, {"after": after, "limit": limit})]


async def past(work: Work) -> list[Past]:
    """Everything that was ever proposed."""
    return [Past(row.id, *_two(row), row.status) for row in await work.execute(PAST)]


async def splits(work: Work) -> list[Ruling]:
    """All rulings on pairs that were ever ruled to be two."""
    return [ruling_of(row) for row in await work.execute(SPLITS)]


async def put(work: Work, found: Sequence[Found], now: datetime) -> None:
    """Propose `found`, but for what was decided."""
    rows = sorted(found, key=lambda each: (each.one, each.other))  # two who write lock in one order
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        await work.execute(
            PUT,
            {
                "now": now,
                "ids": [each.id for each in some],
                "one_kinds": [each.one.kind for each in some],
                "one_values": [each.one.value for each in some],
                "other_kinds": [each.other.kind for each in some],
                "other_values": [each.other.value for each in some],
                "weights": [each.weight for each in some],
                "probabilities": [each.probability for each in some],
                "reasons": [msgspec.json.encode(each.reasons).decode() for each in some],
            },
        )


async def gone(work: Work, ids: Sequence[str], now: datetime) -> None:
    """There is nothing left to decide in these."""
    if ids:
        await work.execute(GONE, {"ids": ids, "now": now})


async def page(work: Work, status: Status, before: tuple[float | None, str], limit: int) -> list[Proposal]:
    """Proposals of that status, the heaviest first, those after the place `before`."""
    place = {"weight": before[0], "id": before[1]}
    return [_proposal(row) for row in await work.execute(PAGE, {"status": status, **place, "limit": limit})]


async def find(work: Work, id: str, *, lock: bool = False) -> Proposal | None:
    """The proposal; with `lock` nobody else decides on it until this transaction ends."""
    row = (await work.execute(LOCK if lock else FIND, {"id": id})).one_or_none()
    return None if row is None else _proposal(row)


async def decide(work: Work, id: str, status: Status, *, at: datetime, who: str, why: str) -> Proposal:
    """Keep what was decided."""
    row = await work.execute(DECIDE, {"id": id, "status": status, "at": at, "who": who, "why": why})
    return _proposal(row.one())


def _two(row: Row[Any]) -> tuple[Identifier, Identifier]:
    return Identifier(row.one_kind, row.one_value), Identifier(row.other_kind, row.other_value)


def _proposal(row: Row[Any]) -> Proposal:
    one, other = _two(row)
    return Proposal(
        one=one,
        other=other,
        weight=row.weight,
        probability=row.probability,
        reasons=msgspec.convert(row.reasons, tuple[Reason, ...]),
        status=row.status,
        proposed_at=row.proposed_at,
        decided_at=row.decided_at,
        who=row.who,
        why=row.why,
    )
