"""What a publication is made from, read for many profiles at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text

from services.profile.domain.computed.answers import Held
from services.profile.domain.computed.definitions import Defined
from services.profile.domain.publication import Entered, Known
from services.profile.store.fragments import decoded
from services.profile.store.identities import standing
from services.profile.store.parts import folded
from shared.db import Work
from shared.events import ShownScores

# One statement, hence one snapshot: the version, and the members and fragments that belong to it.
PROFILES = text("""
    SELECT profile.profile_id, profile.version, profile.redirect, profile.membership,
        view.version AS written, view.stage, view.stage_since,
        score.version AS score_version, score.engagement, score.ltv, score.churn_risk,
        identifier.kind, identifier.value,
        identifier.seen_rank, identifier.seen_at, identifier.seen_happened_at, identifier.seen_id,
        identifier.owner_kind, identifier.owner_value,
        identifier.claimed_rank, identifier.claimed_at, identifier.claimed_happened_at, identifier.claimed_id,
        CAST(fragment.state AS text) AS state,
        part.traits AS part_traits, part.revisions AS part_revisions, part.states AS part_states
    FROM profile
    LEFT JOIN view USING (profile_id)
    LEFT JOIN score USING (profile_id)
    LEFT JOIN identifier USING (profile_id)
    LEFT JOIN fragment USING (kind, value)
    LEFT JOIN LATERAL (
        SELECT array_agg(trait) AS traits, array_agg(revision) AS revisions, array_agg(CAST(state AS text)) AS states
        FROM computed_part
        WHERE CAST(:computed AS boolean) AND (computed_part.kind, computed_part.value) = (fragment.kind, fragment.value)
    ) AS part ON true
    WHERE profile.profile_id = ANY(CAST(:ids AS uuid[]))
    ORDER BY profile.profile_id, identifier.kind, identifier.value
""")
SEGMENTS = text("""
    SELECT profile_id, array_agg(segment_id ORDER BY segment_id), array_agg(since ORDER BY segment_id)
    FROM segment_member WHERE profile_id = ANY(CAST(:ids AS uuid[])) GROUP BY profile_id
""")

NONE_DEFINED = Defined()


class Stored(NamedTuple):
    """What is known of a profile; the digest of the membership that Kafka was last told; the view's last version."""

    known: Known
    membership: bytes | None
    written: int | None


async def known(work: Work, ids: Sequence[str], defined: Defined = NONE_DEFINED) -> list[Stored]:
    """All that is known of these profiles, in the order of their ids."""
    members = (await work.execute(SEGMENTS, {"ids": ids})).all()
    segments = {id: tuple(map(Entered, names, since)) for id, names, since in members}
    profiles: defaultdict[UUID, list[Row[Any]]] = defaultdict(list)
    for row in (await work.execute(PROFILES, {"ids": ids, "computed": bool(defined.shown)})).all():
        profiles[row.profile_id].append(row)
    return [
        Stored(_known(rows, segments.get(id, ()), defined), rows[0].membership, rows[0].written)
        for id, rows in profiles.items()
    ]


def _known(rows: Sequence[Row[Any]], segments: tuple[Entered, ...], defined: Defined) -> Known:
    """From one row for each member; a single one without a member where the profile has none."""
    first = rows[0]
    return Known(
        profile_id=str(first.profile_id),
        version=first.version,
        redirect=first.redirect and str(first.redirect),
        members=tuple(standing(row) for row in rows if row.kind is not None),
        fragments=tuple(decoded(row.state) for row in rows if row.state is not None),
        scores=_scores(first),
        computed=_computed(rows, defined),
        segments=segments,
        stage=None if first.stage is None else Entered(first.stage, first.stage_since),
    )


def _computed(rows: Sequence[Row[Any]], defined: Defined) -> Held:
    found = [
        part
        for row in rows
        if row.part_traits is not None
        for part in zip(row.part_traits, row.part_revisions, row.part_states, strict=True)
    ]
    return Held(defined.zone, tuple(folded(found, defined.shown)))


def _scores(row: Row[Any]) -> ShownScores | None:
    if row.score_version is None:
        return None
    return ShownScores(engagement=row.engagement, ltv=row.ltv, churn_risk=row.churn_risk, version=row.score_version)
