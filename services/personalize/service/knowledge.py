"""What a decision needs that is the same for everybody: offers and what has been learned, in memory.

It follows the database: nudged after each batch of this process's own consumer, and looking by itself a few times a
second for what other processes did. Fitting runs in a thread; decisions go on with what they know meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence

import structlog

from services.personalize import metrics
from services.personalize.domain.evidence import Counts
from services.personalize.domain.features import NAMES, VERSION
from services.personalize.domain.learner import Posterior, Prior, posterior
from services.personalize.domain.offers import Offer, Shelf, shelves
from services.personalize.service.register import Register
from services.personalize.store import changes, evidence, offers
from services.personalize.store.evidence import Cell
from shared.db import Database

log = structlog.get_logger(__name__)

STALE = 5.0
"""Seconds without a look at the database after which decisions say that they rest on old knowledge."""

REST, SHORTEST_REST, LONGEST_REST = 4.0, 0.1, 0.5
"""After a look that brought something, rest four times as long as it took, within these seconds: a stream of feedback
then costs a fifth of a core, and still shows within a second."""


class Knowledge:
    """Offers by placement, and a posterior by placement, as of the last look."""

    def __init__(self, database: Database, click: Prior, acceptance: Prior) -> None:
        self.database = database
        self.priors = (click, acceptance)
        self.offers: dict[str, Offer] = {}
        self.shelves: Mapping[str, Shelf] = {}
        self.registers: dict[str, Register] = {}
        self.posteriors: dict[str, Posterior] = {}
        self.nothing = posterior(Register().evidence(), *self.priors)
        self.horizon = changes.BEGINNING
        self.looked = float("-inf")

    def shelf(self, placement: str) -> Shelf:
        return self.shelves.get(placement, Shelf())

    def posterior(self, placement: str) -> Posterior:
        return self.posteriors.get(placement, self.nothing)

    @property
    def age(self) -> float:
        """Seconds since the last look; infinite before the first."""
        return time.monotonic() - self.looked

    @property
    def stale(self) -> bool:
        return self.age > STALE

    async def refresh(self) -> int:
        """Take in what changed since the last look; give how many placements are decided differently now.

        After a look that failed it begins anew: the database that comes back may have been restored to an earlier time.
        """
        since, self.horizon = self.horizon, changes.BEGINNING
        async with self.database.begin() as work:
            horizon = await changes.horizon(work)
            changed_offers = await offers.changed(work, since)
            changed_cells = await evidence.changed(work, VERSION, since)
        self.horizon, self.looked = horizon, time.monotonic()

        began = time.monotonic()
        if since == changes.BEGINNING:
            self.registers = {}
        restocked = self._restock({} if since == changes.BEGINNING else self.offers, changed_offers)
        taught = self._enter(changed_cells)
        self.posteriors = {name: each for name, each in self.posteriors.items() if name in self.registers}
        for placement in sorted(taught):
            await self._fit(placement)
        await asyncio.sleep(min(LONGEST_REST, max(SHORTEST_REST, REST * (time.monotonic() - began))))
        return len(taught) + restocked

    def _restock(self, known: Mapping[str, Offer], changed: Sequence[tuple[str, Offer | None]]) -> bool:
        """Have the `known` offers with what `changed` in them; give whether that is news."""
        after = {**known, **dict(changed)} if changed else known
        offered = {offer_id: offer for offer_id, offer in after.items() if offer is not None}
        if offered == self.offers:
            return False
        self.offers, self.shelves = offered, shelves(offered.values())
        return True

    def _enter(self, changed: Iterable[tuple[Cell, Counts]]) -> set[str]:
        """Enter the counts; give the placements where they are news."""
        taught = set()
        for cell, counts in changed:
            if len(cell.features) != len(NAMES):
                continue
            register = self.registers.setdefault(cell.placement, Register())
            if register.put(cell.offer_id, cell.features, counts):
                taught.add(cell.placement)
        return taught

    async def _fit(self, placement: str) -> None:
        register = self.registers[placement]
        began = time.perf_counter()
        self.posteriors[placement] = await asyncio.to_thread(posterior, register.evidence(), *self.priors)
        metrics.FIT_SECONDS.observe(time.perf_counter() - began)
        metrics.LEARNED.set(sum(each.shown for each in self.registers.values()))
