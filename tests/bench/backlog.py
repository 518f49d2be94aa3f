"""How far the services are behind the log, seen from outside: Kafka's ends against the offsets in PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.topics import TOPICS
from tests.bench.stack import BenchFailed, Stack

CONSUMERS = ("profile", "scoring", "personalize")
GLANCE = 0.1
STILL = 1.0
"""Seconds without any movement after which nothing more is to come: publishers look every 0.2 s."""

OFFSETS = "SELECT topic, partition, next_offset FROM {schema}.stream_offset"


class Look(NamedTuple):
    """One look: records that wait for some consumer, and everybody's position, to see whether anything moves."""

    waiting: int
    positions: tuple[int, ...]


class Backlog:
    def __init__(self, consumer: AIOKafkaConsumer, databases: Mapping[str, asyncpg.Connection]) -> None:
        self.consumer = consumer
        self.databases = databases
        self.partitions = [TopicPartition(topic.name, number) for topic in TOPICS for number in range(topic.partitions)]

    @classmethod
    @asynccontextmanager
    async def watch(cls, stack: Stack) -> AsyncIterator[Backlog]:
        """Connections to look through, while the block lasts."""
        told = stack.told
        async with AsyncExitStack() as closing:
            consumer = AIOKafkaConsumer(bootstrap_servers=told["TEMAS_KAFKA_BOOTSTRAP"])
            await consumer.start()
            closing.push_async_callback(consumer.stop)
            databases = {}
            for service in CONSUMERS:
                databases[service] = await asyncpg.connect(told[f"TEMAS_{service.upper()}_DATABASE_URL"])
                closing.push_async_callback(databases[service].close)
            yield cls(consumer, databases)

    async def look(self) -> Look:
        ends: Mapping[TopicPartition, int] = await self.consumer.end_offsets(self.partitions)
        waiting, positions = 0, list(ends.values())
        for service, database in self.databases.items():
            for row in await database.fetch(OFFSETS.format(schema=service)):
                positions.append(row["next_offset"])
                waiting += ends.get(TopicPartition(row["topic"], row["partition"]), 0) - row["next_offset"]
        return Look(waiting, tuple(positions))

    async def worked_off(self, within: float) -> float:
        """Return once nothing waits and nothing moves. Gives the moment of the last movement (perf_counter)."""
        until = time.perf_counter() + within
        last, moved = await self.look(), time.perf_counter()
        while last.waiting or time.perf_counter() - moved < STILL:
            await asyncio.sleep(GLANCE)
            look = await self.look()
            if look.positions != last.positions:
                moved = time.perf_counter()
            last = look
            if time.perf_counter() > until:
                raise BenchFailed(f"{last.waiting:,} records still wait after {within:.0f} s")
        return moved
