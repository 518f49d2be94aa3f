"""HTTP in. `hot` is where clients send; `routers` are for SDKs that ask first, and the admin API.

Of the admin API each route says what scope it needs.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from services.ingest.api import audit, browsers, dead_letters, plan, rejected, sources
from services.ingest.api.documentation import document
from services.ingest.api.events import events
from services.ingest.api.pixel import pixels
from services.ingest.api.tracking import tracking
from services.ingest.service.taking import Ingest
from services.ingest.settings import Settings
from shared.hot import HotPaths
from shared.http import refusals

__all__ = ["document", "hot", "routers"]


def hot(ingest: Callable[[], Ingest], settings: Settings) -> HotPaths:
    """What answers where clients send. `ingest` gives the use case, once the service has started."""
    return {**tracking(ingest, settings), **events(ingest, settings), **pixels(ingest, settings)}


def routers() -> list[APIRouter]:
    """All other routes."""
    admin = APIRouter(prefix="/v1", responses=refusals(400, 401, 403, 413, 422))
    for each in (sources, plan, rejected, audit, dead_letters):
        admin.include_router(each.router)
    return [browsers.router, admin]
