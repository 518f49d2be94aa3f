"""Which keys the other services have not been told of, as they stand now.

What may change of a key is its end. So it is told when the end that was told is another one: whoever changes a key
need not think of it, nor does a process of an earlier version.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from shared.db import Work
from shared.events import NamedKey

CLAIM = text("SELECT pg_try_advisory_xact_lock(hashtext(current_schema() || '.keys'))")
BEGIN_ANEW = text("UPDATE source_key SET told_end = NULL WHERE told_end IS NOT NULL")
UNTOLD = text("""
    SELECT id, source, digest, scopes, services, sources, ends_at FROM source_key
    WHERE told_end IS DISTINCT FROM coalesce(ends_at, 'infinity') ORDER BY id LIMIT :limit
""")
# What was told, and not what is there by now: an end that came meanwhile is still to be told.
TOLD = text("""
    UPDATE source_key SET told_end = coalesce(told.ends_at, 'infinity')
    FROM unnest(CAST(:ids AS text[]), CAST(:ends AS timestamptz[])) AS told (id, ends_at)
    WHERE source_key.id = told.id
""")


async def claim(work: Work) -> bool:
    """Whether nobody else tells of keys until this transaction ends."""
    mine: bool = (await work.execute(CLAIM)).scalar_one()
    return mine


async def begin_anew(work: Work) -> None:
    """As if nobody had been told of any key."""
    await work.execute(BEGIN_ANEW)


async def untold(work: Work, limit: int) -> list[NamedKey]:
    """Some keys that are to be told of."""
    return [
        NamedKey(
            id=row.id,
            source=row.source,
            digest=row.digest.hex(),
            scopes=tuple(row.scopes),
            ends_at=row.ends_at,
            services=None if row.services is None else tuple(row.services),
            sources=None if row.sources is None else tuple(row.sources),
        )
        for row in await work.execute(UNTOLD, {"limit": limit})
    ]


async def told(work: Work, keys: Sequence[NamedKey]) -> None:
    """These are known to everybody now, as they are here."""
    if keys:
        await work.execute(TOLD, {"ids": [key.id for key in keys], "ends": [key.ends_at for key in keys]})
