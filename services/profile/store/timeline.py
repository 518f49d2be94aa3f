"""The timeline: every touchpoint under its owner. A profile's is the merge of its identifiers'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, text

from services.profile.domain.identity import Owned
from shared.db import Work

ADD = text("""
    INSERT INTO timeline
        (kind, value, at, touchpoint_id, source, received_at, type, name, channel, properties, identifiers)
    SELECT * FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:ats AS timestamptz[]), CAST(:ids AS text[]),
        CAST(:sources AS text[]), CAST(:received_ats AS timestamptz[]), CAST(:types AS text[]), CAST(:names AS text[]),
        CAST(:channels AS text[]), CAST(:properties AS json[]), CAST(:identifiers AS json[])
    )
    ON CONFLICT DO NOTHING
""")
# Of each identifier the newest, straight from the index; then the newest of those.
NEWEST = text("""
    SELECT at, touchpoint_id, source, received_at, type, name, channel,
        CAST(properties AS text) AS properties, CAST(identifiers AS text) AS identifiers
    FROM identifier CROSS JOIN LATERAL (
        SELECT * FROM timeline
        WHERE timeline.kind = identifier.kind AND timeline.value = identifier.value
            AND (CAST(:channel AS text) IS NULL OR channel = :channel)
            AND (CAST(:name AS text) IS NULL OR name = :name)
            AND (at, touchpoint_id, source) < (CAST(:at AS timestamptz), CAST(:id AS text), CAST(:source AS text))
        ORDER BY at DESC, touchpoint_id DESC, source DESC LIMIT :limit
    ) AS newest
    WHERE identifier.profile_id = CAST(:profile_id AS uuid) AND identifier.kind = ANY(CAST(:kinds AS text[]))
    ORDER BY at DESC, touchpoint_id DESC, source DESC LIMIT :limit
""")


class Place(NamedTuple):
    """A place in a timeline: what is older than it comes after it."""

    at: datetime
    touchpoint_id: str
    source: str


async def add(work: Work, batch: Iterable[Owned]) -> None:
    """Put touchpoints into the timeline, each under its owner. One that is there already stays as it is."""
    rows = sorted(batch, key=lambda each: (each.owner, each.touchpoint.at, each.touchpoint.id))
    points = [row.touchpoint for row in rows]
    await work.execute(
        ADD,
        {
            "kinds": [row.owner.kind for row in rows],
            "values": [row.owner.value for row in rows],
            "ats": [point.at for point in points],
            "ids": [point.id for point in points],
            "sources": [point.source for point in points],
            "received_ats": [point.data.received_at for point in points],
            "types": [point.data.type for point in points],
            "names": [point.data.name for point in points],
            "channels": [point.data.channel for point in points],
            "properties": [bytes(point.data.properties).decode() for point in points],
            "identifiers": [_sent_under(row) for row in rows],
        },
    )


async def newest(
    work: Work,
    profile_id: str,
    *,
    kinds: Iterable[str],
    before: Place,
    limit: int,
    channel: str | None = None,
    name: str | None = None,
) -> Sequence[Row[Any]]:
    """The newest touchpoints of a profile that are older than `before`, newest first."""
    wanted: Mapping[str, Any] = {
        "profile_id": profile_id,
        "kinds": sorted(kinds),
        "limit": limit,
        "channel": channel,
        "name": name,
        "at": before.at,
        "id": before.touchpoint_id,
        "source": before.source,
    }
    return (await work.execute(NEWEST, wanted)).all()


def _sent_under(row: Owned) -> str:
    """All identifiers that the touchpoint carried, as JSON."""
    return msgspec.json.encode(sorted((*row.ids, *row.touchpoint.data.external_ids))).decode()
