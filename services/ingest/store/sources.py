"""Sources and their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text

from services.ingest.domain.grants import USUAL
from services.ingest.domain.sources import Key, Narrowing, Source
from shared.db import Work

ALL = text("SELECT * FROM source ORDER BY name")
FIND = text("SELECT * FROM source WHERE name = :name")
PAGE = text("""
    SELECT source.*, coalesce(calls, 0) AS calls_today
    FROM source LEFT JOIN quota_use ON source = name AND day = :today
    WHERE name > :after ORDER BY name LIMIT :limit
""")
SHOW = text("""
    SELECT source.*, coalesce(calls, 0) AS calls_today
    FROM source LEFT JOIN quota_use ON source = name AND day = :today
    WHERE name = :name
""")
PUT = text("""
    INSERT INTO source (name, usual, origins, rate, quota, unplanned, trust, may, identity_proof, made_at)
    VALUES (
        :name, :usual, CAST(:origins AS text[]), :rate, :quota, :unplanned,
        :trust, CAST(:may AS text[]), :identity_proof, :now
    )
    ON CONFLICT (name) DO UPDATE SET
        usual = excluded.usual, origins = excluded.origins, rate = excluded.rate, quota = excluded.quota,
        unplanned = excluded.unplanned, trust = excluded.trust, may = excluded.may,
        identity_proof = excluded.identity_proof
""")
COUNT = text("SELECT count(*) FROM source")

HOLDING = text("""
    SELECT id, source, digest, scopes, services, sources, ends_at FROM source_key
    WHERE ends_at IS NULL OR ends_at > :now
""")
COUNT_HOLDING = text("SELECT count(*) FROM source_key WHERE source = :source AND (ends_at IS NULL OR ends_at > :now)")
KEY = text("""
    SELECT id, source, hint, scopes, services, sources, made_at, ends_at FROM source_key
    WHERE source = :source AND id = :id
""")
# Newest first; keys made at the same moment by id.
KEYS = text("""
    SELECT id, source, hint, scopes, services, sources, made_at, ends_at FROM source_key
    WHERE source = :source
      AND (CAST(:made_at AS timestamptz) IS NULL OR (made_at, id) < (CAST(:made_at AS timestamptz), :id))
    ORDER BY made_at DESC, id DESC LIMIT :limit
""")
PUT_KEY = text("""
    INSERT INTO source_key (id, source, digest, hint, scopes, services, sources, made_at)
    VALUES (
        :id, :source, :digest, :hint, CAST(:scopes AS text[]), CAST(:services AS text[]), CAST(:sources AS text[]), :now
    )
    RETURNING id, source, hint, scopes, services, sources, made_at, ends_at
""")
END_KEY = text("""
    UPDATE source_key SET ends_at = :ends_at WHERE id = :id
    RETURNING id, source, hint, scopes, services, sources, made_at, ends_at
""")


# --- what processes know by heart ------------------------------------------------------------------------------------


async def sources(work: Work) -> list[Source]:
    """All sources."""
    return [source_of(row) for row in await work.execute(ALL)]


async def keys(work: Work, sources: Mapping[str, Source], now: datetime) -> dict[bytes, Key]:
    """All keys that have not ended by `now`, by digest. Those of a source that is not in `sources` are left out."""
    return {
        bytes(row.digest): Key(
            id=row.id,
            source=sources[row.source],
            scopes=frozenset(row.scopes),
            ends_at=row.ends_at,
            narrowing=narrowing(row),
        )
        for row in await work.execute(HOLDING, {"now": now})
        if row.source in sources  # made since the sources were read: the next look finds both
    }


# --- sources at the desk ---------------------------------------------------------------------------------------------


async def find(work: Work, name: str) -> Source | None:
    row = (await work.execute(FIND, {"name": name})).one_or_none()
    return None if row is None else source_of(row)


async def show(work: Work, name: str, today: date) -> Row[Any] | None:
    """A source, with the calls it has sent `today`."""
    return (await work.execute(SHOW, {"name": name, "today": today})).one_or_none()


async def page(work: Work, after: str, limit: int, today: date) -> Sequence[Row[Any]]:
    """Sources by name, those past `after`, with the calls each has sent `today`."""
    return (await work.execute(PAGE, {"after": after, "limit": limit, "today": today})).all()


async def count(work: Work) -> int:
    counted: int = (await work.execute(COUNT)).scalar_one()
    return counted


async def put(work: Work, source: Source, now: datetime) -> None:
    """Make or change a source; `now` is when it was made, where it is new."""
    row = {
        "name": source.name,
        "usual": source.usual,
        "origins": sorted(source.origins),
        "rate": source.rate,
        "quota": source.quota,
        "unplanned": source.unplanned,
        "trust": source.trust,
        "may": None if source.may == USUAL[source.trust] else sorted(source.may),
        "identity_proof": source.identity_proof,
        "now": now,
    }
    await work.execute(PUT, row)


# --- keys at the desk ------------------------------------------------------------------------------------------------


async def key(work: Work, source: str, id: str) -> Row[Any] | None:
    return (await work.execute(KEY, {"source": source, "id": id})).one_or_none()


async def keys_of(work: Work, source: str, before: tuple[datetime, str] | None, limit: int) -> Sequence[Row[Any]]:
    """A source's keys, ended ones too, newest first; those that come after `before`, a key's (made_at, id)."""
    made_at, id = before or (None, "")
    return (await work.execute(KEYS, {"source": source, "made_at": made_at, "id": id, "limit": limit})).all()


async def count_holding(work: Work, source: str, now: datetime) -> int:
    """How many of a source's keys have not ended."""
    counted: int = (await work.execute(COUNT_HOLDING, {"source": source, "now": now})).scalar_one()
    return counted


async def put_key(
    work: Work,
    *,
    id: str,
    source: str,
    digest: bytes,
    hint: str,
    scopes: Sequence[str],
    narrowing: Narrowing,
    now: datetime,
) -> Row[Any]:
    row = {
        "id": id,
        "source": source,
        "digest": digest,
        "hint": hint,
        "scopes": scopes,
        "services": _sorted(narrowing.services),
        "sources": _sorted(narrowing.sources),
        "now": now,
    }
    return (await work.execute(PUT_KEY, row)).one()


async def end_key(work: Work, id: str, ends_at: datetime) -> Row[Any]:
    """The key holds until `ends_at` and no longer."""
    return (await work.execute(END_KEY, {"id": id, "ends_at": ends_at})).one()


def narrowing(row: Row[Any]) -> Narrowing:
    """What the key of a row is for."""
    return Narrowing(services=_set(row.services), sources=_set(row.sources))


def _set(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def source_of(row: Row[Any]) -> Source:
    """The source that a row of `source` describes."""
    return Source(
        name=row.name,
        usual=row.usual,
        origins=frozenset(row.origins),
        rate=row.rate,
        quota=row.quota,
        unplanned=row.unplanned,
        trust=row.trust,
        may=USUAL[row.trust] if row.may is None else frozenset(row.may),
        identity_proof=row.identity_proof,
    )
