"""Kafka in. Rejected events, from their topic into the queue where a person can look at them."""

from __future__ import annotations

import asyncio

import structlog

from services.ingest import metrics
from services.ingest.service.rejected import Rejections
from services.ingest.settings import SERVICE
from shared import topics
from shared.clock import Clock
from shared.db import Database
from shared.health import Health
from shared.kafka import Kafka
from shared.settings import KafkaSettings
from shared.stream import Route, Stream, StreamLimits

log = structlog.get_logger(__name__)

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
        self.health = Health()
        metrics.QUEUE.set_function(lambda: not self.health.complaints())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            stream = self._stream()
            try:
                await stream.run()
            except Exception as error:  # whatever it is, the door stays open
                log.exception("the reader of rejected events failed; another one takes its place")
                stream.part.fail(repr(error))
            await asyncio.sleep(self.pause)

    def _stream(self) -> Stream:
        return Stream(
            service=SERVICE,
            routes=(Route(topics.REJECTED, self.rejections.keep),),
            settings=self.settings,
            limits=self.limits,
            database=self.database,
            dead=self.dead,
            health=self.health,
            clock=self.clock,
        )
