"""What offers do, measured against those who get none."""

from __future__ import annotations

from typing import NamedTuple

from services.personalize.domain import lift
from services.personalize.domain.lift import Difference, Group
from services.personalize.store import participants
from shared.db import Database


class Lift(NamedTuple):
    treated: Group
    holdout: Group
    conversion: Difference
    value: Difference


async def measured(database: Database) -> Lift:
    """Over everybody with a profile for whom anything was ever decided."""
    async with database.begin() as work:
        treated, holdout = await participants.groups(work)
    return Lift(treated, holdout, lift.conversion(treated, holdout), lift.value(treated, holdout))
