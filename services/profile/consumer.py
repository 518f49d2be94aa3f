"""Kafka in. What the profile service does with each kind of event."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.profile.service.absorbing import Profiles
from services.profile.service.timekeeping import Timekeeping
from services.profile.settings import SERVICE
from shared import topics
from shared.clock import Clock
from shared.db import Database, Work
from shared.events import Touchpoint
from shared.health import Health
from shared.kafka import Kafka
from shared.settings import KafkaSettings
from shared.stream import Route, Stream, StreamLimits


class Absorbing:
    """Absorbs touchpoints once there are partitions for them.

    These are made in a transaction of their own, before the batch's touches the timeline: it holds the locks that this
    needs for milliseconds, not for a batch, and whoever makes the same partition meanwhile waits for it and finds it.
    """

    def __init__(self, profiles: Profiles, timekeeping: Timekeeping, database: Database) -> None:
        self.profiles = profiles
        self.timekeeping = timekeeping
        self.database = database

    async def absorb(self, batch: Sequence[Touchpoint], work: Work) -> None:
        """Raises what PostgreSQL raises: then nothing is absorbed, and what was made does no harm."""
        if missing := self.timekeeping.missing(batch):
            await self.database.retrying(lambda own: self.timekeeping.make(missing, own))
            self.timekeeping.settle(missing)
        await self.profiles.absorb(batch, work)


def stream(
    *,
    settings: KafkaSettings,
    profiles: Profiles,
    timekeeping: Timekeeping,
    database: Database,
    kafka: Kafka,
    health: Health,
    clock: Clock,
    after_commit: Callable[[], None],
    limits: StreamLimits | None = None,
) -> Stream:
    """The service's one consumer, to be run."""
    return Stream(
        service=SERVICE,
        routes=(
            Route(topics.TOUCHPOINTS, Absorbing(profiles, timekeeping, database).absorb, once=True),
            Route(topics.SCORES, profiles.keep_scores),
        ),
        settings=settings,
        limits=limits or StreamLimits(),
        database=database,
        dead=kafka.log(topics.dead(SERVICE)),
        health=health,
        clock=clock,
        after_commit=after_commit,
    )
