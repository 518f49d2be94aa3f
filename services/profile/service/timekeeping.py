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
"""Rows of a table in one transaction: a tenth of a second."""


class Timekeeping:
    """What can be done for the timeline's partitions. `months`: how many whole ones are kept; None: all.

    `settled` are those that this process need not think of again while it absorbs.
    """

    def __init__(self, *, months: int | None, clock: Clock) -> None:
        self.months = months
        self.clock = clock
        self.settled: set[Period] = set()

    def missing(self, batch: Iterable[Touchpoint]) -> set[Period]:
        """The partitions that `batch` needs and that may not exist."""
        return needed((touchpoint.at for touchpoint in batch), self.clock()) - self.settled

    async def wanted(self, work: Work) -> set[Period]:
        """The partitions that do not exist and should: soon to be needed, or their touchpoints wait in the rest."""
        waiting = needed(await partitions.waiting(work), self.clock())
        return (waiting | ahead(self.clock())) - await partitions.existing(work)

    async def make(self, period: Period, work: Work) -> bool:
        """Make a partition unless it exists, in a transaction of its own: others wait for it. Give whether it was made.

        Not one that retention has passed: what comes late for it is not kept. Raises DBAPIError with SQLSTATE 55P03
        where others use the rest, or make partitions, for long.
        """
        await partitions.lock(work)
        passed = await partitions.removed_before(work)
        new = (passed is None or period.end > passed) and period not in await partitions.existing(work)
        if new:
            await partitions.make(work, period)
        return new

    def settle(self, periods: Iterable[Period]) -> None:
        """They exist, or will not; or their touchpoints wait in the rest, and somebody makes them later."""
        self.settled.update(periods)

    async def pass_by(self, work: Work) -> None:
        """Let everything be gone that has had its time: at once for whoever asks, on disk when it is dropped."""
        moment = None if self.months is None else kept_from(self.clock(), self.months)
        if moment is not None:
            await partitions.remove_before(work, moment)

    async def drop_oldest(self, work: Work) -> bool:
        """Drop the oldest partition that has had its time; give whether there was one. Raises what `drop` raises."""
        passed = await partitions.removed_before(work)
        if passed is None:
            return False
        await partitions.lock(work)
        gone = [period for period in await partitions.existing(work) if period.end <= passed]
        if gone:
            await partitions.drop(work, min(gone, key=lambda each: each.end))
            metrics.TIMELINE_REMOVED.inc()
        return bool(gone)

    async def forget(self, work: Work) -> bool:
        """Forget some of what the rest holds, and of who was there, from times that are gone; give whether any was."""
        passed = await partitions.removed_before(work)
        if passed is None:
            return False
        most = FORGOTTEN_AT_ONCE
        rows = await partitions.forget_rest(work, passed, most)
        return rows + await partitions.forget_presence(work, month_of(passed), most) > 0

    async def measure(self, work: Work) -> None:
        """Show how large the timeline is."""
        size = await partitions.measure(work)
        metrics.TIMELINE_PARTITIONS.set(size.partitions)
        metrics.TIMELINE_ROWS.set(size.rows)
        metrics.TIMELINE_BYTES.set(size.bytes)
