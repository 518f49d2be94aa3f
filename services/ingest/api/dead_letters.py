"""`/v1/dead-letters`: what the reader of rejected events could not process."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from services.ingest.api.desk import changing, looking_at_people
from shared import dead_letter_routes
from shared.auth import LOOKS
from shared.guards import guarding


@guarding
async def _caller(request: Request) -> None:
    """Let pass keys with `read:people` to look and with `admin` to change, and keep which one it was."""
    request.state.caller = await (looking_at_people if request.method in LOOKS else changing)(request)


router = APIRouter(dependencies=[Depends(_caller)])
router.include_router(dead_letter_routes.router())
