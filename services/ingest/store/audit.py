"""Who changed what. Append-only; its highest id is the revision of all that processes know by heart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, text

from shared.db import Work

LATEST = 2**63 - 1
"""Past every id there will be."""

LOCK = text("SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.audit'))")
NOTE = text("""
    INSERT INTO audit (at, actor, action, object, before, after)
    VALUES (:at, :actor, :action, :object, CAST(:before AS json), CAST(:after AS json))
""")
REVISION = text("SELECT coalesce(max(id), 0) FROM audit")
PAGE = text("""
    SELECT id, at, actor, action, object, CAST(before AS text) AS before, CAST(after AS text) AS after FROM audit
    WHERE id < :before AND starts_with(object, :prefix) ORDER BY id DESC LIMIT :limit
""")


async def lock(work: Work) -> None:
    """Let changes come one after the other until this transaction ends.

    Ids then become visible in their order, so that nobody who has seen the highest one has missed a lower one. A change
    that looks before it writes (is there room for another?) takes the lock before it looks.
    """
    await work.execute(LOCK)


async def note(work: Work, *, at: datetime, actor: str, action: str, object: str, before: Any, after: Any) -> None:
    """Write down a change, in the transaction that makes it.

    `actor` is a key's id; `object` what was changed, by its path below /v1; `before` and `after` are JSON values, None
    where there was or is nothing. No key and no digest of one may be in them.
    """
    await lock(work)
    told = {"at": at, "actor": actor, "action": action, "object": object}
    await work.execute(NOTE, {**told, "before": _json(before), "after": _json(after)})


async def revision(work: Work) -> int:
    """The number of the last change; 0 before the first."""
    highest: int = (await work.execute(REVISION)).scalar_one()
    return highest


async def page(work: Work, before: int, prefix: str, limit: int) -> Sequence[Row[Any]]:
    """Changes of what begins with `prefix`, newest first, those with an id lower than `before`."""
    return (await work.execute(PAGE, {"before": before, "prefix": prefix, "limit": limit})).all()


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
