"""A log that no longer has what is next to be applied: the consumer stops and says so, and never starts over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from shared import topics
from shared.kafka import admin
from tests.integration.counting import Counting, contacts, counting, running, stopped
from tests.servers import Servers
from tests.waiting import until


@pytest.fixture
async def narrow(servers: Servers) -> AsyncIterator[Counting]:
    """With one partition: all that waits is one batch."""
    async with counting(servers, partitions=1) as service:
        yield service


async def test_a_topic_made_anew_stops_the_consumer_instead_of_resetting_it(narrow: Counting) -> None:
    await narrow.post(*contacts(50))
    async with running(narrow.stream()):
        await until(narrow.applied)
    before = await narrow.tally()
    await _make_anew(narrow)
    async with running(stream := narrow.stream()):
        complaint = await until(lambda: stopped(stream))
    assert "holds the offsets 0 to 0, but 50 is next" in complaint
    assert narrow.metric("temas_stream_stopped") == 1
    assert await narrow.tally() == before


async def test_a_topic_made_anew_under_a_running_consumer_stops_it_too(narrow: Counting) -> None:
    await narrow.post(*contacts(50))
    async with running(stream := narrow.stream()):
        await until(narrow.applied)
        await _make_anew(narrow)
        await until(lambda: stopped(stream))
    assert sum((await narrow.tally()).values()) == 50


async def test_a_log_that_was_cut_before_it_was_read_stops_the_consumer(narrow: Counting) -> None:
    await narrow.post(*contacts(50))
    async with running(narrow.stream()):
        await until(narrow.applied)
    await narrow.post(*contacts(50, first=50))
    async with admin(narrow.settings) as client:
        await client.delete_records(
            {TopicPartition(narrow.settings.prefix + narrow.topic.name, 0): RecordsToDelete(80)}
        )
    async with running(stream := narrow.stream()):
        complaint = await until(lambda: stopped(stream))
    assert "holds the offsets 80 to 100, but 50 is next" in complaint
    assert sum((await narrow.tally()).values()) == 50


async def _make_anew(service: Counting) -> None:
    name = service.settings.prefix + service.topic.name
    async with admin(service.settings) as client:
        await client.delete_topics([name])

        async def gone() -> bool:
            return name not in await client.list_topics()

        await until(gone)
        await topics.create(client, [service.topic], prefix=service.settings.prefix, replication=1)
