"""History as a whole, read once through: every touchpoint of a span, by the timeline's key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Row, TextClause, text

from services.profile.domain.computed.definitions import Definition, Occurrence
from services.profile.domain.computed.filling import Place, Span
from shared.clock import rfc3339
from shared.db import Work, aware
from shared.identifiers import Identifier

# Of the catalogue alone: as old as the last vacuum or analyze.
SIZES = text("""
    SELECT relname, greatest(reltuples, 0) AS rows FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = CAST('timeline' AS regclass)
""")


class Chunk(NamedTuple):
    """What was found among the `looked` rows that were read, up to `last`; None: the span has no more."""

    found: Sequence[Occurrence]
    looked: int
    last: Place | None


async def chunk(work: Work, definition: Definition, span: Span, after: Place | None, limit: int) -> Chunk:
    """What `definition` is about in the next `limit` touchpoints of `span`.

    But for those that it has counted already, because they were absorbed since it was saved.
    """
    wanted = {"event": definition.formula.event, "generation": definition.revision, "limit": limit}
    if after is not None:
        wanted |= dict(zip(("kind", "value", "at", "id", "source"), after, strict=True))
    rows = (await work.execute(_chunk(span, going_on=after is not None), wanted)).all()
    looked = rows[-1].looked if rows else 0
    return Chunk(
        [_occurrence(row) for row in rows if row.matches], looked, _place(rows[-1]) if looked == limit else None
    )


def _occurrence(row: Row[Any]) -> Occurrence:
    owner = Identifier(row.kind, row.value)
    return Occurrence(
        owner, aware(row.at), row.touchpoint_id, row.source, row.name, row.channel, row.properties, row.trust
    )


def _place(row: Row[Any]) -> Place:
    return row.kind, row.value, aware(row.at), row.touchpoint_id, row.source


async def sizes(work: Work) -> dict[str, int]:
    """About how many touchpoints each partition has, by PostgreSQL's statistics."""
    return {row.relname: int(row.rows) for row in await work.execute(SIZES)}


# The times are written into it, so that only the partitions of the span are planned for and locked. The last row that
# was looked at is always given: it says how far the walk has come.
@lru_cache(maxsize=64)
def _chunk(span: Span, *, going_on: bool) -> TextClause:
    start = "-infinity" if span.start is None else rfc3339(span.start)
    end = "infinity" if span.end is None else rfc3339(span.end)
    further = "AND (kind, value, at, touchpoint_id, source) > (:kind, :value, CAST(:at AS timestamptz), :id, :source)"
    return text(f"""
        SELECT kind, value, at, touchpoint_id, source, trust, name, channel, matches, looked,
            CASE WHEN matches THEN CAST(properties AS text) END AS properties
        FROM (
            SELECT *, max(place) OVER () AS looked
            FROM (
                SELECT *, coalesce(type = 'track' AND name = :event AND generation < :generation, false) AS matches,
                    row_number() OVER (ORDER BY kind, value, at, touchpoint_id, source) AS place
                FROM timeline
                WHERE at >= '{start}' AND at < '{end}' {further if going_on else ""}
                ORDER BY kind, value, at, touchpoint_id, source LIMIT :limit
            ) AS walked
        ) AS measured
        WHERE matches OR place = looked
        ORDER BY place
    """)  # noqa: S608 - nothing in it but times of ours
