"""Measures over all customers, from their real state. Nothing is cached; memory holds a few numbers each."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from datetime import date, datetime

import msgspec
import numpy as np

from services.scoring.domain import bg_nbd, holdout, lifetime_value, rfm
from services.scoring.domain.cohort import Cohort, Integers
from services.scoring.domain.dropout import DAYS_A_WEEK
from services.scoring.domain.holdout import Holdout, Outcome
from services.scoring.domain.purchases import last_known_day
from services.scoring.domain.rfm import Cuts
from services.scoring.domain.scores import Named
from services.scoring.domain.terms import Terms
from services.scoring.service.customers import Chunk, customers
from services.scoring.service.models import Models
from services.scoring.store import members
from shared.clock import Clock
from shared.db import Database, Work
from shared.errors import Invalid
from shared.events import Identifier


class Window(msgspec.Struct, frozen=True):
    """What is looked at: the state as of a moment, and, where a later one is named, what happened until then."""

    as_of: datetime
    until: datetime | None = None


class Scale(msgspec.Struct, frozen=True):
    """One of the three letters: how many customers have each score, and which score nobody has."""

    counts: dict[int, int]
    empty: list[int]


class Best(msgspec.Struct, frozen=True):
    """Customers with all three scores at 4 or 5, and their share of the money that came in later."""

    customers: int
    later_value_share: float | None


class RfmReport(msgspec.Struct, frozen=True, kw_only=True):
    window: Window
    model: str
    customers: int
    cuts: Cuts
    recency: Scale
    frequency: Scale
    monetary: Scale
    segments: dict[str, int]
    best: Best


class Cumulative(msgspec.Struct, frozen=True):
    """Repeat purchases of all customers since each one's first: what the model says without looking at anybody."""

    predicted: float
    actual: int


class ValueReport(msgspec.Struct, frozen=True, kw_only=True):
    window: Window
    model: str
    customers: int
    ltv: float
    value: float
    later_value: float | None = None
    purchases: Holdout | None = None
    cumulative: Cumulative | None = None


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """One customer: what is expected, and, in a window with an end, what came."""

    profile_id: str
    identifier: Identifier | None
    ltv: float
    purchases: int
    value: float
    expected_purchases: float
    actual_purchases: int | None
    actual_value: float | None


class Reports:
    """What can be measured. Each takes the window and a model's id, the active one where it is None.

    All raise ModelNotFound, ModelNotReady, NoModel, and Invalid for a window that ends before it begins.
    """

    def __init__(self, database: Database, models: Models, terms: Terms, clock: Clock) -> None:
        self.database = database
        self.models = models
        self.terms = terms
        self.clock = clock

    async def rfm(self, window: Window, model: str | None) -> RfmReport:
        """How many customers have which score and are in which segment, by the model's cuts."""
        async with self.database.begin() as work:
            named = await self.models.fitted(work, model)
            cohort, later = await self._everybody(work, window)
        scores = rfm.scores(cohort, named.model.rfm)
        best = (scores.recency >= 4) & (scores.frequency >= 4) & (scores.monetary >= 4)
        spent = float(later.value.sum())
        return RfmReport(
            window=window,
            model=named.id,
            customers=len(cohort),
            cuts=named.model.rfm,
            recency=_scale(scores.recency),
            frequency=_scale(scores.frequency),
            monetary=_scale(scores.monetary),
            segments=dict(sorted(Counter(scores.segments).items())),
            best=Best(int(best.sum()), float(later.value[best].sum()) / spent if window.until and spent else None),
        )

    async def value(self, window: Window, model: str | None) -> ValueReport:
        """What all customers are worth; in a window with an end, the forecast beside what they really bought."""
        weeks = self._weeks(window)
        async with self.database.begin() as work:
            named = await self.models.fitted(work, model)
            cohort, later = await self._everybody(work, window)
        # In a thread: of many customers this is a second of NumPy, which leaves the interpreter to others meanwhile.
        ltv = await asyncio.to_thread(lifetime_value.value, cohort, named.model, self.terms.horizon)
        report = ValueReport(
            window=window,
            model=named.id,
            customers=len(cohort),
            ltv=float(ltv.sum()),
            value=float(cohort.value.sum()),
        )
        if not weeks:
            return report
        parameters = named.model.bg_nbd.parameters
        return msgspec.structs.replace(
            report,
            later_value=float(later.value.sum()),
            purchases=holdout.holdout(parameters, cohort, later, weeks),
            cumulative=Cumulative(
                predicted=float(bg_nbd.expected_since_first(parameters, cohort.T + weeks).sum()),
                actual=int(cohort.x.sum() + later.purchases.sum()),
            ),
        )

    async def top(self, window: Window, model: str | None, limit: int) -> list[Expectation]:
        """The customers of the highest LTV, the highest first; ties in the order of profile ids."""
        weeks = self._weeks(window)
        best: list[tuple[float, str, Expectation]] = []
        async with self.database.begin() as work:
            named = await self.models.fitted(work, model)
            async for chunk in customers(work, *self._days(window)):
                best = heapq.nsmallest(limit, [*best, *self._ranked(chunk, named, weeks, limit)], key=_rank)
            names = await members.of_profiles(work, sorted(profile_id for _, profile_id, _ in best))
        return [msgspec.structs.replace(each, identifier=_name(names.get(each.profile_id, []))) for _, _, each in best]

    def _ranked(self, chunk: Chunk, named: Named, weeks: float, limit: int) -> list[tuple[float, str, Expectation]]:
        cohort = chunk.cohort
        ltv = lifetime_value.value(cohort, named.model, self.terms.horizon)
        ahead = weeks or self.terms.horizon.ltv_months * lifetime_value.WEEKS_A_MONTH
        expected = holdout.expected(named.model.bg_nbd.parameters, cohort, ahead)
        ranked = []
        for place in np.argsort(-ltv, kind="stable")[:limit].tolist():
            profile_id = chunk.profiles[place]
            expectation = Expectation(
                profile_id=profile_id,
                identifier=None,
                ltv=float(ltv[place]),
                purchases=int(cohort.frequency[place]),
                value=float(cohort.value[place]),
                expected_purchases=float(expected[place]),
                actual_purchases=int(chunk.later.purchases[place]) if weeks else None,
                actual_value=float(chunk.later.value[place]) if weeks else None,
            )
            ranked.append((float(ltv[place]), profile_id, expectation))
        return ranked

    async def _everybody(self, work: Work, window: Window) -> tuple[Cohort, Outcome]:
        chunks = [chunk async for chunk in customers(work, *self._days(window))]
        return Cohort.joined([chunk.cohort for chunk in chunks]), Outcome.joined([chunk.later for chunk in chunks])

    def _days(self, window: Window) -> tuple[date, date]:
        through = last_known_day(window.as_of, self.terms.zone)
        return through, last_known_day(window.until, self.terms.zone) if window.until else through

    def _weeks(self, window: Window) -> float:
        """How long the window is, in whole days; 0 without an end."""
        through, until = self._days(window)
        if window.until is not None and until <= through:
            raise Invalid(
                "until: must be at least a day after as_of", details=[{"path": "until", "code": "before_as_of"}]
            )
        return (until - through).days / DAYS_A_WEEK


def _scale(scores: Integers) -> Scale:
    found = Counter(scores.tolist())
    counts = {score: found.get(score, 0) for score in rfm.SCORES}
    return Scale(counts, rfm.empty(counts))


def _rank(entry: tuple[float, str, Expectation]) -> tuple[float, str]:
    ltv, profile_id, _ = entry
    return -ltv, profile_id


def _name(identifiers: list[Identifier]) -> Identifier | None:
    """By which a person is called: a user id where there is one."""
    users = [each for each in identifiers if each.kind == "user_id"]
    return next(iter(users or identifiers), None)
