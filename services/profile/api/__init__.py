"""HTTP in: parse, call, answer. Everything here needs a secret key: `read` to look, `read:people` where
people are shown, `admin` to change."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from services.profile.api import (
    computed,
    groups,
    identities,
    personas,
    previews,
    profiles,
    proposals,
    segments,
    traits,
)
from shared import audit_routes, dead_letter_routes
from shared.auth import SHOWS_PEOPLE, guard
from shared.http import REFUSALS


def router() -> APIRouter:
    """All routes of the service."""
    whole = APIRouter(prefix="/v1", responses=REFUSALS)
    whole.include_router(_guarded())
    whole.include_router(previews.router, dependencies=[SHOWS_PEOPLE])  # it changes nothing, though a POST
    return whole


def _guarded() -> APIRouter:
    guarded = APIRouter(dependencies=[Depends(guard())])
    guarded.include_router(traits.router)  # before all that is asked of a person: a trait's name takes everything, too
    guarded.include_router(identities.router)  # before the profile itself: its path takes everything
    guarded.include_router(computed.router)  # the same
    guarded.include_router(profiles.router)
    guarded.include_router(proposals.router)
    guarded.include_router(segments.router)
    guarded.include_router(groups.router)
    guarded.include_router(personas.router)
    # What was ruled names whom it was about.
    guarded.include_router(
        audit_routes.router(lambda request: request.app.state.desk.database), dependencies=[SHOWS_PEOPLE]
    )
    guarded.include_router(dead_letter_routes.router(SHOWS_PEOPLE))
    return guarded
