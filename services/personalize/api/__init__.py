"""HTTP in: parse, call, answer. All of it takes a secret key, but for the one question that a browser may ask.

To look at things the key needs `read`, at what was decided for somebody `read:people`, to change things `admin`, to
ask for offers `decide`.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends

from services.personalize.api import decisions, lift, offers
from shared import audit_routes, dead_letter_routes
from shared.auth import SHOWS_PEOPLE, UserTokens, guard
from shared.http import REFUSALS


def router(tokens: UserTokens) -> APIRouter:
    """Everything this service answers: for whoever has a key, and for people with a user token."""
    guarded = APIRouter(dependencies=[Depends(guard())])
    for resource in (decisions, offers, lift):
        guarded.include_router(resource.router)
    guarded.include_router(audit_routes.router(lambda request: request.app.state.database), prefix="/v1")
    guarded.include_router(dead_letter_routes.router(SHOWS_PEOPLE), prefix="/v1")
    everything = APIRouter(responses=REFUSALS)
    everything.include_router(decisions.for_servers())
    everything.include_router(guarded)
    everything.include_router(decisions.for_people(tokens))
    return everything
