"""`/v1/models`: model versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response, status
from msgspec.structs import asdict

from services.scoring.api.asked import OfModels
from services.scoring.schemas import Accepted, ModelBody, ModelsBody, RefitBody
from services.scoring.store.models import Version
from shared import paging
from shared.auth import Caller
from shared.http import refusals
from shared.paging import DEFAULT_LIMIT, TEXT, AnyText, Cursor, Limit

router = APIRouter(prefix="/v1/models", tags=["models"])

NOT_FOUND = refusals(404)
NOT_READY = refusals(409)

Id = Annotated[str, Path(pattern=TEXT, max_length=100, examples=["2026-11-21T10:00:00Z"])]


@router.post("/refit", status_code=status.HTTP_202_ACCEPTED, summary="Fit a new model, in the background")
async def refit(models: OfModels, response: Response, caller: Caller, body: RefitBody | None = None) -> Accepted:
    asked = body or RefitBody()
    version = await models.refit(asked.as_of, caller.id, activate=asked.activate)
    response.headers["Location"] = f"/v1/models/{version.id}"
    return Accepted.model_validate(version)


@router.get("", summary="All models, the newest first")
async def newest(models: OfModels, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> ModelsBody:
    before = paging.place(cursor, AnyText)[0] if cursor else None
    versions = await models.newest(before, limit + 1)
    more = len(versions) > limit
    shown = versions[:limit]
    return ModelsBody(models=[_body(version) for version in shown], next=paging.cursor(shown[-1].id) if more else None)


@router.get("/{id}", summary="One model", responses=NOT_FOUND)
async def one(id: Id, models: OfModels) -> ModelBody:
    return _body(await models.get(id))


@router.post("/{id}/activate", summary="Make the scores with this model from now on", responses=NOT_FOUND | NOT_READY)
async def activate(id: Id, models: OfModels, caller: Caller) -> ModelBody:
    return _body(await models.activate(id, caller.id))


def _body(version: Version) -> ModelBody:
    found = asdict(version.model) if version.model else {}
    return ModelBody.model_validate(found | asdict(version), from_attributes=True)
