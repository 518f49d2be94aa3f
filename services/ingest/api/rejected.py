"""`/v1/rejected`: what could not be used, and what to do about it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy import Row

from services.ingest.api.desk import Admin, AtDesk, PeopleReader, PeopleReaderOfAsked, ReaderOfAsked
from services.ingest.domain.judgement import Accepted
from services.ingest.schemas.rejected import (
    DiscardAnswer,
    DiscardBody,
    RejectedCounts,
    RejectedEvent,
    RejectedPage,
    ReplayAnswer,
    ReplayBody,
    Select,
    Status,
    Text,
    Trial,
)
from services.ingest.service.rejected import Order, Replayed, Tried
from services.ingest.store.rejected import Place, Selection, refusal
from shared.clock import rfc3339
from shared.events import Reason
from shared.http import Json, refusals
from shared.kafka import token
from shared.moments import Moment
from shared.paging import DEFAULT_LIMIT, AnyText, AwareMoment, Cursor, Limit, cursor, place

router = APIRouter(prefix="/rejected", tags=["rejected events"], responses=refusals(503))


RejectedId = Annotated[str, Path(pattern=r"^[^\x00/]{1,600}$")]
Only = Annotated[Text | None, Query(description="Only events with this one.")]
From = Annotated[Moment | None, Query(alias="from", description="Received at that moment or later.")]
To = Annotated[Moment | None, Query(alias="to", description="Received before that moment.")]

NOT_FOUND = refusals(404)


async def _selection(
    *,
    reason: Only = None,
    source: Only = None,
    type: Only = None,
    event: Only = None,
    status: Annotated[Status | None, Query()] = None,
    message_id: Only = None,
    since: From = None,
    until: To = None,
) -> Selection:
    return Selection(
        reason=reason,
        source=source,
        type=type,
        event=event,
        status=status,
        message_id=message_id,
        since=since,
        until=until,
    )


Which = Annotated[Selection, Depends(_selection)]


# --- looking ---------------------------------------------------------------------------------------------------------


@router.get("", summary="Rejected events, newest first")
async def page(
    which: Which, caller: PeopleReaderOfAsked, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> RejectedPage:
    before = _place(cursor)
    rows = await desk.run(lambda work: desk.rejected.page(which, before, limit + 1, work))
    following = _next(Place(rows[limit - 1].received_at, rows[limit - 1].id)) if len(rows) > limit else None
    shown = [_item(row) for row in rows[:limit]]
    return Json({"rejected": shown, "next": following})  # type: ignore[return-value]  # a Response, of that model


# Before a single one: it would take this path as an id.
@router.get("/counts", summary="What is wrong, with how many of which events of which source")
async def counts(which: Which, caller: ReaderOfAsked, desk: AtDesk) -> RejectedCounts:
    rows = await desk.run(lambda work: desk.rejected.counts(which, work))
    total, groups = (int(rows[0].total), rows[0].groups) if rows else (0, 0)
    shown = [_group(row) for row in rows]
    return RejectedCounts(total=total, counts=shown, more_groups=groups - len(rows))


@router.get(
    "/{id}", summary="All of one: every violation, the body as it was received, what was tried", responses=NOT_FOUND
)
async def get(id: RejectedId, caller: PeopleReader, desk: AtDesk) -> RejectedEvent:
    row = await desk.run(lambda work: desk.rejected.get(id, work))
    told = refusal(row)
    form, body = _content(told.body)
    whole = {
        **_item(row),
        "violations": told.reasons,
        "body": body,
        "body_form": form,
        "form": told.form,
        "call": told.call,
        "sent_at": told.sent_at and rfc3339(told.sent_at),
        "user_agent": told.user_agent,
        "context": told.context,
        "integrations": told.integrations,
        "history": msgspec.Raw(row.history.encode()),
    }
    return Json(whole)  # type: ignore[return-value]  # a Response, of that model


# --- mending ---------------------------------------------------------------------------------------------------------


@router.post("/replay", summary="Mend those that wait, judge them anew, and bring what can be used into the log")
async def replay(body: ReplayBody, caller: Admin, desk: AtDesk) -> Trial | ReplayAnswer:
    """A dry run unless `dry_run` is false. An event that could not be used again goes on waiting, and its history says
    why. What was replayed keeps its message id and its times; it is never replayed twice.
    """
    order = Order(
        which=_which(body.select),
        fix=body.fix.read() if body.fix else None,
        limit=body.limit,
        after=_place(body.cursor),
        dry_run=body.dry_run,
        told={**_told(body), "fix": body.fix and body.fix.told()},
    )
    replayed = await desk.rejected.replay(order, caller, desk.database)
    answer = _trial(replayed) if body.dry_run else _answer(replayed)
    return Json(answer)  # type: ignore[return-value]  # a Response, of one of those models


@router.post("/discard", summary="Set those aside that nobody will mend; they are kept until they are too old")
async def discard(body: DiscardBody, caller: Admin, desk: AtDesk) -> DiscardAnswer:
    """A dry run unless `dry_run` is false."""
    order = Order(
        which=_which(body.select), fix=None, limit=body.limit, after=None, dry_run=body.dry_run, told=_told(body)
    )
    discarded = await desk.run(lambda work: desk.rejected.discard(order, caller, work))
    return DiscardAnswer(dry_run=body.dry_run, **discarded._asdict())


def _which(select: Select) -> Selection:
    return Selection(**select.model_dump())


def _told(body: DiscardBody) -> dict[str, Any]:
    """An order as the audit has it: how many ids, not which; the events' histories say that."""
    select = body.select.model_dump(by_alias=True, exclude_none=True, mode="json")
    if body.select.ids is not None:
        select["ids"] = len(body.select.ids)
    return {"select": select, "limit": body.limit}


# --- showing ---------------------------------------------------------------------------------------------------------


def _place(cursor: str | None) -> Place | None:
    return None if cursor is None else Place(*place(cursor, AwareMoment, AnyText))


def _next(place: Place) -> str:
    return cursor(place.received_at.isoformat(), place.id)


def _item(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "source": row.source,
        "received_at": rfc3339(row.received_at),
        "type": row.type,
        "event": row.name,
        "message_id": row.message_id,
        "code": row.code,
        "message": row.message,
        "path": row.path,
        "status": row.status,
    }


def _group(row: Row[Any]) -> dict[str, Any]:
    return {
        "reason": row.code,
        "source": row.source,
        "event": row.name,
        "count": row.events,
        "first_at": rfc3339(row.first_at),
        "last_at": rfc3339(row.last_at),
    }


def _content(body: bytes) -> tuple[str, Any]:
    """Bytes as they can be shown: in which form, and in that form."""
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    else:
        return "json", msgspec.Raw(body)
    try:
        return "text", body.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(body).decode()


def _trial(replayed: Replayed) -> dict[str, Any]:
    return {
        "dry_run": True,
        "would_accept": replayed.accepted,
        "would_reject": replayed.rejected,
        **_extent(replayed),
    }


def _answer(replayed: Replayed) -> dict[str, Any]:
    return {
        "dry_run": False,
        "accepted": replayed.accepted,
        "rejected": replayed.rejected,
        "position": token(replayed.positions) or None,
        **_extent(replayed),
    }


def _extent(replayed: Replayed) -> dict[str, Any]:
    last = replayed.last
    return {
        "selected": replayed.selected,
        "remaining": replayed.remaining,
        "next": _next(last) if last and replayed.remaining else None,
        "samples": [_sample(each) for each in replayed.samples],
    }


def _sample(tried: Tried) -> dict[str, Any]:
    after, verdict = tried.attempt
    reasons: Iterable[Reason] = () if isinstance(verdict, Accepted) else verdict
    return {
        "id": tried.id,
        "before": _content(tried.body)[1],
        "after": None if after is None else _content(after)[1],
        "reasons": reasons,
    }
