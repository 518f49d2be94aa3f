"""What the fitting process does: read all customers, fit, say what came of it. It writes nothing to the database.

A program of its own, so that it imports no more than it needs: the order on its standard input, what came of it on its
standard output.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import date, datetime
from zoneinfo import ZoneInfo

import msgspec
from pydantic import SecretStr

from services.scoring.domain.dropout import DAYS_A_WEEK
from services.scoring.domain.fitting import NotFitted
from services.scoring.domain.holdout import Holdout, holdout
from services.scoring.domain.model import Model, fitted
from services.scoring.domain.observed import Observed, observed
from services.scoring.domain.purchases import last_known_day
from services.scoring.store import fragments
from shared.db import Database
from shared.settings import DatabaseSettings

FEWEST_HOLDOUT_DAYS = 7
"""With less time after the fit's, a holdout error would say nothing."""

NICENESS = 5
"""Of the fitting process: it has time, requests and events have not."""


class FitOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to fit, and where the customers are. On standard input: it carries a password, arguments are public."""

    database_url: str
    db_schema: str
    as_of: datetime
    zone: str
    minimum: int


class Fitted(msgspec.Struct, frozen=True):
    """A model; or the reason, a sentence, why there is none."""

    model: Model | None = None
    reason: str | None = None


async def fit(order: FitOrder) -> Fitted:
    """Carry out the order. Raises what PostgreSQL raises when it is away."""
    through = last_known_day(order.as_of, ZoneInfo(order.zone))
    customers = await _read(order, through)
    try:
        model = fitted(customers.cohort, order.as_of, through, order.minimum)
    except NotFitted as error:
        return Fitted(reason=str(error))
    return Fitted(msgspec.structs.replace(model, holdout=_holdout(model, customers, through)))


async def _read(order: FitOrder, through: date) -> Observed:
    settings = DatabaseSettings(
        url=SecretStr(order.database_url), db_schema=order.db_schema, pool_size=1, statement_timeout=0
    )
    async with Database.open(settings) as database, database.begin() as work:
        return Observed.joined([observed(people, through, date.max) async for people in fragments.purchases(work)])


def _holdout(model: Model, customers: Observed, through: date) -> Holdout | None:
    """The model against what the same customers did since; None where too little time has gone by."""
    days = (customers.last_day - through).days
    if days < FEWEST_HOLDOUT_DAYS:
        return None
    return holdout(model.bg_nbd.parameters, customers.cohort, customers.later, days / DAYS_A_WEEK)


def main() -> None:
    os.nice(NICENESS)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=FitOrder)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(fit(order))))


if __name__ == "__main__":
    main()
