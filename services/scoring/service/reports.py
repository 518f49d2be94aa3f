"""Measures over all customers, from their real state. Nothing is cached; memory holds a few numbers each."""

from __future__ import annotations

import asyncio
import heapq
from datetime import date
from operator import attrgetter

import msgspec

from services.scoring.domain import reports
from services.scoring.domain.observed import Observed, observed
from services.scoring.domain.reports import Expectation, RfmReport, ValueReport, Window
from services.scoring.domain.scores import Named
from services.scoring.domain.terms import Terms
from services.scoring.service.models import Models
from services.scoring.store import fragments, members
from shared.clock import Clock
from shared.db import Database
from shared.errors import Invalid


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
        """How many customers have which score and are in which segment."""
        named, customers = await self._everybody(window, model)
        return await asyncio.to_thread(reports.rfm_report, customers, named, window)

    async def value(self, window: Window, model: str | None) -> ValueReport:
        """What all customers are worth; in a window with an end, the forecast beside what they really bought."""
        named, customers = await self._everybody(window, model)
        # In a thread: of many customers this is a second of NumPy, which leaves the interpreter to others meanwhile.
        return await asyncio.to_thread(reports.value_report, customers, named, window, self.terms)

    async def top(self, window: Window, model: str | None, limit: int) -> list[Expectation]:
        """The customers of the highest LTV, the highest first."""
        through, until = self._days(window)
        best: list[Expectation] = []
        async with self.database.begin() as work:
            named = await self.models.fitted(work, model)
            async for people in fragments.purchases(work):
                rivals = reports.most_valuable(observed(people, through, until), named, window, self.terms, limit)
                best = heapq.nsmallest(limit, [*best, *rivals], key=attrgetter("rank"))
            identifiers = await members.of_profiles(work, sorted(each.profile_id for each in best))
        return [
            msgspec.structs.replace(each, identifier=reports.called(identifiers.get(each.profile_id, ())))
            for each in best
        ]

    async def _everybody(self, window: Window, model: str | None) -> tuple[Named, Observed]:
        through, until = self._days(window)
        async with self.database.begin() as work:
            named = await self.models.fitted(work, model)
            sides = [observed(people, through, until) async for people in fragments.purchases(work)]
        return named, Observed.joined(sides)

    def _days(self, window: Window) -> tuple[date, date]:
        if window.until is not None and window.weeks(self.terms.zone) <= 0:
            raise Invalid(
                "until: must be at least a day after as_of", details=[{"path": "until", "code": "before_as_of"}]
            )
        return window.days(self.terms.zone)
