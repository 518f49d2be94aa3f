"""`/v1/dead-letters`: records that a service's consumer could not process, to be looked at, replayed or discarded."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request, params
from sqlalchemy import Row

from shared.clock import rfc3339
from shared.dead_letter_bodies import (
    SAMPLES,
    DeadLetterAnswer,
    DeadLetterDiscard,
    DeadLetterOutcome,
    DeadLetterPage,
    DeadLetterReplay,
    Status,
    Text,
)
from shared.dead_letter_queue import DeadLetterQueue, Order, Tried
from shared.dead_letter_store import Place, Selection
from shared.http import Json, refusals
from shared.moments import Moment
from shared.paging import DEFAULT_LIMIT, TEXT, AnyText, AwareMoment, Cursor, Limit, cursor, place

APPLIED_WITHIN = 5.0
"""Seconds that an answer waits until what was ordered has been applied."""

LetterId = Annotated[str, Path(pattern=TEXT, max_length=100)]
Only = Annotated[Text, Query(description="Only letters with this one.")]


def _queue(request: Request) -> DeadLetterQueue:
    queue: DeadLetterQueue = request.app.state.dead_letters
    return queue


def router(*shows: params.Depends) -> APIRouter:
    """Give the routes, to be guarded by what keeps the key that asks in `request.state.caller`.

    `shows`: guards of those that show records, which are about people.
    """
    routes = APIRouter(prefix="/dead-letters", tags=["dead letters"], responses=refusals(503))

    @routes.get("", summary="Records that could not be processed, newest first", dependencies=shows)
    async def page(
        request: Request,
        *,
        topic: Only = "",
        status: Annotated[Status | None, Query()] = None,
        reason: Annotated[Text, Query(description="Words of the reason.")] = "",
        since: Annotated[Moment | None, Query(alias="from", description="Put aside then or later.")] = None,
        until: Annotated[Moment | None, Query(alias="to", description="Put aside before that.")] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> DeadLetterPage:
        which = Selection(None, topic, status or "", reason, since, until)
        before = None if cursor is None else Place(*place(cursor, AwareMoment, AnyText))
        rows = await _queue(request).page(which, before, limit + 1)
        following = _next(rows[limit - 1]) if len(rows) > limit else None
        shown = [_item(row) for row in rows[:limit]]
        return Json({"dead_letters": shown, "next": following})  # type: ignore[return-value]  # of that model

    @routes.get(
        "/{id}",
        summary="All of one: the record, the reason, what was tried",
        dependencies=shows,
        responses=refusals(404),
    )
    async def get(request: Request, id: LetterId) -> DeadLetterAnswer:
        return Json(whole(await _queue(request).get(id)))  # type: ignore[return-value]  # of that model

    @routes.post("/replay", summary="Mend those that wait, and have the service apply them once more")
    async def replay(request: Request, body: DeadLetterReplay) -> DeadLetterOutcome:
        """A dry run unless `dry_run` is false: it shows what would be applied, but not whether the service's state lets
        it be. A letter is applied once; one that can't be applied waits on, and its history says why.
        """
        order = Order(
            which=body.select.selection(),
            limit=body.limit,
            actor=request.state.caller.id,
            told={**body.told(), "fix": body.fix and body.fix.told()},
            fix=body.fix.read() if body.fix else None,
        )
        answer = await _trial(_queue(request), order) if body.dry_run else await replayed(_queue(request), order)
        return Json(answer)  # type: ignore[return-value]  # of that model

    @routes.post("/discard", summary="Set those aside that nobody will replay; they are kept until they are too old")
    async def discard(request: Request, body: DeadLetterDiscard) -> DeadLetterOutcome:
        """A dry run unless `dry_run` is false."""
        which = body.select.selection()
        order = Order(which=which, limit=body.limit, actor=request.state.caller.id, told=body.told())
        letters = _queue(request)
        discarded = 0 if body.dry_run else await letters.discard(order)
        remaining = await letters.count(which._replace(status="waiting"))
        selected = min(remaining, body.limit) if body.dry_run else discarded
        return DeadLetterOutcome(
            dry_run=body.dry_run,
            selected=selected,
            discarded=discarded,
            remaining=remaining - selected if body.dry_run else remaining,
        )

    return routes


async def replayed(queue: DeadLetterQueue, order: Order, within: float = APPLIED_WITHIN) -> dict[str, Any]:
    """Order a replay, wait a little for it to be carried out, and give what has come of it."""
    tried = await queue.order(order)
    found = await queue.settled([each.id for each in tried if isinstance(each.mended, bytes)], within)
    counts = Counter(found.values())
    failed = sum(not isinstance(each.mended, bytes) for each in tried) + counts["waiting"]
    waiting = await queue.count(order.which._replace(status="waiting"))
    return {
        "dry_run": False,
        "selected": len(tried),
        "replayed": counts["replayed"],
        "ordered": counts["ordered"],
        "failed": failed,
        "discarded": 0,
        "remaining": max(0, waiting - failed),
        "samples": _samples([each for each in tried if not isinstance(each.mended, bytes)]),
    }


async def _trial(queue: DeadLetterQueue, order: Order) -> dict[str, Any]:
    tried = await queue.try_out(order)
    fit = sum(isinstance(each.mended, bytes) for each in tried)
    return {
        "dry_run": True,
        "selected": len(tried),
        "replayed": 0,
        "ordered": fit,
        "failed": len(tried) - fit,
        "discarded": 0,
        "remaining": await queue.count(order.which._replace(status="waiting")) - len(tried),
        "samples": _samples(tried),
    }


def _samples(tried: Sequence[Tried]) -> list[dict[str, Any]]:
    return [
        {
            "id": each.id,
            "before": _content(each.value)[1],
            "after": _content(each.mended)[1] if isinstance(each.mended, bytes) else None,
            "reasons": () if isinstance(each.mended, bytes) else each.mended,
        }
        for each in tried[:SAMPLES]
    ]


def _next(row: Row[Any]) -> str:
    return cursor(row.at.isoformat(), row.id)


def _item(row: Row[Any]) -> dict[str, Any]:
    where = {"id": row.id, "topic": row.topic, "partition": row.partition, "offset": row.offset}
    return {**where, "at": rfc3339(row.at), "reason": row.reason, "status": row.status}


def whole(row: Row[Any]) -> dict[str, Any]:
    """All of a letter, as it is shown."""
    form, value = _content(row.value)
    return {
        **_item(row),
        "key": _content(row.key)[1],
        "value": value,
        "value_form": form,
        "mended": _content(row.mended)[1],
        "history": msgspec.Raw(row.history.encode()),
    }


def _content(content: bytes | None) -> tuple[str | None, Any]:
    """Bytes as they can be shown: in which form, and in that form."""
    if content is None:
        return None, None
    try:
        msgspec.json.decode(content)
    except (ValueError, RecursionError):
        pass
    else:
        return "json", msgspec.Raw(content)
    try:
        return "text", content.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(content).decode()
