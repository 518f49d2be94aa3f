"""`/v1/metrics`: measures over all customers."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from msgspec.structs import asdict

from services.scoring.api.asked import AsOf, ModelId, OfReports, Until
from services.scoring.domain.reports import Expectation, Window
from services.scoring.schemas import (
    ExpectationBody,
    RfmReportBody,
    ScalesBody,
    SegmentBody,
    TopBody,
    ValueReportBody,
    WindowBody,
)
from services.scoring.service.reports import Reports
from shared.auth import SHOWS_PEOPLE
from shared.http import refusals
from shared.paging import DEFAULT_LIMIT, Limit

router = APIRouter(prefix="/v1/metrics", tags=["metrics"], responses=refusals(404, 409))


@router.get("/rfm", summary="Recency, frequency, monetary value: cuts, scores, segments")
async def rfm(reports: OfReports, as_of: AsOf = None, until: Until = None, model: ModelId = None) -> RfmReportBody:
    report = await reports.rfm(_window(reports, as_of, until), model)
    return RfmReportBody.model_validate(
        asdict(report)
        | {
            "scores": ScalesBody.model_validate(report),
            "segments": [SegmentBody(name=name, customers=count) for name, count in report.segments.items()],
        },
        from_attributes=True,
    )


@router.get("/value", summary="What all customers are worth, and how the forecast did")
async def value(reports: OfReports, as_of: AsOf = None, until: Until = None, model: ModelId = None) -> ValueReportBody:
    return ValueReportBody.model_validate(await reports.value(_window(reports, as_of, until), model))


@router.get("/value/top", summary="The customers of the highest lifetime value", dependencies=[SHOWS_PEOPLE])
async def top(
    reports: OfReports,
    as_of: AsOf = None,
    until: Until = None,
    model: ModelId = None,
    limit: Limit = DEFAULT_LIMIT,
) -> TopBody:
    window = _window(reports, as_of, until)
    best = await reports.top(window, model, limit)
    return TopBody(window=WindowBody.model_validate(window), customers=[_expectation(each) for each in best])


def _window(reports: Reports, as_of: datetime | None, until: datetime | None) -> Window:
    return Window(as_of or reports.clock(), until)


def _expectation(expectation: Expectation) -> ExpectationBody:
    name = str(expectation.identifier) if expectation.identifier else None
    return ExpectationBody.model_validate(asdict(expectation) | {"identifier": name})
