"""HTTP in: parse, call, answer. Everything here needs a secret key: `read` to look, `admin` to change."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from services.profile.api import identities, profiles, segments
from shared.auth import guard
from shared.http import Refusal


def router() -> APIRouter:
    """All routes of the service."""
    refusals: dict[int | str, dict[str, Any]] = {status: {"model": Refusal} for status in (401, 403, 422, 503)}
    whole = APIRouter(prefix="/v1", dependencies=[Depends(guard())], responses=refusals)
    whole.include_router(identities.router)  # before the profile itself: its path takes everything
    whole.include_router(profiles.router)
    whole.include_router(segments.router)
    return whole
