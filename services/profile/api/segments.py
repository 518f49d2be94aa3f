"""Segments: their rules, and who is in them."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator
from sqlalchemy import Row

from services.profile.api.desk import AtDesk
from services.profile.domain.counts import Unit
from services.profile.schemas import Member
from services.profile.schemas.segments import Count, CountPage, MemberPage, Segment, SegmentPage, SegmentRule
from services.profile.service.publishing import cost
from shared.auth import SHOWS_PEOPLE, Caller
from shared.clock import rfc3339
from shared.http import refusals
from shared.moments import Moment
from shared.paging import DEFAULT_LIMIT, AnyText, AwareMoment, Cursor, Limit, cursor, place

router = APIRouter(tags=["segments"])


def _free(segment_id: str) -> str:
    if segment_id == "preview":
        raise ValueError("`preview` is where rules are looked at before they are saved: choose another id")
    return segment_id


SegmentId = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["big-spenders"]), AfterValidator(_free)
]

NOT_FOUND = refusals(404)


@router.put(
    "/segments/{segment_id}",
    summary="Make a segment, or change its rule; it fills in the background",
    responses=refusals(409),
)
async def save(segment_id: SegmentId, body: SegmentRule, desk: AtDesk, caller: Caller) -> Segment:
    return segment_body(
        await desk.run(lambda work: desk.segments.save(segment_id, body.name, body.rule, caller.id, work))
    )


@router.get("/segments/{segment_id}", summary="A segment's rule", responses=NOT_FOUND)
async def get(segment_id: SegmentId, desk: AtDesk) -> Segment:
    return segment_body(await desk.run(lambda work: desk.segments.get(segment_id, work)))


@router.delete(
    "/segments/{segment_id}",
    status_code=204,
    summary="Delete a segment; its members are told to have left in the background",
    responses=NOT_FOUND,
)
async def delete(segment_id: SegmentId, desk: AtDesk, caller: Caller) -> None:
    """It is gone at once from the list of segments, and from each profile as it is published: with the signal
    `segment_left`, as ever. What was counted of it goes, too.

    To save a segment of the same id makes a new one, with counts of its own. Who has not been told of the end by then
    is taken over: if the new rule holds for them, they stay in it, with their `since` and without a signal; if not,
    they are told, and counted, to have left."""
    await desk.run(lambda work: desk.segments.delete(segment_id, caller.id, work))


@router.get(
    "/segments/{segment_id}/counts", summary="How many were in it, came and left, over time", responses=NOT_FOUND
)
async def counts(
    segment_id: SegmentId,
    desk: AtDesk,
    *,
    by: Annotated[Unit, Query(description="Hours or days of UTC.")] = "hour",
    since: Annotated[Moment | None, Query(alias="from", description="From this hour or day on.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Only before that.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> CountPage:
    """The oldest first; kept for 400 days. Hours in which nobody looked and nothing happened are left out."""
    first = place(cursor, AwareMoment)[0] if cursor is not None else since
    rows = await desk.run(lambda work: desk.counting.page(segment_id, by, (first, until), limit + 1, work))
    counted = [
        Count(at=rfc3339(row.at), members=row.members, entered=row.entered, left=row.gone) for row in rows[:limit]
    ]
    return CountPage(counts=counted, next=_next(rfc3339(rows[limit].at)) if len(rows) > limit else None)


@router.get("/segments", summary="All segments, by id")
async def page(desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> SegmentPage:
    (after,) = place(cursor, AnyText) if cursor is not None else ("",)
    rows = await desk.run(lambda work: desk.segments.page(after, limit + 1, work))
    segments = [segment_body(row) for row in rows[:limit]]
    return SegmentPage(segments=segments, next=_next(segments[-1].id) if len(rows) > limit else None)


@router.get(
    "/segments/{segment_id}/profiles",
    summary="Who is in a segment right now",
    responses=NOT_FOUND,
    dependencies=[SHOWS_PEOPLE],
)
async def members(
    segment_id: SegmentId, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> MemberPage:
    (after,) = place(cursor, UUID) if cursor is not None else (None,)
    count, rows = await desk.run(lambda work: desk.segments.members(segment_id, after and str(after), limit + 1, work))
    profiles = [Member(profile_id=str(row.profile_id), since=rfc3339(row.since)) for row in rows[:limit]]
    return MemberPage(
        profiles=profiles, count=count, next=_next(profiles[-1].profile_id) if len(rows) > limit else None
    )


def _next(place: str) -> str:
    return cursor(place)


def segment_body(row: Row[Any]) -> Segment:
    return Segment(
        id=row.id,
        name=row.name,
        rule=row.rule,
        saved_at=rfc3339(row.saved_at),
        cost=cost(row.id, row.rule),
        filling=row.filling,
        filled=_filled(row),
    )


def _filled(row: Row[Any]) -> float:
    """Profile ids (UUIDv5) are spread evenly: how far one is in their order says which share of them was before it."""
    if not row.filling:
        return 1.0
    return round(row.filled_to.int / 2**128, 3) if row.filled_to else 0.0
