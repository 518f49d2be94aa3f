"""The counts that the learner learns from: for each placement, offer and feature vector the sum over all outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import text

from services.personalize.domain.evidence import Counts
from shared.db import Work


class Cell(msgspec.Struct, frozen=True, order=True):
    """What is counted together: one offer in one placement, before everybody who looked alike to the learner."""

    placement: str
    version: int
    offer_id: str
    features: tuple[float, ...]


ADD = text("""
    INSERT INTO evidence (placement, version, offer_id, features, shown, clicked, considered, accepted)
    SELECT placement, version, offer_id, CAST(features AS double precision[]), shown, clicked, considered, accepted
    FROM unnest(
        CAST(:placements AS text[]), CAST(:versions AS integer[]), CAST(:offer_ids AS text[]),
        CAST(:features AS text[]), CAST(:shown AS bigint[]), CAST(:clicked AS bigint[]),
        CAST(:considered AS bigint[]), CAST(:accepted AS bigint[])
    ) AS more (placement, version, offer_id, features, shown, clicked, considered, accepted)
    ON CONFLICT (placement, version, offer_id, features) DO UPDATE
    SET shown = evidence.shown + excluded.shown,
        clicked = evidence.clicked + excluded.clicked,
        considered = evidence.considered + excluded.considered,
        accepted = evidence.accepted + excluded.accepted,
        written_by = pg_current_xact_id()
""")
CHANGED = text("""
    SELECT placement, offer_id, features, shown, clicked, considered, accepted FROM evidence
    WHERE written_by >= CAST(CAST(:since AS text) AS xid8) AND version = :version
""")


async def add(work: Work, more: Mapping[Cell, Counts]) -> None:
    """Add to the counts of each cell; what is added may be negative, where an answer took a silence back."""
    rows = sorted((cell, counts) for cell, counts in more.items() if any(counts))
    if not rows:
        return
    await work.execute(
        ADD,
        {
            "placements": [cell.placement for cell, _ in rows],
            "versions": [cell.version for cell, _ in rows],
            "offer_ids": [cell.offer_id for cell, _ in rows],
            "features": [array(cell.features) for cell, _ in rows],
            **{name: [getattr(counts, name) for _, counts in rows] for name in Counts._fields},
        },
    )


async def changed(work: Work, version: int, since: str) -> Sequence[tuple[Cell, Counts]]:
    """The cells of feature version `version` that were written from the horizon `since` on, with all they count."""
    rows = await work.execute(CHANGED, {"version": version, "since": since})
    return [
        (
            Cell(row.placement, version, row.offer_id, tuple(row.features)),
            Counts(row.shown, row.clicked, row.considered, row.accepted),
        )
        for row in rows
    ]


def array(features: Sequence[float]) -> str:
    """A vector as PostgreSQL writes it: an array of vectors would be unnested into its numbers."""
    return "{" + ",".join(map(repr, features)) + "}"
