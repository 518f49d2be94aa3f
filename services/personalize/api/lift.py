"""`/v1/lift`: what offers do."""

from __future__ import annotations

from fastapi import APIRouter

from services.personalize.api.asked import OfDatabase
from services.personalize.schemas import LiftAnswer
from services.personalize.service import lift

router = APIRouter(prefix="/v1/lift", tags=["lift"])

NOTE = """
Orders of everybody with a profile for whom anything was ever decided, against those of the holdout among them. Orders
from before the first decision count too: who is held out does not depend on them, so they blur the difference, and do
not bend it.
"""


@router.get("", summary="Those who get offers against those who get none", description=NOTE)
async def measured(database: OfDatabase) -> LiftAnswer:
    return LiftAnswer.model_validate(await lift.measured(database))
