"""HTTP in: parse, call, answer. All of it takes a secret key: `read` to look, `read:people`
where people are shown, `admin` to change."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from services.scoring.api import models, reports, scores
from shared import audit_routes, dead_letter_routes
from shared.auth import SHOWS_PEOPLE, guard
from shared.http import REFUSALS


def router() -> APIRouter:
    """Everything this service answers, for whoever has a key."""
    all_of_it = APIRouter(dependencies=[Depends(guard())], responses=REFUSALS)
    for resource in (scores, models, reports):
        all_of_it.include_router(resource.router)
    all_of_it.include_router(audit_routes.router(lambda request: request.app.state.database), prefix="/v1")
    all_of_it.include_router(dead_letter_routes.router(SHOWS_PEOPLE), prefix="/v1")
    return all_of_it
