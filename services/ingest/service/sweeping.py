"""Keeping the queue of rejected events within its bounds: whoever has a write key can fill it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from services.ingest import metrics
from services.ingest.settings import Settings
from services.ingest.store import rejected
from services.ingest.store.rejected import Place
from shared.clock import Clock
from shared.db import Database, is_away
from shared.health import Health
from shared.tasks import library_call

log = structlog.get_logger(__name__)

EVERY = 60.0
"""Seconds between two rounds."""

AT_ONCE = 5_000
"""Events deleted in one transaction: it stays short, and so do the waits of those who read."""


class Sweeper:
    """Deletes rejected events that are too old and, where there are too many, the oldest; and counts those that wait.

    Every process does it, and none minds the others.
    """

    def __init__(self, settings: Settings, database: Database, clock: Clock, health: Health) -> None:
        self.age = timedelta(days=settings.rejected_days)
        self.events = settings.rejected_limit
        self.bytes = settings.rejected_bytes
        self.database = database
        self.clock = clock
        self.pulse = health.pulse("sweeper")

    async def run(self) -> None:
        """Once a minute, until cancelled."""
        while True:
            self.pulse.beat()
            try:
                await library_call(self.sweep())
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("rejected events can't be swept now", error=repr(error)[:300])
            await asyncio.sleep(EVERY)

    async def sweep(self) -> None:
        """One round."""
        await self._drop("age", Place(self.clock() - self.age, ""))
        async with self.database.begin() as work:
            overflow = await rejected.overflow(work, events=self.events, bytes=self.bytes)
        if overflow is not None:
            await self._drop("room", overflow)
        async with self.database.begin() as work:
            metrics.WAITING.set(await rejected.waiting(work))

    async def _drop(self, why: str, until: Place) -> None:
        """Delete all up to and with that place, in short transactions."""
        dropped = AT_ONCE
        while dropped == AT_ONCE:
            dropped = await self.database.retrying(lambda work: rejected.drop(work, until, AT_ONCE))
            metrics.SWEPT.labels(why).inc(dropped)
            self.pulse.beat()
