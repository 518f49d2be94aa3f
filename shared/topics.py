"""The topics: what each carries, who gives it, how it is partitioned and kept.

Topics are created by name before any service starts (`python -m services.<name> migrate` creates those that the
service gives). A producer of aiokafka whose topic is missing waits for ever, so a service that misses one at its
start says so and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared import events
from shared.errors import TopicsMissing

DAY = 86_400_000
"""Milliseconds."""

COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.2"}

APPEARS_WITHIN = 30.0
"""Seconds until a topic that was created is known to the brokers; mostly it is milliseconds."""

LOG_RETENTION_DAYS = 30
"""How long the log of record is kept. Consumers remember the events they have seen for longer than that."""


@dataclass(frozen=True)
class Topic:
    """A topic's name, the service that gives it, the one event type it carries, and how Kafka keeps it."""

    name: str
    giver: str
    event: type[events.CloudEvent]
    partitions: int = 4
    config: Mapping[str, str] = field(default_factory=dict)


def _kept(days: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * DAY)}


TOUCHPOINTS = Topic("touchpoints", "ingest", events.Touchpoint, config=_kept(LOG_RETENTION_DAYS))
REJECTED = Topic("touchpoints.rejected", "ingest", events.Rejected, config=_kept(30))
IDENTITIES = Topic("identities", "profile", events.Identified, config=COMPACTED)
PROFILES = Topic("profiles", "profile", events.Profiled, config=COMPACTED)
SIGNALS = Topic("signals", "profile", events.Signalled, config=_kept(30))
SCORES = Topic("scores", "scoring", events.Scored, config=COMPACTED)
KEYS = Topic("keys", "ingest", events.Keyed, partitions=1, config=COMPACTED)
DECISIONS = Topic("decisions", "personalize", events.Decided, config=_kept(90))


def dead(service: str) -> Topic:
    """Where `service` puts what it could not process."""
    return Topic(f"{service}.dead", service, events.DeadLetter, partitions=1, config=_kept(90))


TOPICS = (
    TOUCHPOINTS, REJECTED, IDENTITIES, PROFILES, SIGNALS, SCORES, DECISIONS, KEYS,
    dead("ingest"), dead("profile"), dead("scoring"), dead("personalize"),
)  # fmt: skip


def given_by(service: str) -> tuple[Topic, ...]:
    """The topics that `service` creates and writes."""
    return tuple(topic for topic in TOPICS if topic.giver == service)


async def create(admin: AIOKafkaAdminClient, wanted: Iterable[Topic], *, prefix: str, replication: int) -> None:
    """Create what is missing of `wanted`, and return when all of it is there to be used.

    What exists is left as it is. Raises KafkaError where Kafka refuses, TimeoutError where it agrees and does nothing.
    """
    wanted = tuple(wanted)
    for topic in wanted:
        new = NewTopic(prefix + topic.name, topic.partitions, replication, topic_configs=dict(topic.config))
        try:
            answer = await admin.create_topics([new])
        except TopicAlreadyExistsError:
            continue
        for _, code, message in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(message)
    # The controller has answered; the brokers hear of it a moment later.
    async with asyncio.timeout(APPEARS_WITHIN):
        while await _missing(admin, wanted, prefix):  # noqa: ASYNC110 - Kafka tells nobody, one has to ask
            await asyncio.sleep(0.05)


async def require(admin: AIOKafkaAdminClient, wanted: Iterable[Topic], *, prefix: str) -> None:
    """Return when all of `wanted` exist. Raises TopicsMissing, which names them and what to type."""
    if missing := await _missing(admin, wanted, prefix):
        names = ", ".join(prefix + topic.name for topic in missing)
        givers = " and ".join(sorted({f"python -m services.{topic.giver} migrate" for topic in missing}))
        raise TopicsMissing(f"Kafka has no topic {names}: run {givers}")


async def _missing(admin: AIOKafkaAdminClient, wanted: Iterable[Topic], prefix: str) -> list[Topic]:
    there = set(await admin.list_topics())
    return [topic for topic in wanted if prefix + topic.name not in there]
