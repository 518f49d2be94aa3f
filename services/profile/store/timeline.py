"""The timeline: every touchpoint under its owner. A profile's is the merge of its identifiers'.

It is read month by month, only those in which the profile has something: what a page costs depends neither on how long
the timeline is, nor on how many partitions there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, TextClause, text

from services.profile.domain.identity import Owned
from services.profile.domain.periods import FIRST_MONTH, LAST_MONTH, month_of, start_of
from shared.clock import rfc3339
from shared.db import Work
from shared.events import Touchpoint

ADD = text("""
    INSERT INTO timeline
        (kind, value, at, touchpoint_id, source, trust, received_at, type, name, channel, properties, identifiers,
         traits, generation)
    SELECT *, :generation FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:ats AS timestamptz[]), CAST(:ids AS text[]),
        CAST(:sources AS text[]), CAST(:trusts AS text[]), CAST(:received_ats AS timestamptz[]),
        CAST(:types AS text[]), CAST(:names AS text[]), CAST(:channels AS text[]), CAST(:properties AS json[]),
        CAST(:identifiers AS json[]), CAST(:traits AS json[])
    ) AS new
        (kind, value, at, touchpoint_id, source, trust, received_at, type, name, channel, properties, identifiers,
         traits)
    WHERE at >= coalesce((SELECT removed_before FROM retention WHERE what = 'timeline'), '-infinity')
    ON CONFLICT DO NOTHING
""")
# Of each identifier its newest months, straight from the key; then the newest of those.
MONTHS = text("""
    SELECT DISTINCT month
    FROM identifier CROSS JOIN LATERAL (
        SELECT DISTINCT month FROM presence
        WHERE presence.kind = identifier.kind AND presence.value = identifier.value
            AND month BETWEEN :first AND :last
            AND (CAST(:channel AS text) IS NULL OR channel = :channel)
            AND (CAST(:type AS text) IS NULL OR type = :type)
        ORDER BY month DESC LIMIT :limit
    ) AS newest
    WHERE identifier.profile_id = CAST(:profile_id AS uuid) AND identifier.kind = ANY(CAST(:kinds AS text[]))
    ORDER BY month DESC LIMIT :limit
""")
# A walk down an index is all that is ever right here. Believing that an identifier has a handful of rows, PostgreSQL
# might sort them instead: those of a busy one are a million.
WALK = text("SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)")


TRAITS = "traits"
"""In `presence`, beside its own type, the type of all that says something of traits: most touchpoints do not."""


class Place(NamedTuple):
    """A place in a timeline: what is older than it comes after it."""

    at: datetime
    touchpoint_id: str
    source: str


class Asked(NamedTuple):
    """Whose touchpoints are asked for, by which kinds of identifiers; from `since` on; and only those of this sort.

    `trait`: only those that say something of it, whatever their channel and type; it comes with them, as `word`.
    """

    profile_id: str
    kinds: Collection[str]
    since: datetime
    channel: str | None = None
    name: str | None = None
    type: str | None = None
    trait: str | None = None


async def add(work: Work, batch: Iterable[Owned], generation: int = 0) -> int:
    """Put touchpoints into the timeline, each under its owner; give how many.

    `generation`: of the definitions that the batch was counted by already. One that is there already stays as it is,
    and what retention has removed does not come back.
    """
    rows = sorted(batch, key=lambda each: (each.owner, each.touchpoint.at, each.touchpoint.id))
    points = [row.touchpoint for row in rows]
    added = await work.execute(
        ADD,
        {
            "kinds": [row.owner.kind for row in rows],
            "values": [row.owner.value for row in rows],
            "ats": [point.at for point in points],
            "ids": [point.id for point in points],
            "sources": [point.source for point in points],
            "trusts": [point.data.trust for point in points],
            "received_ats": [point.data.received_at for point in points],
            "types": [point.data.type for point in points],
            "names": [point.data.name for point in points],
            "channels": [point.data.channel for point in points],
            "properties": [bytes(point.data.properties).decode() for point in points],
            "identifiers": [_sent_under(row) for row in rows],
            "traits": [_said(point) for point in points],
            "generation": generation,
        },
    )
    return added.rowcount


async def walk(work: Work) -> None:
    """Settle how the timeline is read in this transaction: before anything else is asked of it."""
    await work.execute(WALK)


async def months(work: Work, asked: Asked, *, last: int, limit: int) -> Sequence[int]:
    """The newest months up to `last` in which the profile has touchpoints by that channel and of that type."""
    wanted = {**_owners(asked), "first": month_of(asked.since), "last": last, "limit": limit}
    return (await work.execute(MONTHS, wanted)).scalars().all()


async def newest(work: Work, asked: Asked, *, month: int, before: Place, limit: int, scan: int) -> Sequence[Row[Any]]:
    """What is asked for in `month`, older than `before`, newest first.

    About `scan` rows are looked at, whatever they are. Where that was not all of an identifier's, the row at which the
    walk ended is `cut`: more may come right after it. It is given even where it is not what was asked for (`matches`).
    """
    wanted = {
        **_owners(asked),
        "month": month,
        "since": asked.since,
        "at": before.at,
        "id": before.touchpoint_id,
        "source": before.source,
        "limit": limit,
        "scan": scan,
        **({} if asked.name is None else {"name": asked.name}),
        **({} if asked.trait is None else {"trait": asked.trait}),
    }
    statement = _newest(month, by_name=asked.name is not None, by_trait=asked.trait is not None)
    return (await work.execute(statement, wanted)).all()


def _owners(asked: Asked) -> dict[str, Any]:
    return {
        "profile_id": asked.profile_id,
        "kinds": sorted(asked.kinds),
        "channel": asked.channel,
        "type": asked.type if asked.trait is None else TRAITS,
    }


@lru_cache(maxsize=1024)
def _newest(month: int, *, by_name: bool, by_trait: bool) -> TextClause:
    """The statement for one month. The month is written into it: then only its partition is planned for, and locked."""
    # The first moment there is stands in the database as -infinity, and is to be read as what it was.
    first = rfc3339(datetime.min.replace(tzinfo=UTC))
    start = "-infinity" if month == FIRST_MONTH else rfc3339(start_of(month))
    end = "infinity" if month == LAST_MONTH else rfc3339(start_of(month + 1))
    word = "traits -> CAST(:trait AS text)" if by_trait else "NULL"
    of_its_sort = """
        (CAST(:channel AS text) IS NULL OR channel = :channel) AND (CAST(:type AS text) IS NULL OR type = :type)
    """
    return text(f"""
        WITH owner AS MATERIALIZED (
            SELECT DISTINCT identifier.kind, identifier.value
            FROM identifier JOIN presence USING (kind, value)
            WHERE identifier.profile_id = CAST(:profile_id AS uuid) AND identifier.kind = ANY(CAST(:kinds AS text[]))
                AND presence.month = :month
                AND (CAST(:channel AS text) IS NULL OR presence.channel = :channel)
                AND (CAST(:type AS text) IS NULL OR presence.type = :type)
        ), share AS MATERIALIZED (
            SELECT greatest(CAST(:limit AS bigint), :scan / greatest(count(*), 1)) AS size FROM owner
        )
        SELECT greatest(at, '{first}') AS at, touchpoint_id, source, trust, received_at, type, name,
            channel,
            CAST(properties AS text) AS properties, CAST(identifiers AS text) AS identifiers,
            CAST({word} AS text) AS word, matches, cut
        FROM owner CROSS JOIN LATERAL (
            SELECT *, place = (SELECT size FROM share) AS cut
            FROM (
                SELECT *, {f"{word} IS NOT NULL" if by_trait else of_its_sort} AS matches,
                    row_number() OVER (ORDER BY at DESC, touchpoint_id DESC, source DESC) AS place
                FROM timeline
                WHERE timeline.kind = owner.kind AND timeline.value = owner.value
                    {"AND timeline.name = :name" if by_name else ""} {"AND traits IS NOT NULL" if by_trait else ""}
                    AND at >= '{start}' AND at < '{end}' AND at >= :since
                    AND (at, touchpoint_id, source) < (:at, CAST(:id AS text), CAST(:source AS text))
                ORDER BY at DESC, touchpoint_id DESC, source DESC LIMIT (SELECT size FROM share)
            ) AS walked
            WHERE matches OR place = (SELECT size FROM share)
            ORDER BY at DESC, touchpoint_id DESC, source DESC LIMIT :limit
        ) AS newest
        ORDER BY at DESC, touchpoint_id DESC, source DESC LIMIT :limit
    """)  # noqa: S608 - nothing in it but numbers of ours


def _said(point: Touchpoint) -> str | None:
    """The traits that it claims for its person, as JSON."""
    claims = point.data.traits if point.data.type != "group" else {}
    return msgspec.json.encode(claims).decode() if claims else None


def _sent_under(row: Owned) -> str:
    """All identifiers that the touchpoint carried, as JSON."""
    return msgspec.json.encode(sorted((*row.ids, *row.touchpoint.data.external_ids))).decode()
