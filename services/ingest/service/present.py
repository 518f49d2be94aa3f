"""The present, in which all processes of this service agree: the database's.

A process whose own clock is wrong would else end keys and days at another time than its neighbours, revoke a key in the
future, correct right clocks of clients by its own error, and write what Kafka refuses for being from the future.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from services.ingest import metrics
from services.ingest.store import present
from shared.clock import Clock
from shared.db import Database

log = structlog.get_logger(__name__)

TOLERANCE = timedelta(seconds=1)
"""Clocks that differ by less are taken for the same: so much may be the way to the database and back."""


class CommonClock:
    """A `Clock`. While the database is away, it goes on by the difference that was seen last."""

    def __init__(self, own: Clock) -> None:
        self.own = own
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return self.own() - self.ahead if self.ahead else self.own()

    async def compare(self, database: Database) -> None:
        """See how far the process's own clock is ahead of the database's. Raises what PostgreSQL raises."""
        before = self.own()
        told = await database.retrying(present.present)
        after = self.own()
        if after - before > TOLERANCE:
            return  # it took too long to say which moment the answer is of
        ahead = timedelta(milliseconds=round((before + (after - before) / 2 - told) / timedelta(milliseconds=1)))
        metrics.CLOCK_AHEAD.set(ahead.total_seconds())
        if abs(ahead) <= TOLERANCE:
            ahead = timedelta()
        if abs(ahead - self.ahead) > TOLERANCE or not ahead:
            if ahead != self.ahead:
                log.warning("this machine's clock differs from the database's, which holds", ahead=str(ahead))
            self.ahead = ahead
