"""Real PostgreSQL and real Kafka: they start, keep what they were given, and come back from kill -9."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared import topics
from shared.topics import Topic
from tests.servers import Installation, Servers, free, hold
from tests.waiting import PATIENCE

WORDS = ("started", "killed", "started again")


async def write(installation: Installation, topic: Topic, value: str) -> None:
    kafka = installation.kafka
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", request_timeout_ms=60_000) as producer:
        await producer.send_and_wait(kafka.prefix + topic.name, value.encode(), partition=0)


async def written(installation: Installation, topic: Topic, count: int) -> list[str]:
    kafka = installation.kafka
    consumer = AIOKafkaConsumer(
        kafka.prefix + topic.name, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    )
    async with consumer, asyncio.timeout(PATIENCE):
        return [(await consumer.getone()).value.decode() for _ in range(count)]


async def test_what_was_acknowledged_outlives_kill_9_of_both_servers(breakable_servers: Servers) -> None:
    url = breakable_servers.local.url
    async with breakable_servers.installation() as installation:
        await installation.create(topics.TOUCHPOINTS)
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE word (word text)")
        for word in WORDS[:2]:
            await connection.execute("INSERT INTO word VALUES ($1)", word)
            await write(installation, topics.TOUCHPOINTS, word)

        await asyncio.gather(breakable_servers.postgres.kill(), breakable_servers.kafka.kill())
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await asyncpg.connect(url, timeout=2)
        await asyncio.gather(breakable_servers.postgres.start(), breakable_servers.kafka.start())

        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO word VALUES ($1)", WORDS[2])
        await write(installation, topics.TOUCHPOINTS, WORDS[2])
        assert [row["word"] for row in await connection.fetch("SELECT word FROM word")] == list(WORDS)
        assert await written(installation, topics.TOUCHPOINTS, len(WORDS)) == list(WORDS)
        await connection.close()


async def test_both_servers_end_when_they_are_asked_and_start_again(breakable_servers: Servers) -> None:
    await asyncio.gather(breakable_servers.postgres.stop(), breakable_servers.kafka.stop())
    await asyncio.gather(breakable_servers.postgres.start(), breakable_servers.kafka.start())


async def test_a_paused_server_does_not_answer_until_it_is_resumed(breakable_servers: Servers) -> None:
    breakable_servers.postgres.pause()
    with pytest.raises((TimeoutError, OSError)):
        await asyncpg.connect(breakable_servers.local.url, timeout=1)
    breakable_servers.postgres.resume()
    await (await asyncpg.connect(breakable_servers.local.url, timeout=PATIENCE)).close()


async def test_installations_share_nothing(servers: Servers) -> None:
    async with servers.installation() as one, servers.installation() as other:
        await one.create(topics.TOUCHPOINTS)
        await other.create(topics.TOUCHPOINTS)
        await write(one, topics.TOUCHPOINTS, "mine")
        await write(other, topics.TOUCHPOINTS, "yours")
        assert await written(other, topics.TOUCHPOINTS, 1) == ["yours"]
        assert one.name != other.name


async def test_a_role_sees_its_own_schema_and_no_other(servers: Servers) -> None:
    async with servers.installation() as installation:
        url = installation.database("profile").url.get_secret_value()
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE own (id int)")
        assert await connection.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'own'") == "profile"
        assert await connection.fetchval("SHOW statement_timeout") == "30s"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE scoring.theirs (id int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE ROLE another SUPERUSER")
        await connection.close()


def test_a_port_that_a_test_has_chosen_is_chosen_by_no_other() -> None:
    [port] = free(1)
    assert not hold(port)
