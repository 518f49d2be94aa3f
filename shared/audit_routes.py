"""`GET /v1/audit`: who changed what, in every service the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Row

from shared import audit
from shared.audit import Selection
from shared.clock import rfc3339
from shared.db import Database
from shared.http import Json, refusals
from shared.moments import Moment
from shared.paging import DEFAULT_LIMIT, TEXT, Cursor, Limit, cursor, place

Id: Any = Annotated[int, msgspec.Meta(ge=0, le=audit.LATEST)]

Object = Annotated[
    str,
    Query(
        pattern=TEXT,
        max_length=3000,
        description="Only changes of this, and of what lies below it: its time-line.",
        examples=["offers/free-delivery"],
    ),
]
Actor = Annotated[str, Query(pattern=TEXT, max_length=300, description="Only what was changed with this key.")]
Action = Annotated[str, Query(pattern=TEXT, max_length=100, description="Only such changes.", examples=["deleted"])]


class ChangeAnswer(BaseModel):
    id: int
    at: str
    actor: str = Field(
        description="The id of the key that it was changed with; `cli:` and the operating system's user for what was "
        "typed at the machine; `temas:` and what did it for what nobody asked for just then."
    )
    action: str
    object: str = Field(description="What was changed, by its path below /v1.")
    before: Any
    after: Any


class AuditAnswer(BaseModel):
    changes: list[ChangeAnswer]
    next: str | None


def router(database: Callable[[Request], Database]) -> APIRouter:
    """The route, to be guarded as what is looked at is. `database` gives the one that the audit is in."""
    routes = APIRouter(prefix="/audit", tags=["audit"], responses=refusals(503))

    @routes.get("", summary="Who changed what, newest first")
    async def page(
        request: Request,
        *,
        object: Object = "",
        actor: Actor = "",
        action: Action = "",
        since: Annotated[Moment | None, Query(alias="from", description="From then on.")] = None,
        until: Annotated[Moment | None, Query(alias="to", description="Only before that.")] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> AuditAnswer:
        """It is kept for good, and nobody can change it. What was deleted and made anew has one time-line."""
        (before,) = place(cursor, Id) if cursor is not None else (audit.LATEST,)
        which = Selection(object.rstrip("/"), actor, action, since, until)
        rows = await database(request).retrying(lambda work: audit.page(work, before, which, limit + 1))
        following = _next(rows[limit - 1].id) if len(rows) > limit else None
        changes = [_change(row) for row in rows[:limit]]
        return Json({"changes": changes, "next": following})  # type: ignore[return-value]  # a Response, of that model

    return routes


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
