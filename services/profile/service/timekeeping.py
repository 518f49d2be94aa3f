"""The timeline's partitions: made before they are needed, dropped when they have had their time."""

from __future__ import annotations

from collections.abc import Iterable

from services.profile import metrics
from services.profile.domain.periods import Period, ahead, kept_from, month_of, needed
from services.profile.store import partitions
from shared.clock import Clock
from shared.db import Work
from shared.events import Touchpoint

FORGOTTEN_AT_ONCE = 10_000
"""Rows of `presence` in one transaction: a tenth of a second."""


class Timekeeping:
    """What can be done for the timeline's partitions. `months`: how many whole ones are kept; None: all.

    `settled` are those that this process need not think of again: they are there, or retention has passed them.
    """

    def __init__(self, *, months: int | None, clock: Clock) -> None:
        self.months = months
        self.clock = clock
        self.settled: set[Period] = set()

    def missing(self, batch: Iterable[Touchpoint]) -> set[Period]:
        """The partitions that `batch` needs and that may not exist."""
        return needed((touchpoint.at for touchpoint in batch), self.clock()) - self.settled

    def missing_ahead(self) -> set[Period]:
        """The same of what will be needed soon."""
        return ahead(self.clock()) - self.settled

    async def make(self, wanted: Iterable[Period], work: Work) -> None:
        """Make those of `wanted` that do not exist, in a transaction of its own: others wait for it.

        None of those that retention has passed: what comes late for them is not kept. To be `settled` after the commit.
        """
        await partitions.lock(work)
        passed = await partitions.removed_before(work)
        there = await partitions.existing(work)
        await partitions.make(work, {each for each in wanted if passed is None or each.end > passed} - there)

    def settle(self, made: Iterable[Period]) -> None:
        """These were made, and that is committed."""
        self.settled.update(made)

    async def pass_by(self, work: Work) -> None:
        """Let everything be gone that has had its time: at once for whoever asks, on disk when it is dropped."""
        moment = None if self.months is None else kept_from(self.clock(), self.months)
        if moment is not None:
            await partitions.remove_before(work, moment)

    async def drop_oldest(self, work: Work) -> bool:
        """Drop the oldest partition that has had its time; give whether there was one. Raises what `drop` raises."""
        passed = await partitions.removed_before(work)
        if passed is None or not await partitions.try_lock(work):
            return False
        gone = [period for period in await partitions.existing(work) if period.end <= passed]
        if gone:
            await partitions.drop(work, min(gone, key=lambda each: each.end))
            metrics.TIMELINE_REMOVED.inc()
        return bool(gone)

    async def forget(self, work: Work) -> bool:
        """Forget some of who was there in months that are gone; give whether there may be more of it."""
        passed = await partitions.removed_before(work)
        if passed is None:
            return False
        most = FORGOTTEN_AT_ONCE
        return await partitions.forget_presence(work, month_of(passed), most) == most

    async def measure(self, work: Work) -> None:
        """Show how large the timeline is."""
        size = await partitions.measure(work)
        metrics.TIMELINE_PARTITIONS.set(size.partitions)
        metrics.TIMELINE_ROWS.set(size.rows)
        metrics.TIMELINE_BYTES.set(size.bytes)
