"""`/v1/audit`: who changed what."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from sqlalchemy import Row

from services.ingest.api.desk import AtDesk, Reader
from services.ingest.schemas.sources import AuditAnswer
from services.ingest.store import audit
from shared.clock import rfc3339
from shared.http import Json, refusals
from shared.paging import DEFAULT_LIMIT, TEXT, Cursor, Limit, cursor, place

router = APIRouter(prefix="/audit", tags=["audit"], responses=refusals(503))

Id: Any = Annotated[int, msgspec.Meta(ge=0, le=audit.LATEST)]

Prefix = Annotated[
    str,
    Query(pattern=TEXT, max_length=1000, description="Only changes of what begins so.", examples=["sources/web"]),
]


@router.get("", summary="Who changed what, newest first")
async def page(
    caller: Reader, desk: AtDesk, *, object: Prefix = "", limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> AuditAnswer:
    (before,) = place(cursor, Id) if cursor is not None else (audit.LATEST,)
    rows = await desk.run(lambda work: audit.page(work, before, object, limit + 1))
    following = _next(rows[limit - 1].id) if len(rows) > limit else None
    changes = [_change(row) for row in rows[:limit]]
    return Json({"changes": changes, "next": following})  # type: ignore[return-value]  # a Response, of that model


def _next(id: int) -> str:
    return cursor(id)


def _change(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": rfc3339(row.at),
        "actor": row.actor,
        "action": row.action,
        "object": row.object,
        "before": _raw(row.before),
        "after": _raw(row.after),
    }


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())
