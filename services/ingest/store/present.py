"""The database's clock."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from shared.clock import milliseconds
from shared.db import Work

PRESENT = text("SELECT clock_timestamp()")


async def present(work: Work) -> datetime:
    at: datetime = (await work.execute(PRESENT)).scalar_one()
    return milliseconds(at)
