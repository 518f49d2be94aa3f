"""Kafka in. Rejected events, from their topic into the queue where a person can look at them."""

from __future__ import annotations

import asyncio

import structlog

from services.ingest import metrics
from services.ingest.service.rejected import Rejections
from services.ingest.settings import SERVICE
from shared import dead_letter_queue, topics
from shared.clock import Clock
from shared.db import Database
from shared.health import Health
from shared.kafka import Kafka
from shared.settings import KafkaSettings
from shared.stream import Route, Stream, StreamLimits
from shared.tasks import end, why

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the reader."""

PAUSE = 5.0
"""Seconds until a reader that has failed is replaced by another."""


class Queue:
    """Reads the topic into the queue, for as long as the service lives.

    It is not the door: whatever happens to it, clients are served on. So its health is its own and no part of the
    process's readiness, and a reader that fails or sticks is replaced here, where that of another service would end
    its process. What it has not read yet waits in the topic.
    """

    def __init__(
        self,
        *,
        settings: KafkaSettings,
        rejections: Rejections,
        database: Database,
        kafka: Kafka,
        health: Health,
        clock: Clock,
        limits: StreamLimits | None = None,
        pause: float = PAUSE,
    ) -> None:
        self.settings = settings
        self.rejections = rejections
        self.database = database
        self.dead = kafka.log(topics.dead(SERVICE))
        self.clock = clock
        self.limits = limits or StreamLimits()
        self.pause = pause
        self.pulse = health.pulse("queue of rejected events")
        self.health = Health()
        metrics.QUEUE.set_function(lambda: not self.health.complaints())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            stream = self.stream(self.health)
            reading = asyncio.create_task(stream.run(), name="reader of rejected events")
            try:
                reason = await self._failure(reading)
            finally:
                await end([reading])
            log.critical("the reader of rejected events failed; another one takes its place", why=reason)
            stream.part.fail(reason)
            await asyncio.sleep(self.pause)

    async def _failure(self, reading: asyncio.Task[None]) -> str:
        """Why the reader has ended, or must be: once there is a reason."""
        while True:
            self.pulse.beat()
            await asyncio.wait([reading], timeout=LOOK_EVERY)
            if reading.done():
                return why(reading)
            if late := self.health.complaints(vital_only=True):
                return f"it hangs: {late}"

    def stream(self, health: Health) -> Stream:
        """Give a reader, to be run, or to apply dead letters of its topics once more."""
        return Stream(
            service=SERVICE,
            routes=(
                Route(topics.REJECTED, self.rejections.keep),
                Route(topics.dead(SERVICE), dead_letter_queue.keep),
            ),
            settings=self.settings,
            limits=self.limits,
            database=self.database,
            dead=self.dead,
            health=health,
            clock=self.clock,
        )
