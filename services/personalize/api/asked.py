"""What requests ask with: the use cases they reach, and parameters that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from services.personalize.service.decisions import Decisions
from services.personalize.service.offers import Offers
from shared.db import Database

# Dependencies are coroutines throughout: FastAPI would run plain functions in a thread, at a quarter of a millisecond.

OfferId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["free-delivery"])]
DecisionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,100}$")]


async def _decisions(request: Request) -> Decisions:
    decisions: Decisions = request.app.state.decisions
    return decisions


async def _offers(request: Request) -> Offers:
    offers: Offers = request.app.state.offers
    return offers


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


OfDecisions = Annotated[Decisions, Depends(_decisions)]
OfOffers = Annotated[Offers, Depends(_offers)]
OfDatabase = Annotated[Database, Depends(_database)]
