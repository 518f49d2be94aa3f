"""What the fitting process does: read all customers, fit, say what came of it. It writes nothing to the database."""

from __future__ import annotations

import os
from datetime import date, datetime
from zoneinfo import ZoneInfo

import msgspec
from pydantic import SecretStr

from services.scoring.domain.cohort import Cohort
from services.scoring.domain.fitting import NotFitted
from services.scoring.domain.holdout import Holdout, Outcome, holdout
from services.scoring.domain.model import Model, fitted
from services.scoring.domain.purchases import last_known_day
from services.scoring.service.customers import Chunk, customers
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
    os.nice(NICENESS)
    through = last_known_day(order.as_of, ZoneInfo(order.zone))
    chunks = await _read(order, through)
    if not chunks:
        return Fitted(reason="nobody had bought anything by then")
    cohort = Cohort.joined([chunk.cohort for chunk in chunks])
    try:
        model = fitted(cohort, order.as_of, through, order.minimum)
    except NotFitted as error:
        return Fitted(reason=str(error))
    return Fitted(msgspec.structs.replace(model, holdout=_holdout(model, cohort, chunks, through)))


async def _read(order: FitOrder, through: date) -> list[Chunk]:
    settings = DatabaseSettings(
        url=SecretStr(order.database_url), db_schema=order.db_schema, pool_size=1, statement_timeout=0
    )
    async with Database.open(settings) as database, database.begin() as work:
        return [chunk async for chunk in customers(work, through, date.max) if len(chunk.cohort)]


def _holdout(model: Model, cohort: Cohort, chunks: list[Chunk], through: date) -> Holdout | None:
    """The model against what the same customers did since; None where too little has happened since."""
    last_day = max((chunk.last_day for chunk in chunks if chunk.last_day is not None), default=through)
    days = (last_day - through).days
    if days < FEWEST_HOLDOUT_DAYS:
        return None
    later = Outcome.joined([chunk.later for chunk in chunks])
    return holdout(model.bg_nbd.parameters, cohort, later, days / 7)
