"""Publish state, not deltas.

A service marks what changed as dirty, in the transaction that changed it. A publisher takes dirty rows, folds them
into what others see, writes that, sends it to Kafka, and clears the mark only where nothing changed in between. So
sending at least once is harmless (readers apply only higher versions), and a burst of changes becomes one message.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from shared import metrics
from shared.db import is_away
from shared.errors import LogUnavailable
from shared.health import Health
from shared.tasks import library_call

log = structlog.get_logger(__name__)

DEADLINE = 60.0
"""Seconds without a round ended, after which a publisher counts as late."""

LONGEST_PAUSE = 5.0
"""Seconds between tries while a server is away."""


class Publisher:
    """The loop around a service's `publish`, which publishes some of what is dirty and says how much it did."""

    def __init__(
        self,
        *,
        name: str,
        publish: Callable[[], Coroutine[Any, Any, int]],
        health: Health,
        idle: float = 0.2,
        every: float = 0.0,
        full: int = 1,
        gates: bool = True,
    ) -> None:
        """`every`: seconds at least from one round to the next, so that what is marked meanwhile shares a round.

        A round that published `full` or more is followed at once: there is a backlog. `gates`: whether the process is
        not ready while this publisher is late.
        """
        self.name = name
        self.publish = publish
        self.idle = idle
        self.every = every
        self.full = full
        self.part = (health if gates else Health()).part(f"publisher {name}", deadline=DEADLINE)
        self.pulse = health.pulse(f"publisher {name}")
        self.nudged = asyncio.Event()

    def nudge(self) -> None:
        """Something was marked dirty: look now, do not wait out `idle`."""
        self.nudged.set()

    async def run(self) -> None:
        """Publish until cancelled. While a server is away, try again, ever more slowly."""
        pause = self.idle
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            self.nudged.clear()
            self.pulse.beat()
            try:
                published = await library_call(self.publish())
            except Exception as error:
                if not (isinstance(error, KafkaError | LogUnavailable) or is_away(error)):
                    raise
                pause = await self._back_off(error, pause)
                continue
            pause = self.idle
            self.part.beat()
            if published:
                metrics.PUBLISHED.labels(self.name).inc(published)
            else:
                await self._rest()
            if published < self.full:
                await asyncio.sleep(max(0.0, began + self.every - now()))

    async def _rest(self) -> None:
        """Until the next nudge, or for `idle` seconds: another process may have marked something."""
        try:
            async with asyncio.timeout(self.idle):
                await self.nudged.wait()
        except TimeoutError:
            pass

    async def _back_off(self, error: Exception, pause: float) -> float:
        metrics.PUBLISH_FAILURES.labels(self.name).inc()
        log.warning("publishing failed; trying again", publisher=self.name, error=repr(error)[:300])
        self.part.beat()
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
        return min(2 * pause, LONGEST_PAUSE)
