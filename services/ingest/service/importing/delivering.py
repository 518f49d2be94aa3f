"""Giving a chunk to Kafka, and waiting for Kafka where it is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

from services.ingest.errors import Unfinished
from services.ingest.service.counts import Counts
from services.ingest.service.importing.bar import Bar
from services.ingest.service.importing.judging import Judged
from shared.errors import LogUnavailable
from shared.kafka import Log, Record

PAUSES = (0.5, 1.0, 2.0, 5.0)
"""Seconds between two attempts; the last goes on."""


class Delivery:
    """Appends chunks to both topics. `patience`: seconds that Kafka may be away; `stop`: no longer wait for it."""

    def __init__(
        self, *, touchpoints: Log, rejected: Log, counts: Counts, patience: float, bar: Bar, stop: asyncio.Event
    ) -> None:
        self.touchpoints = touchpoints
        self.rejected = rejected
        self.counts = counts
        self.patience = patience
        self.bar = bar
        self.stop = stop

    async def deliver(self, chunk: Judged) -> None:
        """Return once Kafka has all of it. Raises Unfinished where it has been away for too long.

        An attempt that failed may have arrived. The next one carries the same ids, so that nobody counts it twice.
        """
        if chunk.rejected:
            await self._appended(self.rejected, chunk.rejected)
        if chunk.touchpoints:
            await self._appended(self.touchpoints, chunk.touchpoints)
        for departure in chunk.departures:
            self.counts.note_departure(departure)

    async def _appended(self, log: Log, records: list[Record]) -> None:
        began, attempt = monotonic(), 0
        while True:
            try:
                await log.append(records)
            except LogUnavailable as error:
                away = monotonic() - began
                if self.stop.is_set() or away > self.patience:
                    raise Unfinished(f"Kafka has not acknowledged for {away:.0f} s: {error.message}") from None
                self.bar.waits(f"Kafka does not acknowledge; trying again (for {away:.0f} s now)")
                await self._pause(PAUSES[min(attempt, len(PAUSES) - 1)])
                attempt += 1
            else:
                self.bar.goes_on()
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()
