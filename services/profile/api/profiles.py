"""One person: their view, their timeline."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response
from sqlalchemy import Row

from services.profile.api.desk import AtDesk, Desk
from services.profile.errors import NotYet, ProfileNotFound
from services.profile.schemas.views import TimelinePage, view_schema
from services.profile.service.history import NOW
from services.profile.service.reading import EVER, Filter, Leaf
from services.profile.store.timeline import Place
from shared.auth import SHOWS_PEOPLE
from shared.clock import rfc3339
from shared.errors import Invalid
from shared.events import CallType
from shared.http import Json, refusals
from shared.identifiers import Identifier
from shared.kafka import parse_token
from shared.moments import Moment
from shared.paging import DEFAULT_LIMIT, TEXT, AnyText, AwareMoment, Cursor, Limit, cursor, place

router = APIRouter(tags=["profiles"], responses=refusals(404))

LOOK_AGAIN = 0.02
"""Seconds between two looks at what does not show yet: little beside the time that publishing takes."""

Person = Annotated[
    str,
    Path(
        description="`kind:value`, percent-encoded: an identifier of the person, or `profile_id:` and an id.",
        examples=["user_id:u-17"],
    ),
]
Only = Annotated[str | None, Query(pattern=TEXT, max_length=500, description="Only touchpoints with this one.")]
After = Annotated[
    str | None,
    Query(description="A `Temas-Position` from ingest, such as `0:1234,3:88`: answer once that touchpoint shows."),
]


# Before the profile itself: `person` may hold slashes, so it would take this path as one long value.
@router.get(
    "/profiles/{person:path}/timeline", summary="Everything that happened, newest first", dependencies=[SHOWS_PEOPLE]
)
async def timeline(
    person: Person,
    desk: AtDesk,
    *,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    channel: Only = None,
    name: Only = None,
    type: Annotated[CallType | None, Query(description="Only touchpoints of this type.")] = None,
    since: Annotated[Moment | None, Query(alias="from", description="Only what happened then or later.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Only what happened before that.")] = None,
) -> TimelinePage:
    identifier = identifier_in(person)
    asked = Filter(since=since or EVER, channel=channel, name=name, type=type)
    before = Place(*place(cursor, AwareMoment, AnyText, AnyText)) if cursor is not None else NOW
    if until is not None:
        before = min(before, Place(until, "", ""))
    leaf = await desk.run(lambda work: desk.reading.timeline(identifier, asked, work, before=before, limit=limit))
    return _page(leaf)  # type: ignore[return-value]  # a Response, of that model


@router.get(
    "/profiles/{person:path}",
    summary="Who this is: the unified view",
    responses={200: {"content": {"application/json": {"schema": view_schema()}}}},
    dependencies=[SHOWS_PEOPLE],
)
async def profile(person: Person, desk: AtDesk, after: After = None) -> Response:
    return Response(await shown(desk, person, after), media_type="application/json")


async def shown(desk: Desk, person: str, after: str | None) -> str:
    """The view as soon as it shows what was asked for. Raises Invalid, ProfileNotFound; NotYet when patience ends.

    What is wanted is settled at the first look: a profile that changes without a pause never shows its newest version.
    """
    identifier = identifier_in(person)
    position = parse_token(after) if after is not None else {}
    time = asyncio.get_running_loop().time
    deadline = time() + desk.patience
    wanted: int | None = None
    while time() < deadline:
        sight = await desk.reading.look(identifier, position, desk.lookups)
        if sight is not None:
            wanted = sight.wanted if wanted is None else wanted
            if sight.version >= wanted:
                return sight.body
        await asyncio.sleep(LOOK_AGAIN)
    raise NotYet


def identifier_in(text: str, path: str = "person") -> Identifier:
    """The identifier that a request has at `path`. Raises Invalid, and ProfileNotFound for what can't be anybody's."""
    try:
        identifier = Identifier.parse(text)
    except ValueError as error:
        raise Invalid(str(error), details=[{"path": path, "code": "invalid_identifier"}]) from None
    if "\0" in text:  # PostgreSQL can't even be asked for it
        raise ProfileNotFound(identifier)
    return identifier


def _page(leaf: Leaf) -> Json:
    rows, next = leaf.page
    return Json(
        {
            "touchpoints": [_touchpoint(row) for row in rows],
            "next": None if next is None else cursor(next.at.isoformat(), next.touchpoint_id, next.source),
            "removed_before": None if leaf.removed_before is None else rfc3339(leaf.removed_before),
        }
    )


def _touchpoint(row: Row[Any]) -> dict[str, Any]:
    return {
        "touchpoint_id": row.touchpoint_id,
        "type": row.type,
        "name": row.name,
        "at": rfc3339(row.at),
        "received_at": rfc3339(row.received_at),
        "source": row.source,
        "trust": row.trust,
        "channel": row.channel,
        "properties": msgspec.Raw(row.properties.encode()),
        "identifiers": msgspec.Raw(row.identifiers.encode()),
    }
