"""Dirty profiles out to Kafka; and what else is done in the background, a step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from services.profile import metrics
from services.profile.domain.periods import Period
from services.profile.domain.publication import SOURCE
from services.profile.service.background import Sweeping
from services.profile.service.counting import Counting
from services.profile.service.filling import Filling
from services.profile.service.publishing import AT_ONCE, Publications, Told, next_hold
from services.profile.service.segments import Segments
from services.profile.service.timekeeping import Timekeeping
from services.profile.store.profiles import Claimed
from shared import topics
from shared.clock import Clock
from shared.db import Database, Work, sqlstate
from shared.events import Identified, Membership, Profiled, Touchpoint, View, encode
from shared.kafka import Kafka

T = TypeVar("T")

LOCK_NOT_AVAILABLE = "55P03"


class ProfilePublisher:
    """Takes some dirty profiles, writes what they have become, sends it, and only then lets go of them.

    The claim is a transaction of its own around the one that writes: it ends after Kafka has everything, so that no
    other process sends an older state of the same profile after ours; and it ends by itself if this process dies.
    """

    def __init__(
        self,
        *,
        publications: Publications,
        database: Database,
        kafka: Kafka,
        batch: int,
        clock: Clock,
        longest_hold: timedelta = AT_ONCE,
    ) -> None:
        """`longest_hold`: how long profiles are held back at most while more waits than is told (`next_hold`)."""
        self.longest_hold = longest_hold
        self.hold = AT_ONCE
        self.publications = publications
        self.database = database
        self.identities = kafka.log(topics.IDENTITIES)
        self.profiles = kafka.log(topics.PROFILES)
        self.signals = kafka.log(topics.SIGNALS)
        self.batch = batch
        self.clock = clock

    async def publish(self) -> int:
        """Publish up to a batch of profiles; give how many. Raises what Kafka and PostgreSQL raise: nothing is lost."""
        async with self.database.begin() as claim:
            claimed = await self.publications.claim(self.batch, claim, self.hold)
            self.hold = next_hold(self.hold, len(claimed), self.batch, self.longest_hold)
            if not claimed:
                return 0
            told = await self.database.retrying(lambda work: self.publications.write(claimed, work))
            await self._send(told)
            await self.publications.confirm(told, claim)
        self._measure(claimed, told)
        return len(claimed)

    async def _send(self, told: Told) -> None:
        await asyncio.gather(
            self.identities.append([_identified(each, told) for each in told.memberships]),
            self.profiles.append([_profiled(each.view, told) for each in told.publications]),
            self.signals.append([(str(row.profile_id).encode(), row.body.encode()) for row in told.signals]),
        )

    def _measure(self, claimed: Sequence[Claimed], told: Told) -> None:
        now = self.clock()
        metrics.PUBLISHED.inc(len(told.publications))
        for each in claimed:
            metrics.PUBLISH_SECONDS.observe((now - each.marked_at).total_seconds())
        for publication in told.publications:
            for signal in publication.signals:
                metrics.SIGNALS.labels(signal.data.name).inc()


class Sweeper:
    """Looks for those whom time alone may have changed."""

    def __init__(self, *, sweeping: Sweeping, database: Database, batch: int, told: Callable[[], None]) -> None:
        self.sweeping = sweeping
        self.database = database
        self.batch = batch
        self.told = told

    async def sweep(self) -> int:
        """Mark some, and have them published at once; give how many, or 0 where it is time to rest."""
        swept = await self.database.retrying(lambda work: self.sweeping.sweep(self.batch, work))
        if swept:
            self.told()
        return swept if swept == self.batch else 0


class SegmentFiller:
    """Fills the segments that were saved, a chunk in each step."""

    def __init__(self, *, segments: Segments, database: Database, batch: int) -> None:
        self.segments = segments
        self.database = database
        self.batch = batch

    async def fill(self) -> int:
        """Mark a chunk of profiles; give how many, or 0 where it is time to rest."""
        filled = await self.database.retrying(lambda work: self.segments.fill(self.batch, work))
        return filled if filled == self.batch else 0

    async def empty(self) -> int:
        """The same for a segment that was deleted."""
        left = await self.database.retrying(lambda work: self.segments.empty(self.batch, work))
        return left if left == self.batch else 0


class Counter:
    """Looks how many are in each segment, once an hour."""

    def __init__(self, *, counting: Counting, database: Database) -> None:
        self.counting = counting
        self.database = database

    async def count(self) -> int:
        """Count one segment, in a transaction of its own; give whether to come again at once."""
        return int(await self.database.retrying(self.counting.count_next))


class ComputedFiller:
    """Fills computed traits from history, and has the views follow, a chunk in each step."""

    def __init__(self, *, filling: Filling, database: Database) -> None:
        self.filling = filling
        self.database = database

    async def fill(self) -> int:
        """Do a chunk of what is to be done; give whether to come again at once."""
        more = await self.database.retrying(self.filling.step)
        if not more:
            await self.database.retrying(self.filling.measure)
        return more


class Backlog:
    """Looks at how much waits to be published."""

    def __init__(self, *, publications: Publications, database: Database) -> None:
        self.publications = publications
        self.database = database

    async def look(self) -> int:
        """Always gives 0: it is to be looked at now and then, not again at once."""
        async with self.database.begin() as work:
            await self.publications.measure(work)
        return 0


class Timekeeper:
    """Keeps the timeline's partitions: there before they are needed, and gone when they have had their time.

    Each is made or dropped in a transaction of its own, and only where nobody has to be waited for.
    """

    def __init__(self, *, timekeeping: Timekeeping, database: Database) -> None:
        self.timekeeping = timekeeping
        self.database = database

    async def prepare(self, batch: Sequence[Touchpoint]) -> None:
        """Make what `batch` needs, once in the life of this process: what can't be made now, `step` makes later."""
        missing = self.timekeeping.missing(batch)
        await self._make(missing)
        self.timekeeping.settle(missing)

    async def step(self) -> int:
        """Make what is wanted, drop one partition at most, forget a little; give whether to come again at once."""
        await self._make(await self.database.retrying(self.timekeeping.wanted))
        await self.database.retrying(self.timekeeping.pass_by)
        more = await self._if_free(self.timekeeping.drop_oldest)
        more = await self.database.retrying(self.timekeeping.forget) or more
        await self.database.retrying(self.timekeeping.measure)
        return int(more or False)

    async def _make(self, periods: Iterable[Period]) -> None:
        """Make them until one can't be made: a batch, or the next step, is not to wait as long for each."""
        for period in sorted(periods, key=lambda each: each.end):
            if await self._if_free(partial(self.timekeeping.make, period)) is None:
                return

    async def _if_free(self, use: Callable[[Work], Awaitable[T]]) -> T | None:
        """`use` in a transaction; None where somebody else uses what it needs."""
        try:
            return await self.database.retrying(use)
        except DBAPIError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            metrics.TIMELINE_BUSY.inc()
            return None


def _identified(membership: Membership, told: Told) -> tuple[bytes, bytes]:
    event = Identified(
        id=f"{membership.profile_id}:{membership.version}",
        source=SOURCE,
        time=told.at,
        subject=membership.profile_id,
        data=membership,
    )
    return membership.profile_id.encode(), encode(event)


def _profiled(view: View, told: Told) -> tuple[bytes, bytes]:
    event = Profiled(
        id=f"{view.profile_id}:{view.version}", source=SOURCE, time=told.at, subject=view.profile_id, data=view
    )
    return view.profile_id.encode(), encode(event)
