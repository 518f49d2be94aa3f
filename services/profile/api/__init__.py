"""HTTP in: parse, call, answer. Everything here needs a secret key: `read` to look, `admin` to change."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from services.profile.api import identities, profiles, segments
from shared.auth import guard
from shared.http import REFUSALS


def router() -> APIRouter:
    """All routes of the service."""
    whole = APIRouter(prefix="/v1", dependencies=[Depends(guard())], responses=REFUSALS)
    whole.include_router(identities.router)  # before the profile itself: its path takes everything
    whole.include_router(profiles.router)
    whole.include_router(segments.router)
    return whole
