"""What is done in the background, a step at a time: time passes, what was saved is filled in, and the timeline is kept.

Each step is a transaction, or a few short ones, so that nobody waits long for it; and it goes on where the last one
ended, in whichever process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from services.profile import metrics
from services.profile.domain.periods import Period
from services.profile.service.background import Sweeping
from services.profile.service.counting import Counting
from services.profile.service.filling import Filling
from services.profile.service.publishing import Publications
from services.profile.service.segments import Segments
from services.profile.service.timekeeping import Timekeeping
from shared.db import LOCK_NOT_AVAILABLE, Database, Work, sqlstate
from shared.events import Touchpoint

T = TypeVar("T")


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
