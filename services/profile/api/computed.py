"""Computed traits: how they are defined, and what they are for one person."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from services.profile.api.desk import AtDesk
from services.profile.api.profiles import Person, identifier_in
from services.profile.domain.computed.definitions import Formula
from services.profile.schemas.computed import (
    ComputedBody,
    ComputedFormula,
    ComputedOfPerson,
    ComputedPage,
    ComputedProgress,
    ComputedValue,
)
from services.profile.service.defining import Computed
from services.profile.store.definitions import Kept
from shared.auth import SHOWS_PEOPLE, Caller
from shared.clock import rfc3339
from shared.http import refusals
from shared.paging import DEFAULT_LIMIT, AnyText, Cursor, Limit, cursor, place

router = APIRouter(tags=["computed traits"])

TraitId = Annotated[
    str,
    Path(
        pattern=r"^[a-z][a-z0-9_]{0,63}$",
        description="Rules read it as `computed.<id>`.",
        examples=["orders_30d"],
    ),
]
NOT_FOUND = refusals(404)
CONFLICT = refusals(409)


@router.put(
    "/computed/{trait_id}",
    summary="Define a computed trait, or change it; it fills from history in the background",
    responses=CONFLICT,
)
async def save(trait_id: TraitId, body: ComputedFormula, desk: AtDesk, caller: Caller) -> ComputedBody:
    formula = Formula(**body.model_dump(exclude={"name"}))
    return _body(await desk.run(lambda work: desk.defining.save(trait_id, body.name, formula, caller.id, work)))


@router.get("/computed/{trait_id}", summary="A computed trait's definition, and how far it is", responses=NOT_FOUND)
async def get(trait_id: TraitId, desk: AtDesk) -> ComputedBody:
    return _body(await desk.run(lambda work: desk.defining.get(trait_id, work)))


@router.get("/computed", summary="All computed traits, by id")
async def page(desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> ComputedPage:
    (after,) = place(cursor, AnyText) if cursor is not None else ("",)
    rows = await desk.run(lambda work: desk.defining.page(after, limit + 1, work))
    bodies = [_body(row) for row in rows[:limit]]
    return ComputedPage(computed=bodies, next=_next(bodies[-1].id) if len(rows) > limit else None)


@router.delete(
    "/computed/{trait_id}",
    summary="Delete a computed trait; it leaves all views in the background",
    status_code=204,
    responses=NOT_FOUND,
)
async def delete(trait_id: TraitId, desk: AtDesk, caller: Caller) -> Response:
    await desk.run(lambda work: desk.defining.delete(trait_id, caller.id, work))
    return Response(status_code=204)


@router.get(
    "/profiles/{person:path}/computed",
    summary="Every computed trait of one person as of now, and whether it is exact",
    responses=NOT_FOUND,
    dependencies=[SHOWS_PEOPLE],
)
async def of_person(person: Person, desk: AtDesk) -> ComputedOfPerson:
    identifier = identifier_in(person)
    found = await desk.run(lambda work: desk.defining.of_person(identifier, work))
    return ComputedOfPerson(computed=[_value(each) for each in found])


def _next(id: str) -> str:
    return cursor(id)


def _body(kept: Kept) -> ComputedBody:
    formula, fill = kept.definition.formula, kept.fill
    return ComputedBody(
        id=kept.definition.id,
        revision=kept.definition.revision,
        name=kept.name,
        event=formula.event,
        aggregate=formula.aggregate,
        property=formula.property,
        filter=formula.filter,
        window_days=formula.window_days,
        saved_at=rfc3339(kept.saved_at),
        status="ready" if kept.phase == "ready" else "filling",
        shown_revision=kept.shown,
        progress=ComputedProgress(
            share=fill.share, touchpoints_looked_at=fill.looked, touchpoints_counted=fill.counted
        ),
        complete_from=None if kept.complete_from is None else rfc3339(kept.complete_from),
    )


def _value(computed: Computed) -> ComputedValue:
    kept = computed.kept
    return ComputedValue(
        id=kept.definition.id,
        name=kept.name,
        revision=kept.definition.revision,
        value=computed.answer.value,
        exact=computed.answer.exact,
        window_days=kept.definition.formula.window_days,
        complete_from=None if kept.complete_from is None else rfc3339(kept.complete_from),
    )
