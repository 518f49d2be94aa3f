"""Large requests beside small ones: one is worked on at a time, in slices between which all others are answered.

A process has one thread for all of its connections. Work that holds it for as long as a batch of 5,000 calls takes is
an outage for everybody else, and two such batches at once take no less time than one after the other.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TypeVar

from services.ingest import metrics
from services.ingest.domain.steps import Steps
from services.ingest.errors import Abandoned, Busy

T = TypeVar("T")

SLICE = 0.002
"""Seconds of work between two moments in which others are answered. A batch of 100 takes about as long."""

WAITING = 100
"""Large requests of one source that may be under way. Clients give up before that many have been worked on."""


class Pace:
    """The pauses of one large request. `abandoned`: its client has gone, so that the work would be for nobody."""

    def __init__(self) -> None:
        self.abandoned = False
        self.waiting: asyncio.Future[None] | None = None
        self.began = perf_counter()

    def abandon(self) -> None:
        """There is nobody to work for any more."""
        self.abandoned = True
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(Abandoned())

    @property
    def is_due(self) -> bool:
        """Tell whether it is time to let others have their turn."""
        return perf_counter() - self.began > SLICE

    async def pause(self) -> None:
        """Let all others have their turn. Raises Abandoned where it need not go on."""
        await asyncio.sleep(0)
        if self.abandoned:
            raise Abandoned
        self.began = perf_counter()

    async def through(self, steps: Steps[T]) -> T:
        """The result of `steps`, with pauses between them."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if self.is_due:
                await self.pause()


class Turns:
    """The queue of large requests: sources one after the other, and the requests of each in the order of arrival."""

    def __init__(self) -> None:
        self.taken = False
        self.waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self.entered: Counter[str] = Counter()

    def check(self, source: str) -> None:
        """Raises Busy where too many of `source` are under way already."""
        if self.entered[source] >= WAITING:
            metrics.REFUSED.labels(source, "turns").inc()
            raise Busy(
                f"too many large requests of source {source!r} are under way already: send this again in a moment"
            )

    def enter(self, source: str) -> None:
        """A request of `source` is under way, until it leaves."""
        self.entered[source] += 1

    def leave(self, source: str) -> None:
        self.entered[source] -= 1
        if not self.entered[source]:
            del self.entered[source]

    @asynccontextmanager
    async def turn(self, source: str, pace: Pace) -> AsyncIterator[None]:
        """Wait for a turn of `source`, and have it while the block lasts. Raises Abandoned."""
        if pace.abandoned:
            raise Abandoned
        if self.taken:
            await self._wait(source, pace)
        self.taken = True
        try:
            pace.began = perf_counter()
            yield
        finally:
            self._pass_on()

    async def _wait(self, source: str, pace: Pace) -> None:
        mine = pace.waiting = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(source, deque()).append(mine)
        try:
            await mine
        except BaseException:
            if mine in self.waiting.get(source, ()):
                self.waiting[source].remove(mine)
                if not self.waiting[source]:
                    del self.waiting[source]
            elif mine.done() and not mine.cancelled() and mine.exception() is None:
                self._pass_on()  # it was given the turn as it was cancelled
            raise

    def _pass_on(self) -> None:
        """The turn goes to the source that has waited longest since it had one."""
        self.taken = False
        while self.waiting and not self.taken:
            source = next(iter(self.waiting))
            queue = self.waiting.pop(source)
            first = queue.popleft()
            if queue:
                self.waiting[source] = queue
            if not first.done():
                first.set_result(None)
                self.taken = True
