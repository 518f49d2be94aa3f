"""Counts that requests leave behind, kept in memory and written once a second. No request waits for them.

While PostgreSQL is away, counting goes on in memory and all of it is written afterwards. Lost is what a process has
counted in its last second when it is killed outright; counted twice, what a connection was committing as it broke.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import TypeVar

import structlog

from services.ingest import metrics
from services.ingest.domain.plan import Departure
from services.ingest.domain.quotas import Bucket, until_midnight
from services.ingest.domain.sources import Source
from services.ingest.store import counts
from services.ingest.store.counts import Departed, Use
from shared.clock import Clock
from shared.db import Database, Work, is_away
from shared.health import Health
from shared.tasks import library_call

log = structlog.get_logger(__name__)
K = TypeVar("K")

EVERY = 1.0
"""Seconds between two writes."""

DEADLINE = 5.0
"""Seconds that a write may take: at its end a process waits no longer for a database that hangs."""

KINDS = 10_000
"""Kinds of departures told apart between two writes. Plans have fewer; this is for the days that PostgreSQL is away."""

OTHERS = "…"
"""The place that the rest are counted under."""

LONGEST = 200
"""Characters kept of a name and of a place: an index takes 2,700 bytes for a row."""


class Quotas:
    """The counts of what each source has sent, and so whether it may send more.

    A rate holds in each process by itself. A quota holds over all of them, but for what they take between two writes:
    in the second in which it is reached, a source can send more than its quota, by what other processes take of it in
    that second; and while PostgreSQL is away, by all that they take meanwhile.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.buckets: dict[str, Bucket] = {}
        self.unwritten: dict[Use, int] = {}
        self.written: Mapping[Use, int] = {}

    def admit(self, source: Source, calls: int, now: float, today: date) -> float | None:
        """None where the `calls` are admitted, all of them, and counted; else seconds until they may come again.

        `now` is of a clock that only goes forward, in seconds; `today` is the day in UTC.
        """
        wait = self.exhausted(source, now, today, calls)
        if wait is not None:
            return wait
        if source.rate is not None:
            self.buckets[source.name] = self._bucket(source.name, source.rate, now).without(calls, now)
        use = Use(source.name, today)
        self.unwritten[use] = self.unwritten.get(use, 0) + calls
        return None

    def give_back(self, source: Source, calls: int, today: date) -> None:
        """`calls` that were admitted were not taken after all; the client will send them again."""
        use = Use(source.name, today)
        self.unwritten[use] = self.unwritten.get(use, 0) - calls

    def exhausted(self, source: Source, now: float, today: date, calls: int = 1) -> float | None:
        """Seconds until the source may send so many calls; None where it may now. Nothing is counted."""
        if source.quota is not None and self._used(Use(source.name, today)) + calls > source.quota:
            metrics.REFUSED.labels(source.name, "quota").inc()
            return until_midnight(self.clock(), today)
        if source.rate is not None and (wait := self._bucket(source.name, source.rate, now).wait(now)) > 0:
            metrics.REFUSED.labels(source.name, "rate").inc()
            return wait
        return None

    def _bucket(self, source: str, rate: float, now: float) -> Bucket:
        """The source's own; a full one where its rate is new: that starts without the old one's debt."""
        bucket = self.buckets.get(source)
        return bucket if bucket is not None and bucket.rate == rate else Bucket.full(rate, now)

    def _used(self, use: Use) -> int:
        return self.written.get(use, 0) + self.unwritten.get(use, 0)

    def note_written(self, more: Mapping[Use, int], used: Mapping[Use, int]) -> None:
        """`more` of what was unwritten is written now, and all processes together have `used` so much."""
        _subtract(self.unwritten, more)
        self.written = used


class Departures:
    """The counts of departures from each part of the plan, since the last write."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.unwritten: Counter[Departed] = Counter()

    def note(self, departure: Departure) -> None:
        """Count a call that departs from the plan, once for each place where it does."""
        today = self.clock().date()
        self.unwritten.update({self._kind(departure, today, place[:LONGEST]) for place in departure.places})

    def _kind(self, departure: Departure, today: date, place: str) -> Departed:
        """Give what it is counted by: where there are too many kinds already, as one of the others of its event."""
        name = departure.name[:LONGEST]
        kind = Departed(departure.source, departure.type, name, today, departure.mode, place)
        return kind if kind in self.unwritten or len(self.unwritten) < KINDS else kind._replace(path=OTHERS)

    def note_written(self, more: Mapping[Departed, int]) -> None:
        """`more` of what was unwritten is written now."""
        _subtract(self.unwritten, more)


class Counts:
    """All counts of a process, and the loop that writes them."""

    def __init__(self, database: Database, clock: Clock, health: Health) -> None:
        self.database = database
        self.clock = clock
        self.pulse = health.pulse("counts")
        self.quotas = Quotas(clock)
        self.departures = Departures(clock)
        self.writing = asyncio.Lock()
        metrics.UNWRITTEN.set_function(lambda: sum(self.quotas.unwritten.values()))

    def note_departure(self, departure: Departure) -> None:
        """Count a call that departs from the plan, whether it was let through or rejected."""
        metrics.DEPARTURES.labels(departure.source, departure.mode).inc()
        self.departures.note(departure)

    async def run(self) -> None:
        """Write once a second until cancelled, and what is left then."""
        try:
            while True:
                self.pulse.beat()
                await self.flush()
                await asyncio.sleep(EVERY)
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted, and read what the other processes have. Where the database is away, later.

        Shielded: a write that is cancelled while it commits would be done again, and count twice.
        """
        await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        async with self.writing:
            use, departures = dict(self.quotas.unwritten), dict(self.departures.unwritten)
            today = self.clock().date()

            async def write(work: Work) -> dict[Use, int]:
                await counts.add_use(work, use)
                await counts.add_departures(work, departures)
                return await counts.used(work, today)

            try:
                used = await library_call(self.database.retrying(write), within=DEADLINE)
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("counts can't be written; they wait in memory", error=repr(error)[:300])
                return

            self.quotas.note_written(use, used)
            self.departures.note_written(departures)


def _subtract(counted: dict[K, int], written: Mapping[K, int]) -> None:
    """Take what was `written` from what is `counted`, and forget what nothing is left of."""
    for key, calls in written.items():
        counted[key] -= calls
        if not counted[key]:
            del counted[key]
