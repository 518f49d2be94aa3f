"""Personas: segments that are ready to be adopted."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from services.profile.api.desk import AtDesk
from services.profile.api.segments import segment_body
from services.profile.domain.personas import PERSONAS
from services.profile.errors import PersonaNotFound
from services.profile.schemas.segments import PersonaBody, PersonaList, Segment
from shared.auth import Caller
from shared.http import refusals

router = APIRouter(tags=["segments"])

REFUSALS = refusals(404, 409)


@router.get("/personas", summary="Segments that are ready to be adopted, and which are")
async def listed(desk: AtDesk) -> PersonaList:
    rules = await desk.run(desk.segments.rules)
    return PersonaList(
        personas=[
            PersonaBody(id=each.id, name=each.name, rule=each.rule, why=each.why, segment=_state(rules, each.id))
            for each in PERSONAS.values()
        ]
    )


@router.post("/personas/{persona_id}", summary="Adopt a persona: save it as the segment of its id", responses=REFUSALS)
async def adopt(
    persona_id: Annotated[str, Path(max_length=100, examples=["big-spenders"])],
    desk: AtDesk,
    caller: Caller,
    replace: Annotated[bool, Query(description="Also where the segment has a rule of its own, which is lost.")] = False,
) -> Segment:
    """Again is harmless. From then on it is a segment like any other: change it as you like."""
    if persona_id not in PERSONAS:
        raise PersonaNotFound(persona_id)
    return segment_body(
        await desk.run(lambda work: desk.segments.adopt(PERSONAS[persona_id], replace, caller.id, work))
    )


def _state(rules: dict[str, str], persona_id: str) -> Literal["none", "adopted", "changed"]:
    if persona_id not in rules:
        return "none"
    return "adopted" if rules[persona_id] == PERSONAS[persona_id].rule else "changed"
