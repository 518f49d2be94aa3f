"""`/v1/plan`: the tracking plan, what it would do, and what it could be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, status
from sqlalchemy import Row

from services.ingest.api.desk import AdminOfAsked, AtDesk, PeopleReader, PeopleReaderOfAsked, Reader, ReaderOfAsked
from services.ingest.api.named import ByName
from services.ingest.domain.plan import ALL, NAME_LENGTH, Plan, Where
from services.ingest.schemas.plan import (
    InferBody,
    InferredAnswer,
    PlanAnswer,
    PlanBody,
    PlannedAnswer,
    SeenAnswer,
    TrialAnswer,
    TryBody,
    VersionsAnswer,
    ViolationsAnswer,
)
from services.ingest.service.inferring import Inferring, Seen
from shared.clock import rfc3339
from shared.errors import Invalid
from shared.http import Json, refusals
from shared.paging import DEFAULT_LIMIT, AnyText, Cursor, Limit, cursor, place

router = APIRouter(prefix="/plan", tags=["plan"], route_class=ByName, responses=refusals(405, 503))

NAME: dict[str, Any] = {
    "parameters": [
        {
            "name": "name",
            "in": "path",
            "required": True,
            "description": "The event's, percent-encoded, slashes too.",
            "schema": {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH},
            "example": "Order Completed",
        }
    ]
}
NOT_FOUND = refusals(404)
CONFLICT = refusals(409)

Type = Annotated[Literal["track", "page", "screen", "identify", "group"], Path()]
Source = Annotated[
    str,
    Query(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,99})$", description="Only for this one; `*`: for all others."),
]
Version: Any = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


_NO_NAME = f"name: in the plan, an event's may have {NAME_LENGTH} characters, and none that is U+0000"


async def _event(request: Request, type: Type, source: Source = ALL) -> Where:
    name: str = request.path_params.get("name", "")
    if len(name) > NAME_LENGTH or "\0" in name:
        raise Invalid(_NO_NAME, details=[{"path": "name", "code": "invalid_name", "message": _NO_NAME}])
    return Where(source, type, name)


Event = Annotated[Where, Depends(_event)]


def _of_an_event(method: str, suffix: str, **rest: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Routes to one function: of an event with a name, and of one of a type whose calls have none."""

    def register(answer: Callable[..., Any]) -> Callable[..., Any]:
        router.add_api_route("/{type}/{name}" + suffix, answer, methods=[method], openapi_extra=NAME, **rest)
        named = f"{answer.__name__}_unnamed"
        router.add_api_route("/{type}" + suffix, answer, methods=[method], name=named, **rest)
        return answer

    return register


# --- what could be planned -------------------------------------------------------------------------------------------


@router.post("/infer", summary="A schema to start from, by what has been seen of an event")
async def infer(body: InferBody, caller: PeopleReader, desk: AtDesk) -> InferredAnswer:
    """Looks at the newest touchpoints of the log, for some seconds. The schema accepts all that it was made from."""
    where = Where(body.source, body.type, body.name)
    proposal, sample = await desk.inferring.propose(where, body.events)
    fields = [
        {"path": path, "seen": field.seen, "types": sorted(field.types), "distinct": len(field.distinct)}
        for path, field in proposal.fields.items()
    ]
    answer = {
        "schema": proposal.schema,
        "events": len(sample.texts),
        "looked_at": sample.looked_at,
        "note": Inferring.note(len(sample.texts)),
        "fields": fields,
        "names": {} if sample.texts else dict(sample.names.most_common(50)),
    }
    return Json(answer)  # type: ignore[return-value]  # a Response, of that model


@router.get("/seen", summary="The events in the tail of the log, and which of them are planned")
async def seen(caller: Reader, desk: AtDesk) -> SeenAnswer:
    found, looked_at = await desk.inferring.seen()
    plan = desk.registry.current.plan
    return Json(  # type: ignore[return-value]  # a Response, of that model
        {"events": [_seen(each, plan) for each in found], "looked_at": looked_at}
    )


# --- the plan --------------------------------------------------------------------------------------------------------


@router.get("", summary="All that is in force, by type and name")
async def page(caller: Reader, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> PlanAnswer:
    """Without the schemas: each event's own address has it."""
    type, name, source = place(cursor, AnyText, AnyText, AnyText) if cursor is not None else ("", "", "")
    rows = await desk.run(lambda work: desk.planning.page(Where(source, type, name), limit + 1, work))
    last = rows[limit - 1] if len(rows) > limit else None
    following = last and _next(last.type, last.name, last.source)
    return Json({"events": [_listed(row) for row in rows[:limit]], "next": following})  # type: ignore[return-value]


@_of_an_event("GET", "/versions", summary="All versions of an event, newest first", responses=NOT_FOUND)
async def versions(
    event: Event, caller: ReaderOfAsked, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> VersionsAnswer:
    (before,) = place(cursor, Version) if cursor is not None else (None,)
    rows = await desk.run(lambda work: desk.planning.versions(event, before, limit + 1, work))
    following = _next(rows[limit - 1].version) if len(rows) > limit else None
    return Json({"versions": [_version(row) for row in rows[:limit]], "next": following})  # type: ignore[return-value]


@_of_an_event(
    "POST",
    "/versions/{version}/restore",
    summary="Put an earlier version in force again, as a new one",
    responses=NOT_FOUND | CONFLICT,
)
async def restore(
    event: Event, version: Annotated[int, Path(ge=1, le=2**31 - 2)], caller: AdminOfAsked, desk: AtDesk
) -> PlannedAnswer:
    return _planned(await desk.run(lambda work: desk.planning.restore(event, version, caller, work)))


@_of_an_event("GET", "/violations", summary="Where calls departed from it, by day, mode and path", responses=NOT_FOUND)
async def violations(
    event: Event, caller: ReaderOfAsked, desk: AtDesk, days: Annotated[int, Query(ge=1, le=366)] = 7
) -> ViolationsAnswer:
    """Of all sources for `*`. Days are UTC; the newest first, and at most a thousand rows."""
    rows = await desk.run(lambda work: desk.planning.violations(event, days, work))
    return Json({"violations": [_violation(row) for row in rows]})  # type: ignore[return-value]


@_of_an_event("POST", "/try", summary="What a schema would have said to the newest calls of an event")
async def attempt(event: Event, body: TryBody, caller: PeopleReaderOfAsked, desk: AtDesk) -> TrialAnswer:
    """Changes nothing. Looks at the newest touchpoints of the log, for some seconds."""
    trial = await desk.inferring.attempt(event, body.schema_, body.limit)
    reasons = [
        {"path": path, "calls": calls, "code": reason.code, "message": reason.message}
        for path, calls, reason in trial.places
    ]
    return Json(  # type: ignore[return-value]  # a Response, of that model
        {"checked": trial.checked, "would_violate": trial.would_violate, "reasons": reasons}
    )


@_of_an_event("PUT", "", summary="Plan an event, or change it", responses=NOT_FOUND | CONFLICT)
async def save(event: Event, body: PlanBody, caller: AdminOfAsked, desk: AtDesk) -> PlannedAnswer:
    """A new version, in force in all processes within two seconds. What is planned so already stays as it is."""
    schema, mode, version = body.schema_, body.mode, body.version
    return _planned(await desk.run(lambda work: desk.planning.save(event, mode, schema, caller, work, version=version)))


@_of_an_event("GET", "", summary="What is planned for an event", responses=NOT_FOUND)
async def get(event: Event, caller: ReaderOfAsked, desk: AtDesk) -> PlannedAnswer:
    return _planned(await desk.run(lambda work: desk.planning.get(event, work)))


@_of_an_event(
    "DELETE", "", summary="Take an event out of the plan", status_code=status.HTTP_204_NO_CONTENT, responses=NOT_FOUND
)
async def remove(event: Event, caller: AdminOfAsked, desk: AtDesk) -> None:
    """Its versions stay, and each can be restored. What is planned for all sources holds again, if anything is."""
    await desk.run(lambda work: desk.planning.remove(event, caller, work))


# --- answers ---------------------------------------------------------------------------------------------------------


def _next(*place: str | int) -> str:
    return cursor(*place)


def _listed(row: Row[Any]) -> dict[str, Any]:
    return {
        "source": row.source,
        "type": row.type,
        "name": row.name,
        "version": row.version,
        "mode": row.mode,
        "saved_at": rfc3339(row.saved_at),
        "saved_by": row.saved_by,
        "departures": row.departures,
    }


def _version(row: Row[Any]) -> dict[str, Any]:
    return {
        "source": row.source,
        "type": row.type,
        "name": row.name,
        "version": row.version,
        "mode": row.mode,
        "schema": msgspec.Raw(row.schema_text.encode()),
        "saved_at": rfc3339(row.saved_at),
        "saved_by": row.saved_by,
    }


def _planned(row: Row[Any]) -> PlannedAnswer:
    return Json({**_version(row), "departures": row.departures})  # type: ignore[return-value]  # of that model


def _violation(row: Row[Any]) -> Mapping[str, Any]:
    return {
        "source": row.source,
        "day": row.day.isoformat(),
        "mode": row.mode,
        "path": row.path,
        "calls": row.calls,
    }


def _seen(seen: Seen, plan: Plan) -> dict[str, Any]:
    where = seen.where
    return {**where._asdict(), "calls": seen.calls, "last_at": rfc3339(seen.last_at), "planned": plan.mode(where)}
