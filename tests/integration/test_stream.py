"""The one consumer algorithm on real servers: once, whoever dies, and whoever else believes to be in charge."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import text

from shared.events import encode
from shared.kafka import admin
from shared.stream import Slice, Stream
from tests.integration.counting import QUICK, Counting, Handler, contacts, counting, oracle, running
from tests.servers import Servers
from tests.waiting import PATIENCE, in_time, until


@pytest.fixture
async def service(servers: Servers) -> AsyncIterator[Counting]:
    async with counting(servers) as service:
        yield service


@pytest.fixture
async def narrow(servers: Servers) -> AsyncIterator[Counting]:
    """With one partition: all that waits is one batch."""
    async with counting(servers, partitions=1) as service:
        yield service


# --- exactly once ----------------------------------------------------------------------------------------------------


async def test_every_event_counts_once_however_often_it_was_sent(service: Counting) -> None:
    events = contacts(200)
    sent = events * 5
    random.Random(1).shuffle(sent)
    await service.post(*sent[:300])
    async with running(service.stream()):
        for start in range(300, 1_000, 100):
            await service.post(*sent[start : start + 100])
        await until(service.applied)
    assert await service.tally() == oracle(events_in := await service.log())
    assert sum((await service.tally()).values()) == 200
    assert len(events_in) == 1_000
    assert service.metric("temas_stream_applied_total") == 200
    assert service.metric("temas_stream_duplicates_total") == 800


async def test_the_same_ids_a_hundred_times_shuffled_under_other_keys_count_once(service: Counting) -> None:
    """So they come on other partitions, too, and two transactions may have the same event in hand."""
    events = contacts(40)
    sent = [(f"key-{time}", encode(each)) for each in events for time in range(100)]
    random.Random(1).shuffle(sent)
    async with running(service.stream(), service.stream()):
        for start in range(0, len(sent), 250):
            some = sent[start : start + 250]
            await service.append([value for _, value in some], [key for key, _ in some])
        await until(service.applied)
    log = await service.log()
    assert {record.partition for record in log if msgspec.json.decode(record.value)["id"] == "m-0"} == {0, 1}
    assert await service.tally() == oracle(log)
    assert sum((await service.tally()).values()) == 40


async def test_two_sources_may_use_the_same_ids(service: Counting) -> None:
    await service.post(*contacts(10, source="web"), *contacts(10, source="server"))
    async with running(service.stream()):
        await until(service.applied)
    assert sum((await service.tally()).values()) == 20


@pytest.mark.parametrize("once", [True, False], ids=["deduplicated", "fenced only"])
async def test_two_consumers_that_both_own_everything_apply_it_once(service: Counting, once: bool) -> None:
    async with running(service.stream(once=once), service.stream(once=once, zombie=True)):
        for start in range(0, 3_000, 100):
            await service.post(*contacts(100, first=start), *contacts(20, first=max(0, start - 50)))
        await until(lambda: _met(service))  # else nothing was tested
        await until(service.applied)
    assert await service.tally() == oracle(await service.log(), once=once)


async def _met(service: Counting) -> bool:
    """Tell whether one has found the other to be ahead; while not, there is something more to fight for."""
    await service.post(*contacts(100, first=time.time_ns()))
    return service.metric("temas_stream_fenced_total") > 0


async def test_a_consumer_that_slept_through_its_replacement_harms_nobody(narrow: Counting) -> None:
    """It falls asleep in the middle of a transaction, loses its connection, and wakes up when all is done."""
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def sleep() -> None:
        asleep.set()
        await awake.wait()

    await narrow.post(*contacts(100))
    sleeper = narrow.stream(Handler(during=sleep), once=False)
    async with running(sleeper):
        await in_time(asleep.wait())
        async with running(narrow.stream(once=False, zombie=True)):
            await _cut_off_whoever_sleeps(narrow)
            await until(narrow.applied)
            awake.set()
            await narrow.post(*contacts(50, first=100))
            await until(narrow.applied)
            await until(lambda: _is_at(sleeper, 150))
    assert await narrow.tally() == oracle(await narrow.log(), once=False)


async def _cut_off_whoever_sleeps(service: Counting) -> None:
    """Do what PostgreSQL does by itself to a transaction that does nothing for a minute."""
    async with service.database.begin() as work:
        cut = await work.execute(
            text("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'temas ' || :name AND state = 'idle in transaction'
            """),
            {"name": service.name},
        )
        assert len(cut.all()) == 1


async def _is_at(stream: Stream, offset: int) -> bool:
    return set(stream.progress.expected.values()) == {offset}


class Hesitant(Stream):
    """Stops for a while when it has records in hand, before it touches the database."""

    reader: AIOKafkaConsumer
    in_hand: asyncio.Event
    go_on: asyncio.Event

    async def seek(self, consumer: AIOKafkaConsumer) -> None:
        self.reader = consumer
        await super().seek(consumer)

    async def _commit(self, batch: Sequence[Slice]) -> tuple[int, int]:
        self.in_hand.set()
        await self.go_on.wait()
        return await super()._commit(batch)


async def test_what_was_in_hand_during_a_rebalance_is_not_applied_on_top_of_what_others_did(narrow: Counting) -> None:
    """Others apply the first 60 of 100 records in hand, and then we are told so: the fence must be the old one."""
    await narrow.post(*contacts(100))
    hesitant = narrow.stream(kind=Hesitant, once=False)
    assert isinstance(hesitant, Hesitant)
    hesitant.in_hand, hesitant.go_on = asyncio.Event(), asyncio.Event()
    async with running(hesitant):
        await in_time(hesitant.in_hand.wait())
        tasks: list[asyncio.Task[None]] = []
        other = narrow.stream(
            once=False, zombie=True, limits=replace(QUICK, batch=60), after_commit=lambda: _cancel(tasks)
        )
        tasks.append(asyncio.create_task(other.run()))
        await asyncio.wait(tasks, timeout=PATIENCE)
        assert sum((await narrow.tally()).values()) == 60
        await hesitant.seek(hesitant.reader)  # as after a rebalance
        hesitant.go_on.set()
        await until(narrow.applied)
    assert await narrow.tally() == oracle(await narrow.log(), once=False)


def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


async def test_members_may_come_and_go_all_the_time(service: Counting) -> None:
    enough = asyncio.Event()

    async def churn() -> None:
        while not enough.is_set():
            async with running(service.stream()):
                await asyncio.sleep(0.7)

    async with running(service.stream()):
        churning = [asyncio.create_task(churn()) for _ in range(2)]
        for start in range(0, 2_000, 50):
            await service.post(*contacts(50, first=start))
            await asyncio.sleep(0.1)
        enough.set()
        await asyncio.gather(*churning)
        await until(service.applied)
    assert await service.tally() == oracle(await service.log())
    assert sum((await service.tally()).values()) == 2_000


# --- death -----------------------------------------------------------------------------------------------------------


async def test_death_between_the_databases_commit_and_kafkas(narrow: Counting) -> None:
    await narrow.post(*contacts(500))
    tasks: list[asyncio.Task[None]] = []
    tasks.append(asyncio.create_task(narrow.stream(once=False, after_commit=lambda: _cancel(tasks)).run()))
    await asyncio.wait(tasks, timeout=PATIENCE)
    assert tasks[0].cancelled()
    assert sum((await narrow.tally()).values()) == 500
    assert await _committed(narrow) is None  # Kafka never heard of it
    async with running(narrow.stream(once=False)):
        await narrow.post(*contacts(10, first=500))
        await until(narrow.applied)
    assert await narrow.tally() == oracle(await narrow.log(), once=False)


async def test_death_in_the_middle_of_a_transaction_leaves_nothing(narrow: Counting) -> None:
    await narrow.post(*contacts(500))
    tasks: list[asyncio.Task[None]] = []

    async def die() -> None:
        tasks[0].cancel()
        await asyncio.Event().wait()

    tasks.append(asyncio.create_task(narrow.stream(Handler(during=die), once=False).run()))
    await asyncio.wait(tasks, timeout=PATIENCE)
    assert await narrow.tally() == {}
    async with running(narrow.stream(once=False)):
        await until(narrow.applied)
    assert await narrow.tally() == oracle(await narrow.log(), once=False)


@pytest.mark.parametrize("more", [0, 1], ids=["nothing new comes", "something new comes"])
async def test_a_database_restored_to_the_past_is_brought_up_to_date_again(narrow: Counting, more: int) -> None:
    tables = ("stream_offset", "event_seen", "tally")
    await narrow.post(*contacts(100))
    async with running(narrow.stream(limits=replace(QUICK, stuck=2.0))):
        await until(narrow.applied)
        await _run(narrow, *(f"CREATE TABLE {table}_copy AS SELECT * FROM {table}" for table in tables))
        await narrow.post(*contacts(100, first=50))
        await until(narrow.applied)
        await _run(
            narrow,
            "TRUNCATE " + ", ".join(tables),
            *(f"INSERT INTO {table} SELECT * FROM {table}_copy" for table in tables),
        )
        await narrow.post(*contacts(more, first=1_000))
        await until(narrow.applied)
    assert await narrow.tally() == oracle(await narrow.log())
    assert sum((await narrow.tally()).values()) == 150 + more


async def _run(service: Counting, *statements: str) -> None:
    async with service.database.begin() as work:
        for statement in statements:
            await work.execute(text(statement))


async def _committed(service: Counting) -> int | None:
    """Give what Kafka believes that the service's group has read of its one partition."""
    async with admin(service.settings) as client:
        offsets = await client.list_consumer_group_offsets(service.settings.prefix + service.name)
    found = offsets.get(TopicPartition(service.settings.prefix + service.topic.name, 0))
    return None if found is None else found.offset
