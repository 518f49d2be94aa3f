"""Groups: companies and households, and who is in them."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path

from services.profile.api.desk import AtDesk
from services.profile.api.traits import said
from services.profile.domain.groups import Group
from services.profile.domain.traits import winners
from services.profile.schemas import Member, WordBody
from services.profile.schemas.groups import GroupBody, GroupMemberPage, GroupPage, GroupWithCount
from shared.auth import SHOWS_PEOPLE
from shared.clock import rfc3339
from shared.http import refusals
from shared.paging import DEFAULT_LIMIT, TEXT, AnyText, Cursor, Limit, cursor, place

router = APIRouter(tags=["groups"])

NOT_FOUND = refusals(404)

GroupId = Annotated[
    str, Path(pattern=TEXT, description="As group calls name it, percent-encoded; any text.", examples=["acme"])
]


# Before the group itself: its id may hold slashes, so it would take this path as one long id.
@router.get(
    "/groups/{group_id:path}/profiles",
    summary="Who is in a group right now",
    responses=NOT_FOUND,
    dependencies=[SHOWS_PEOPLE],
)
async def members(
    group_id: GroupId, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> GroupMemberPage:
    """As their views say it: whoever was said to be in it, and not said to have left it later."""
    (after,) = place(cursor, UUID) if cursor is not None else (None,)
    count, rows = await desk.run(lambda work: desk.groups.members(group_id, after and str(after), limit + 1, work))
    profiles = [Member(profile_id=str(row.profile_id), since=rfc3339(row.since)) for row in rows[:limit]]
    return GroupMemberPage(
        profiles=profiles, count=count, next=_next(profiles[-1].profile_id) if len(rows) > limit else None
    )


@router.get("/groups/{group_id:path}", summary="A group: its own traits, and how many are in it", responses=NOT_FOUND)
async def get(group_id: GroupId, desk: AtDesk) -> GroupWithCount:
    group, count = await desk.run(lambda work: desk.groups.get(group_id, work))
    return GroupWithCount(**_group(group_id, group), members=count)


@router.get("/groups", summary="All groups, by id")
async def page(desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> GroupPage:
    (after,) = place(cursor, AnyText) if cursor is not None else ("",)
    found = await desk.run(lambda work: desk.groups.page(after, limit + 1, work))
    groups = [GroupBody(**_group(group_id, group)) for group_id, group in found[:limit]]
    return GroupPage(groups=groups, next=_next(groups[-1].group_id) if len(found) > limit else None)


def _next(place: str) -> str:
    return cursor(place)


def _group(group_id: str, group: Group) -> dict[str, Any]:
    """Those of its traits that were not taken back, by name."""
    return {
        "group_id": group_id,
        "traits": {
            name: WordBody(**said(winner))
            for name, winner in sorted(winners(group.traits, group.client_traits).items())
            if winner.word.value is not None
        },
        "calls": group.calls,
        "first_at": group.first and rfc3339(group.first.at),
        "last_at": group.last and rfc3339(group.last.at),
    }
