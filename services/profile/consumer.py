"""Kafka in. What the profile service does with each kind of event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.profile.service.absorbing import Profiles
from services.profile.settings import SERVICE
from shared import dead_letter_queue, topics
from shared.clock import Clock
from shared.db import Database, Work
from shared.events import Touchpoint
from shared.health import Health
from shared.kafka import Kafka
from shared.settings import KafkaSettings
from shared.stream import Route, Stream, StreamLimits


def stream(
    *,
    settings: KafkaSettings,
    profiles: Profiles,
    prepare: Callable[[Sequence[Touchpoint]], Awaitable[None]],
    database: Database,
    kafka: Kafka,
    health: Health,
    clock: Clock,
    after_commit: Callable[[], None],
    limits: StreamLimits | None = None,
) -> Stream:
    """The service's one consumer, to be run. `prepare`: makes what a batch needs, in transactions of its own."""

    async def absorb(batch: Sequence[Touchpoint], work: Work) -> None:
        await prepare(batch)  # first: what the batch locks from here on, others may be waiting for
        await profiles.absorb(batch, work)

    return Stream(
        service=SERVICE,
        routes=(
            Route(topics.TOUCHPOINTS, absorb, once=True),
            Route(topics.SCORES, profiles.keep_scores),
            Route(topics.dead(SERVICE), dead_letter_queue.keep),
        ),
        settings=settings,
        limits=limits or StreamLimits(),
        database=database,
        dead=kafka.log(topics.dead(SERVICE)),
        health=health,
        clock=clock,
        after_commit=after_commit,
    )
