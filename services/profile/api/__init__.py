"""HTTP in: parse, call, answer. Everything here needs the secret key."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import SecretStr

from services.profile.api import (
    computed,
    groups,
    identities,
    personas,
    profiles,
    proposals,
    segments,
    traits,
)
from shared.auth import secret_required
from shared.http import Refusal


def router(secret_key: SecretStr) -> APIRouter:
    """All routes of the service."""
    refusals: dict[int | str, dict[str, Any]] = {status: {"model": Refusal} for status in (401, 403, 422)}
    whole = APIRouter(prefix="/v1", dependencies=[Depends(secret_required(secret_key))], responses=refusals)
    whole.include_router(traits.router)  # before all that is asked of a person: a trait's name takes everything, too
    whole.include_router(identities.router)  # before the profile itself: its path takes everything
    whole.include_router(computed.router)  # the same
    whole.include_router(proposals.router)
    whole.include_router(profiles.router)
    whole.include_router(segments.router)
    whole.include_router(groups.router)
    whole.include_router(personas.router)
    return whole
