"""Segments: their rules, and who is in them."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path
from sqlalchemy import Row

from services.profile.api.desk import AtDesk
from services.profile.schemas import Member, MemberPage, Segment, SegmentPage, SegmentRule
from shared.clock import rfc3339
from shared.http import Refusal
from shared.paging import DEFAULT_LIMIT, AnyText, Cursor, Limit, cursor, place

router = APIRouter(tags=["segments"])

SegmentId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["big-spenders"])]

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Refusal}}


@router.put("/segments/{segment_id}", summary="Make a segment, or change its rule; it fills in the background")
async def save(segment_id: SegmentId, body: SegmentRule, desk: AtDesk) -> Segment:
    return _segment(await desk.run(lambda work: desk.segments.save(segment_id, body.name, body.rule, work)))


@router.get("/segments/{segment_id}", summary="A segment's rule", responses=NOT_FOUND)
async def get(segment_id: SegmentId, desk: AtDesk) -> Segment:
    return _segment(await desk.run(lambda work: desk.segments.get(segment_id, work)))


@router.get("/segments", summary="All segments, by id")
async def page(desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> SegmentPage:
    (after,) = place(cursor, AnyText) if cursor is not None else ("",)
    rows = await desk.run(lambda work: desk.segments.page(after, limit + 1, work))
    segments = [_segment(row) for row in rows[:limit]]
    return SegmentPage(segments=segments, next=_next(segments[-1].id) if len(rows) > limit else None)


@router.get("/segments/{segment_id}/profiles", summary="Who is in a segment right now", responses=NOT_FOUND)
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


def _segment(row: Row[Any]) -> Segment:
    return Segment(id=row.id, name=row.name, rule=row.rule, saved_at=rfc3339(row.saved_at), filling=row.filling)
