"""A service small enough to be checked by eye: it counts each person's touchpoints. The oracle counts them in the log.

It has what every service has: a schema, topics, handlers, the shared consumer. Each test gets one of its own, under a
name of its own, so that its metrics, offsets and topics begin at nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from prometheus_client import REGISTRY
from pydantic import SecretStr
from sqlalchemy import text

from shared import ledger, topics
from shared.clock import Clock, system_clock
from shared.db import Database, Work
from shared.errors import Invalid
from shared.events import DeadLetter, Touchpoint, Undelivered, encode
from shared.health import Health
from shared.kafka import Kafka, Position, admin, connection
from shared.settings import DatabaseSettings, KafkaSettings
from shared.stream import Route, Stream, StreamLimits
from shared.topics import Topic
from tests.builders import touchpoint
from tests.servers import Servers

POISON = "Poison"
"""The name of touchpoints that the handler refuses."""

TALLY = "CREATE TABLE tally (person text PRIMARY KEY, contacts bigint NOT NULL)"
ADD = text("""
    INSERT INTO tally (person, contacts) SELECT unnest(CAST(:people AS text[])), unnest(CAST(:contacts AS bigint[]))
    ON CONFLICT (person) DO UPDATE SET contacts = tally.contacts + excluded.contacts
""")

QUICK = StreamLimits(wait=50, longest_pause=0.5)


@dataclass
class Handler:
    """Counts into the table. `batches` are the sizes it was given; `during` is awaited in the middle of its work."""

    refuses: str | None = POISON

    batches: list[int] = field(default_factory=list)
    during: Callable[[], Awaitable[object]] | None = None

    async def count(self, touchpoints: Sequence[Touchpoint], work: Work) -> None:
        self.batches.append(len(touchpoints))
        if any(touchpoint.data.name == self.refuses for touchpoint in touchpoints):
            raise Invalid("nobody does that")
        counts = sorted(Counter(str(touchpoint.owner) for touchpoint in touchpoints).items())
        people, contacts = zip(*counts, strict=True)
        await work.execute(ADD, {"people": people, "contacts": contacts})
        if self.during:
            await self.during()


@dataclass(frozen=True)
class Counting:
    """One such service on real servers, with its own topic, schema and metrics."""

    name: str
    settings: KafkaSettings
    kafka: Kafka
    database: Database
    topic: Topic
    reader: AIOKafkaConsumer

    def stream(
        self,
        handler: Handler | None = None,
        *,
        limits: StreamLimits = QUICK,
        once: bool = True,
        clock: Clock = system_clock,
        zombie: bool = False,
        after_commit: Callable[[], None] = lambda: None,
        kind: type[Stream] = Stream,
    ) -> Stream:
        """A consumer of this service. A `zombie` is assigned every partition, whatever the others are assigned.

        (It is in another consumer group, for the same topics and the same ledger: of prefix and topic name only the
        sum names a topic, and of prefix and service the sum names the group.)
        """
        settings, topic = self.settings, self.topic
        if zombie:
            settings = settings.model_copy(update={"prefix": settings.prefix + topic.name[:5]})
            topic = replace(topic, name=topic.name[5:])
        return kind(
            service=self.name,
            routes=[Route(topic, (handler or Handler()).count, once=once)],
            settings=settings,
            limits=limits,
            database=self.database,
            dead=self.kafka.log(topics.dead(self.name)),
            health=Health(),
            clock=clock,
            after_commit=after_commit,
        )

    async def post(self, *touchpoints: Touchpoint) -> list[Position]:
        """Append to the log, as ingest does."""
        return await self.append([encode(each) for each in touchpoints], [str(each.owner) for each in touchpoints])

    async def append(self, values: Sequence[bytes], keys: Sequence[str]) -> list[Position]:
        return await self.kafka.log(self.topic).append([(k.encode(), v) for k, v in zip(keys, values, strict=True)])

    async def tally(self) -> dict[str, int]:
        """What the service has counted."""
        async with self.database.begin() as work:
            return {row.person: row.contacts for row in await work.execute(text("SELECT person, contacts FROM tally"))}

    async def applied(self) -> bool:
        """Whether all that stands in the log now was applied or put aside."""
        ends = await self.reader.end_offsets(_partitions(self.settings, self.topic))
        reach = {partition.partition: end - 1 for partition, end in ends.items() if end}
        async with self.database.begin() as work:
            applied = await ledger.positions(work, self.name)
        topic = self.settings.prefix + self.topic.name
        return all(applied.get((topic, partition), 0) > offset for partition, offset in reach.items())

    async def log(self) -> list[ConsumerRecord]:
        return await everything(self.settings, self.topic)

    async def dead(self) -> list[Undelivered]:
        """The dead letters, each once: the same record put aside twice is the same letter."""
        records = await everything(self.settings, topics.dead(self.name))
        letters = [msgspec.json.decode(record.value, type=DeadLetter) for record in records]
        return [letter.data for letter in {letter.id: letter for letter in letters}.values()]

    def metric(self, name: str) -> float:
        """A metric of this service, summed over its other labels; 0 where it has none."""
        return sum(self._samples(name))

    def has_metric(self, name: str) -> bool:
        return bool(self._samples(name))

    def _samples(self, name: str) -> list[float]:
        return [
            sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == name and sample.labels.get("consumer") == self.name
        ]


def contacts(count: int, *, people: int = 7, first: int = 0, **rest: Any) -> list[Touchpoint]:
    """So many different touchpoints, just received, of some people."""
    return [
        touchpoint(user=f"u-{number % people}", id=f"m-{number}", received_at=system_clock(), **rest)
        for number in range(first, first + count)
    ]


def oracle(records: Iterable[ConsumerRecord], *, once: bool = True) -> dict[str, int]:
    """What the tally must be, from the log alone: each person's touchpoints, by (source, id) where they count once."""
    touchpoints = [msgspec.json.decode(record.value, type=Touchpoint) for record in records]
    if once:
        touchpoints = list({(each.source, each.id): each for each in touchpoints}.values())
    return dict(Counter(str(each.owner) for each in touchpoints))


@asynccontextmanager
async def counting(servers: Servers, *, partitions: int = 2) -> AsyncIterator[Counting]:
    """A new service of this kind, its topics and tables made."""
    name = f"counting_{secrets.token_hex(4)}"
    settings = KafkaSettings(bootstrap=servers.kafka.address, prefix=f"{name}-", deadline=2)
    topic = Topic("touchpoints", name, Touchpoint, partitions=partitions)
    dead = topics.dead(name)
    async with admin(settings) as client:
        await topics.create(client, [topic, dead], prefix=settings.prefix, replication=1)
    where = DatabaseSettings(url=SecretStr(servers.local.url), db_schema=name)
    async with Kafka.open(settings, Health()) as kafka, Database.open(where) as database, _reader(settings) as reader:
        async with database.begin() as work:
            for statement in (f"CREATE SCHEMA {name}", *ledger.TABLES_V1, TALLY):
                await work.execute(text(statement))
        yield Counting(name, settings, kafka, database, topic, reader)


async def stopped(stream: Stream) -> str:
    """Why it stopped for good; empty while it has not."""
    complaint = stream.part.complaint or ""
    return complaint if complaint.startswith("stopped") else ""


@asynccontextmanager
async def running(*streams: Stream) -> AsyncIterator[tuple[asyncio.Task[None], ...]]:
    """The streams at work. One that ended by itself, with an error or without, fails the test."""
    tasks = tuple(asyncio.create_task(stream.run()) for stream in streams)
    try:
        yield tasks
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def everything(settings: KafkaSettings, topic: Topic) -> list[ConsumerRecord]:
    """All records of the topic, read directly, partition by partition."""
    async with _reader(settings) as consumer:
        partitions = _partitions(settings, topic)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
        return sorted(found, key=lambda record: (record.partition, record.offset))


def _partitions(settings: KafkaSettings, topic: Topic) -> list[TopicPartition]:
    return [TopicPartition(settings.prefix + topic.name, number) for number in range(topic.partitions)]


@asynccontextmanager
async def _reader(settings: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**connection(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
