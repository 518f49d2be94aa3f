"""Profile from inside: its consumer's and its publisher's work, called by hand, on servers of the bench's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC

from aiokafka import ConsumerRecord, TopicPartition
from sqlalchemy import text

from services.profile.consumer import stream
from services.profile.publisher import ProfilePublisher
from services.profile.service.absorbing import Profiles
from services.profile.service.defined import Definitions
from services.profile.service.defining import Defining
from services.profile.service.filling import Filling
from services.profile.service.publishing import Publications
from services.profile.service.segments import Segments
from services.profile.service.timekeeping import Timekeeping
from services.profile.settings import Settings
from services.profile.upkeep import ComputedFiller, Timekeeper
from shared import topics
from shared.clock import system_clock
from shared.db import Database
from shared.health import Health
from shared.kafka import Kafka
from shared.stream import Slice, Stream
from tests.bench.meter import backends
from tests.profile.service import NEEDED
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY
from tests.servers import Servers

BATCH = 1_000


@dataclass
class Inside:
    """The parts of the service, at hand. `offsets`: where each partition goes on."""

    database: Database
    stream: Stream
    out: ProfilePublisher
    segments: Segments
    defining: Defining
    computed: ComputedFiller
    topic: str
    offsets: list[int]

    async def absorb(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Apply records as if they had just been read, some from each partition."""
        slices = []
        for number, at in enumerate(self.offsets):
            mine = records[number :: len(self.offsets)]
            ours = [_record(self.topic, number, at + index, *record) for index, record in enumerate(mine)]
            slices.append(Slice(TopicPartition(self.topic, number), ours, at))
            self.offsets[number] += len(ours)
        await self.stream.follow(slices)

    async def publish(self) -> int:
        """Publish all that waits; give how many profiles."""
        total = 0
        while count := await self.out.publish():
            total += count
        return total

    async def server(self) -> list[int]:
        """The processes of PostgreSQL."""
        async with self.database.begin() as one, self.database.begin() as other:
            await other.execute(text("SELECT 1"))
            return backends((await one.execute(text("SELECT pg_backend_pid()"))).scalar_one())


@asynccontextmanager
async def inside(servers: Servers, partitions: int = 1) -> AsyncIterator[Inside]:
    """A fresh profile service, with nobody in it. `partitions`: from so many a batch comes."""
    async with servers.installation() as installation:
        await installation.create(*NEEDED)
        await asyncio.sleep(1)  # the broker answers a little before it lists them
        settings = Settings(
            kafka=installation.kafka,
            database=installation.database("profile"),
            secret_key=SECRET_KEY,
            key_signing_secret=KEY_SIGNING_SECRET,
        )
        async with Kafka.open(settings.kafka, Health()) as kafka, Database.open(settings.database) as database:
            profiles = Profiles(limits=settings.limits, zone=UTC, clock=system_clock)
            keeper = Timekeeper(timekeeping=Timekeeping(months=None, clock=system_clock), database=database)
            out = ProfilePublisher(
                publications=Publications(system_clock),
                database=database,
                kafka=kafka,
                batch=settings.publish_batch,
                clock=system_clock,
            )
            consumer = stream(
                settings=settings.kafka,
                profiles=profiles,
                prepare=keeper.prepare,
                database=database,
                kafka=kafka,
                health=Health(),
                clock=system_clock,
                after_commit=lambda: None,
            )
            topic = settings.kafka.prefix + topics.TOUCHPOINTS.name
            async with database.begin() as work:
                for number in range(partitions):
                    await consumer._next(work, TopicPartition(topic, number), 0)
            current = Definitions(UTC)
            filling = Filling(current, system_clock, batch=settings.past_batch, marks=settings.fill_batch)
            yield Inside(
                database=database,
                stream=consumer,
                out=out,
                segments=Segments(system_clock),
                defining=Defining(current, system_clock),
                computed=ComputedFiller(filling=filling, database=database),
                topic=topic,
                offsets=[0] * partitions,
            )


def _record(topic: str, partition: int, offset: int, key: bytes, value: bytes) -> ConsumerRecord:
    return ConsumerRecord(topic, partition, offset, 0, 0, key, value, None, len(key), len(value), ())
