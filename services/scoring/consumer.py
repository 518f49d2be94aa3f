"""Kafka in. What scoring does with each kind of event."""

from __future__ import annotations

from collections.abc import Callable

from services.scoring.service.scores import Scores
from services.scoring.settings import SERVICE
from shared import dead_letter_queue, topics
from shared.clock import Clock
from shared.db import Database
from shared.health import Health
from shared.kafka import Kafka
from shared.settings import KafkaSettings
from shared.stream import Route, Stream, StreamLimits


def stream(
    *,
    settings: KafkaSettings,
    scores: Scores,
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
            Route(topics.TOUCHPOINTS, scores.absorb, once=True),
            Route(topics.IDENTITIES, scores.link),
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
