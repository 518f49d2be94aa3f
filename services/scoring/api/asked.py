"""What requests ask with: the use cases they reach, and parameters that several routes share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import AfterValidator

from services.scoring.service.models import Models
from services.scoring.service.reports import Reports
from services.scoring.service.scores import Scores
from shared.moments import Moment
from shared.paging import TEXT

EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _plausible(at: datetime) -> datetime:
    if not EARLIEST <= at <= LATEST:
        raise ValueError("must lie between 1900 and 2200")
    return at


Instant = Annotated[Moment, AfterValidator(_plausible)]
"""RFC 3339 with its zone, of a time that calendars can compute with."""

AsOf = Annotated[Instant | None, Query(description="What was known then; now when left out.")]
Until = Annotated[Instant | None, Query(description="Hold it against what happened from `as_of` until then.")]
ModelId = Annotated[
    str | None, Query(alias="model", pattern=TEXT, max_length=100, description="A model's id; else the active one.")
]


# Coroutines, as dependencies are throughout: FastAPI would run a plain function in a thread.
async def _scores(request: Request) -> Scores:
    scores: Scores = request.app.state.scores
    return scores


async def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


async def _reports(request: Request) -> Reports:
    reports: Reports = request.app.state.reports
    return reports


OfScores = Annotated[Scores, Depends(_scores)]
OfModels = Annotated[Models, Depends(_models)]
OfReports = Annotated[Reports, Depends(_reports)]
