"""Watching a consumer: its lag is shown, tools see its offsets, old events are forgotten, sticking is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import text

from shared import ledger
from shared.clock import system_clock
from shared.health import Health
from shared.kafka import admin, answers, connection
from shared.watch import Progress, Stuck, Watch
from tests.builders import touchpoint
from tests.integration.counting import QUICK, Counting, Handler, counting, running
from tests.servers import Servers, started_servers
from tests.waiting import PATIENCE, in_time, until

WATCHFUL = replace(QUICK, stuck=2.0)
"""Looks every half second."""


@pytest.fixture
async def service(servers: Servers) -> AsyncIterator[Counting]:
    async with counting(servers, partitions=1) as service:
        yield service


async def _post(service: Counting, count: int) -> None:
    await service.post(*[touchpoint(id=f"m-{number}", received_at=system_clock()) for number in range(count)])


async def test_what_waits_is_shown_in_records_and_in_seconds(service: Counting) -> None:
    go_on = asyncio.Event()
    await _post(service, 10)
    async with running(service.stream(Handler(during=go_on.wait), limits=WATCHFUL)):

        async def shown() -> bool:
            return service.metric("temas_stream_lag_records") == 10

        async def gone() -> bool:
            return service.metric("temas_stream_lag_records") == service.metric("temas_stream_lag_seconds") == 0

        await until(shown)
        go_on.set()
        await until(gone)
        await until(service.applied)


async def test_tools_see_in_kafka_how_far_it_is(service: Counting) -> None:
    await _post(service, 10)
    partition = TopicPartition(service.settings.prefix + service.topic.name, 0)

    async def committed() -> bool:
        async with admin(service.settings) as client:
            offsets = await client.list_consumer_group_offsets(service.settings.prefix + service.name)
        return partition in offsets and offsets[partition].offset == 10

    async with running(service.stream(limits=WATCHFUL)):
        await until(committed)


async def test_the_lag_of_a_partition_that_is_no_longer_ours_is_not_shown(service: Counting) -> None:
    await _post(service, 10)

    async def shown() -> bool:
        return service.has_metric("temas_stream_lag_records")

    async def hidden() -> bool:
        return not service.has_metric("temas_stream_lag_records")

    async with running(service.stream(limits=WATCHFUL)):
        await until(shown)
        async with admin(service.settings) as client:
            await client.delete_topics([service.settings.prefix + service.topic.name])
        await until(hidden)


async def test_a_consumer_that_sticks_though_the_servers_answer_ends(service: Counting) -> None:
    await _post(service, 10)
    stream = service.stream(Handler(during=asyncio.Event().wait), limits=WATCHFUL)
    with pytest.raises(Stuck, match="10 records wait"):
        await in_time(stream.run())


async def test_a_client_that_alone_gets_no_answer_is_given_up(service: Counting) -> None:
    """As seen with aiokafka after a broker's death: the task that fetches metadata had ended, and all waited for it."""
    watch = _watch(service, patience=PATIENCE)
    async with _consumer(service) as consumer:
        watching = asyncio.create_task(watch.run(consumer))
        await asyncio.sleep(1)
        consumer._client._sync_task.cancel()
        consumer._client.force_metadata_update()
        with pytest.raises(Stuck, match="Kafka answers others"):
            await in_time(watching)


@pytest.mark.servers
async def test_a_kafka_that_answers_nobody_is_waited_for() -> None:
    async with started_servers() as servers, counting(servers, partitions=1) as service, _consumer(service) as consumer:
        watch = _watch(service, patience=1)
        watching = asyncio.create_task(watch.run(consumer))
        servers.kafka.pause()
        await asyncio.sleep(4 * WATCHFUL.stuck)
        assert not watching.done()
        watch.stuck = PATIENCE  # how fast the consumer finds its way back is the machine's affair
        servers.kafka.resume()
        paused_until = asyncio.get_running_loop().time()

        async def looked() -> bool:
            assert await answers(service.settings, within=PATIENCE)
            return watch.answered_at > paused_until

        await until(looked)
        assert not watching.done()
        watching.cancel()


def _watch(service: Counting, patience: float) -> Watch:
    """A watch over the service's consumer that gives a new client `patience` seconds to be answered by Kafka."""

    async def nothing_to_forget() -> bool:
        return False

    async def nothing_stored() -> dict[tuple[str, int], int]:
        return {}

    return Watch(
        consumer_name=service.name,
        prefix=service.settings.prefix,
        progress=Progress(),
        pulse=Health().pulse("watch"),
        clock=system_clock,
        stuck=WATCHFUL.stuck,
        answers=lambda: answers(service.settings, within=patience),
        stored=nothing_stored,
        forget=nothing_to_forget,
    )


@asynccontextmanager
async def _consumer(service: Counting) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the service's one partition that never reads."""
    consumer = AIOKafkaConsumer(**connection(service.settings), enable_auto_commit=False, group_id=f"{service.name}-w")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(service.settings.prefix + service.topic.name, 0)])
        yield consumer
    finally:
        await consumer.stop()


async def test_old_events_are_forgotten_bit_by_bit_and_young_ones_are_not(service: Counting) -> None:
    async with service.database.begin() as work:
        for age, count in ((50, 25), (1, 5)):
            await ledger.remember(
                work, [f"{age}-{number}".encode() for number in range(count)], system_clock() - timedelta(days=age)
            )
    before = system_clock() - timedelta(days=40)
    rounds = [await _forget(service, before, most=10) for _ in range(4)]
    assert rounds == [(True, 20), (True, 10), (False, 5), (False, 5)]


async def _forget(service: Counting, before: datetime, *, most: int) -> tuple[bool, int]:
    async with service.database.begin() as work:
        more = await ledger.forget(work, before, most=most)
        return more, (await work.execute(text("SELECT count(*) FROM event_seen"))).scalar_one()


async def test_a_running_consumer_forgets_by_itself(service: Counting) -> None:
    long_ago = system_clock() - timedelta(days=100)
    async with service.database.begin() as work:
        await ledger.remember(work, [b"old"], long_ago)

    async def forgotten() -> bool:
        async with service.database.begin() as work:
            return (await work.execute(text("SELECT 1 FROM event_seen"))).first() is None

    async with running(service.stream(limits=WATCHFUL)):
        await until(forgotten)
