"""Keys, as every service knows them that takes secret keys: the one of its settings, and those that ingest made.

Ingest owns keys and tells them on a compacted topic, signed; their text is nowhere in it. A service reads that topic
from its beginning, without a group, and follows it. No request waits for it: what was read last holds while Kafka is
away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from pydantic import SecretStr

from shared import metrics, topics
from shared.clock import Clock
from shared.dead_letters import DeadLetterLimit, DeadLetters
from shared.errors import Forbidden, LogUnavailable, Unauthorized, Unavailable
from shared.events import NamedKey
from shared.health import Health
from shared.kafka import Log, consumer
from shared.key_records import KeyRecords, KeySignatures
from shared.scopes import SCOPES, Scope, Service, digest, opens
from shared.settings import KafkaSettings
from shared.tasks import library_call

log = structlog.get_logger(__name__)

SETTINGS_KEY = "settings:secret"
"""The id of the key that settings give, in every audit."""

LOOK_EVERY = 1.0
"""Seconds between two questions to Kafka whether everything has been read. What comes meanwhile is learned at once."""

PATIENCE = 10.0
"""Seconds that Kafka may take for an answer. After that the reader begins anew, with a connection of its own."""

PAUSE = 1.0
"""Seconds until it does."""

NEVER = datetime.max.replace(tzinfo=UTC)

Names = tuple[str, ...] | None

Fetched = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class Keyring:
    """The keys that a process knows. `complete` once it has read all that there were at some moment."""

    def __init__(self, secret: SecretStr, clock: Clock, service: Service) -> None:
        self.clock = clock
        self.service = service
        self.complete = False
        self.given = NamedKey(
            id=SETTINGS_KEY, source="server", digest=digest(secret.get_secret_value()).hex(), scopes=SCOPES
        )
        self.made: dict[str, NamedKey] = {}

    def learn(self, key: NamedKey) -> None:
        """Take in what was told of a key. All that ever changes is that it ends earlier, or opens less.

        So it makes no difference in which order, or how often, that is read: an older record that comes again, because
        somebody has kept it, gives nothing back.
        """
        self.made[key.digest] = narrower(self.made.get(key.digest, key), key)

    def caller(self, text: str | None, scope: Scope) -> NamedKey:
        """The key with this text, which may do what needs `scope`. Raises Unauthorized, Forbidden and Unavailable."""
        if text is None:
            raise Unauthorized("this needs a secret key: as HTTP Basic user name, or as Bearer token")
        found = digest(text).hex()
        key = self.given if found == self.given.digest else self.made.get(found)
        if key is None and not self.complete:
            raise Unavailable("keys have not been read yet: send this again in a moment")
        if key is None or not key.holds(self.clock()):
            raise Forbidden("this key is not known, or has ended: use a secret key that holds")
        if key.services is not None and self.service not in key.services:
            raise Forbidden(f"this key is not for {self.service}: it was narrowed to {', '.join(key.services)}")
        if key.sources is not None:
            raise Forbidden(f"this key is for sources of ingest, and not for {self.service}")
        if not opens(key.scopes, scope):
            raise Forbidden(f"this key may not do that: use one whose scopes have {scope!r}")
        return key


def narrower(one: NamedKey, other: NamedKey) -> NamedKey:
    """The key that opens what both open, until the earlier end. `other` in all else."""
    return msgspec.structs.replace(
        other,
        scopes=tuple(scope for scope in other.scopes if scope in one.scopes),
        ends_at=min(one.ends_at or NEVER, other.ends_at or NEVER) if one.ends_at or other.ends_at else None,
        services=_both(one.services, other.services),
        sources=_both(one.sources, other.sources),
    )


def _both(some: Names, others: Names) -> Names:
    """The names in both; None means all there are."""
    if some is None or others is None:
        return others if some is None else some
    return tuple(name for name in others if name in some)


class NotOfIngest(Exception):
    """A record of the topic that ingest has not written, or not so that it can be read."""


class KeyReader:
    """Fills a keyring from the topic, and keeps it new."""

    def __init__(
        self,
        *,
        service: str,
        settings: KafkaSettings,
        signatures: KeySignatures,
        keyring: Keyring,
        dead: Log | None = None,
        health: Health,
    ) -> None:
        """`dead`: where records go that ingest has not written, so that somebody can look at them; None: nowhere."""
        self.settings = settings
        self.topic = settings.prefix + topics.KEYS.name
        self.keyring = keyring
        self.read_at = metrics.KEYS_READ.labels(service)
        self.records = KeyRecords(service, signatures)
        self.dead_letters = dead and DeadLetters(service, dead, DeadLetterLimit(), keyring.clock)
        self.part = health.part("keys")
        self.part.fail("keys have not been read yet")
        self.pulse = health.pulse("keys")

    async def run(self) -> None:
        """Until cancelled. While Kafka is away, try again and again."""
        self.read_at.set_to_current_time()
        while True:
            self.pulse.beat()
            try:
                await self._follow()
            except (KafkaError, LogUnavailable, OSError) as error:  # a time-out is an OSError
                log.warning("keys can't be read; what was read last holds", error=repr(error)[:300])
            await asyncio.sleep(PAUSE)

    async def _follow(self) -> None:
        async with consumer(self.settings, self.topic, within=PATIENCE, auto_offset_reset="earliest") as reader:
            while True:
                await self._catch_up(reader)
                self.records.report()
                self.keyring.complete = True
                self.part.beat()  # from now on: an absent Kafka takes no key away
                self.read_at.set_to_current_time()
                await self._put_aside()
                self._learn(await library_call(reader.getmany(timeout_ms=int(1000 * LOOK_EVERY)), within=PATIENCE))

    async def _catch_up(self, reader: AIOKafkaConsumer) -> None:
        """Read on to where the topic ends now. Raises KafkaError and TimeoutError."""
        partitions = reader.assignment()
        if not partitions:
            raise UnknownTopicOrPartitionError(f"there is no topic {self.topic}")
        ends = await library_call(reader.end_offsets(partitions), within=PATIENCE)
        while left := await library_call(_unread(reader, ends), within=PATIENCE):
            self._learn(await library_call(_some(reader, left), within=PATIENCE))

    def _learn(self, fetched: Fetched) -> None:
        self.pulse.beat()
        for key in self.records.read(_records(fetched)):
            self.keyring.learn(key)

    async def _put_aside(self) -> None:
        """Keep the records that were reported as dead letters. Raises LogUnavailable: they stay reported."""
        while self.dead_letters and self.records.reported:
            doubt, record = self.records.reported[-1]
            await self.dead_letters.put(record, topics.KEYS.name, NotOfIngest(doubt))
            self.records.reported.pop()


async def _unread(reader: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> list[TopicPartition]:
    return [partition for partition, end in ends.items() if await reader.position(partition) < end]


async def _some(reader: AIOKafkaConsumer, left: Sequence[TopicPartition]) -> Fetched:
    """The next records of those partitions, however long it takes until there are any."""
    fetched: Fetched = {}
    while not fetched:
        fetched = await reader.getmany(*left, timeout_ms=200)
    return fetched


def _records(fetched: Fetched) -> Iterable[ConsumerRecord]:
    """Those with a value."""
    return (record for records in fetched.values() for record in records if record.value is not None)
