"""HTTP in: parse, call, answer. All of it takes the secret key."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import SecretStr

from services.scoring.api import models, reports, scores
from shared.auth import secret_required


def router(secret: SecretStr) -> APIRouter:
    """Everything this service answers, for whoever has the key `secret`."""
    all_of_it = APIRouter(dependencies=[Depends(secret_required(secret))])
    for resource in (scores, models, reports):
        all_of_it.include_router(resource.router)
    return all_of_it
