"""HTTP in: parse, call, answer. All of it takes the secret key, but for the one question that a browser may ask."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import SecretStr

from services.personalize.api import decisions, lift, offers
from shared.auth import UserTokens, secret_required


def router(secret: SecretStr, tokens: UserTokens) -> APIRouter:
    """Everything this service answers: for whoever has the key `secret`, and for people with a user token."""
    guarded = APIRouter(dependencies=[Depends(secret_required(secret))])
    for resource in (decisions, offers, lift):
        guarded.include_router(resource.router)
    everything = APIRouter()
    everything.include_router(decisions.for_servers(secret))
    everything.include_router(guarded)
    everything.include_router(decisions.for_people(tokens))
    return everything
