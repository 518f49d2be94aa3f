"""The one consumer algorithm on real servers: once, whoever dies, and whoever else believes to be in charge."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import RecordsToDelete
from sqlalchemy import text

from shared import topics
from shared.clock import system_clock
from shared.dead_letters import DeadLetterLimit
from shared.events import Touchpoint, encode
from shared.kafka import admin
from shared.stream import Stream
from tests.builders import touchpoint
from tests.integration.counting import POISON, QUICK, Counting, Handler, counting, oracle, running
from tests.servers import Servers
from tests.waiting import until


@pytest.fixture
async def service(servers: Servers) -> AsyncIterator[Counting]:
    async with counting(servers) as service:
        yield service


@pytest.fixture
async def narrow(servers: Servers) -> AsyncIterator[Counting]:
    """With one partition: all that waits is one batch."""
    async with counting(servers, partitions=1) as service:
        yield service


def contacts(count: int, *, people: int = 7, first: int = 0, **rest: Any) -> list[Touchpoint]:
    """So many different touchpoints, just received, of some people."""
    return [
        touchpoint(user=f"u-{number % people}", id=f"m-{number}", received_at=system_clock(), **rest)
        for number in range(first, first + count)
    ]


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
        first = 3_000
        while not service.metric("temas_stream_fenced_total"):  # they have not met yet, and nothing is tested
            await service.post(*contacts(100, first=first))
            first += 100
        await until(service.applied)
    assert await service.tally() == oracle(await service.log(), once=once)


async def test_a_consumer_that_slept_through_its_replacement_harms_nobody(narrow: Counting) -> None:
    """It falls asleep in the middle of a transaction, loses its connection, and wakes up when all is done."""
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def sleep() -> None:
        asleep.set()
        await awake.wait()

    await narrow.post(*contacts(100))
    sleeper = narrow.stream(Handler(during=sleep), once=False)
    async with running(sleeper):
        await asyncio.wait_for(asleep.wait(), 20)
        async with running(narrow.stream(once=False, zombie=True)):
            await _cut_off_whoever_sleeps(narrow)
            await until(narrow.applied)
            awake.set()
            await narrow.post(*contacts(50, first=100))
            await until(narrow.applied)
            await until(lambda: _is_at(sleeper, 150))
    assert await narrow.tally() == oracle(await narrow.log(), once=False)


async def _cut_off_whoever_sleeps(service: Counting) -> None:
    """What PostgreSQL does by itself to a transaction that does nothing for a minute."""
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

    async def _commit(self, partition: TopicPartition, records: Sequence[ConsumerRecord], at: int) -> tuple[int, int]:
        self.in_hand.set()
        await self.go_on.wait()
        return await super()._commit(partition, records, at)


async def test_what_was_in_hand_during_a_rebalance_is_not_applied_on_top_of_what_others_did(narrow: Counting) -> None:
    """Others apply the first 60 of 100 records in hand, and then we are told so: the fence must be the old one."""
    await narrow.post(*contacts(100))
    hesitant = narrow.stream(kind=Hesitant, once=False)
    assert isinstance(hesitant, Hesitant)
    hesitant.in_hand, hesitant.go_on = asyncio.Event(), asyncio.Event()
    async with running(hesitant):
        await asyncio.wait_for(hesitant.in_hand.wait(), 20)
        tasks: list[asyncio.Task[None]] = []
        other = narrow.stream(
            once=False, zombie=True, limits=replace(QUICK, batch=60), after_commit=lambda: _cancel(tasks)
        )
        tasks.append(asyncio.create_task(other.run()))
        await asyncio.wait(tasks, timeout=20)
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
    await asyncio.wait(tasks, timeout=20)
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
        await asyncio.sleep(0)

    tasks.append(asyncio.create_task(narrow.stream(Handler(during=die), once=False).run()))
    await asyncio.wait(tasks, timeout=20)
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
    """What Kafka believes that the service's group has read of its one partition."""
    async with admin(service.settings) as client:
        offsets = await client.list_consumer_group_offsets(service.settings.prefix + service.name)
    found = offsets.get(TopicPartition(service.settings.prefix + service.topic.name, 0))
    return None if found is None else found.offset


# --- poison ----------------------------------------------------------------------------------------------------------

UNREADABLE = b'{"type": "temas.touchpoint.v1", "id": 7'


@pytest.mark.parametrize("place", [0, 500, 999])
@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (UNREADABLE, "Unreadable"),
        (encode(touchpoint(POISON, received_at=system_clock())), "nobody does that"),
        (encode(touchpoint(user="nul\0", received_at=system_clock())), "0x00"),
    ],
    ids=["unreadable", "refused by the handler", "refused by the database"],
)
async def test_of_a_batch_of_1000_with_one_bad_record_999_are_applied(
    narrow: Counting, poison: bytes, reason: str, place: int
) -> None:
    good = [encode(event) for event in contacts(999)]
    await narrow.append([*good[:place], poison, *good[place:]], ["key"] * 1_000)
    async with running(stream := narrow.stream()):
        await until(narrow.applied)
    assert sum((await narrow.tally()).values()) == 999
    [letter] = await narrow.dead()
    assert (letter.value, letter.key, letter.offset, letter.partition) == (poison, b"key", place, 0)
    assert (letter.consumer, letter.topic) == (narrow.name, narrow.settings.prefix + "touchpoints")
    assert reason in letter.reason
    assert narrow.metric("temas_stream_dead_letters_total") == 1
    assert stream.part.complaint is None


async def test_the_batch_was_tried_as_one_and_then_in_halves(narrow: Counting) -> None:
    await narrow.post(*contacts(500), touchpoint(POISON, received_at=system_clock()), *contacts(499, first=500))
    async with running(narrow.stream(handler := Handler())):
        await until(narrow.applied)
    assert handler.batches[0] == 1_000
    assert len(handler.batches) <= 2 * 10 + 1  # two for each halving of a thousand


async def test_too_many_bad_records_stop_the_consumer_which_says_so_and_lives(narrow: Counting) -> None:
    bad = [touchpoint(POISON, id=f"p-{number}", received_at=system_clock()) for number in range(20)]
    await narrow.post(*contacts(10), *bad, *contacts(10, first=10))
    limits = replace(QUICK, dead_letters=DeadLetterLimit(allowed=3), stuck=2)
    async with running(stream := narrow.stream(limits=limits)):
        complaint = await until(lambda: _complaint(stream))
        await asyncio.sleep(3)  # past its deadline: it goes on saying so, and does not end
        assert stream.part.complaint == complaint
    assert complaint.startswith("stopped: 4 of the last 14 records")
    assert f"{narrow.name}.dead" in complaint
    assert narrow.metric("temas_stream_stopped") == 1
    assert [letter.offset for letter in await narrow.dead()] == [10, 11, 12, 13]
    assert sum((await narrow.tally()).values()) == 10  # the log was not drained into the dead letters


async def test_a_consumer_that_was_stopped_goes_on_where_it_was_once_it_is_mended(narrow: Counting) -> None:
    bad = [touchpoint(POISON, id=f"p-{number}", received_at=system_clock()) for number in range(20)]
    await narrow.post(*bad, *contacts(10))
    limits = replace(QUICK, dead_letters=DeadLetterLimit(allowed=3))
    async with running(stream := narrow.stream(limits=limits)):
        await until(lambda: _complaint(stream))
    mended = Handler()
    mended.count = _takes_everything(mended)  # type: ignore[method-assign]
    async with running(narrow.stream(mended)):
        await until(narrow.applied)
    assert narrow.metric("temas_stream_stopped") == 0
    assert len(await narrow.dead()) == 4
    assert sum((await narrow.tally()).values()) == 20 - 4 + 10


def _takes_everything(handler: Handler) -> Callable[..., Any]:
    counting = Handler.count

    async def count(touchpoints: Any, work: Any) -> None:
        await counting(handler, [replace_name(each) for each in touchpoints], work)

    def replace_name(event: Touchpoint) -> Touchpoint:
        return touchpoint("Mended", user=event.data.user_id, anonymous=event.data.anonymous_id, id=event.id)

    return count


async def _complaint(stream: Stream) -> str:
    """Why it stopped for good; empty while it has not."""
    complaint = stream.part.complaint or ""
    return complaint if complaint.startswith("stopped") else ""


# --- what is too old, and what is no longer there --------------------------------------------------------------------


async def test_what_is_older_than_our_memory_is_quarantined_never_guessed(narrow: Counting) -> None:
    long_ago = system_clock() - QUICK.remembered - timedelta(minutes=1)
    old = [touchpoint(user="old", id=f"o-{number}", received_at=long_ago) for number in range(12)]
    await narrow.post(*contacts(30), *old, *contacts(30, first=30))
    limits = replace(QUICK, dead_letters=DeadLetterLimit(allowed=2, share=0))
    async with running(stream := narrow.stream(limits=limits)):
        await until(narrow.applied)
    assert stream.part.complaint is None  # the world's age is no mistake of ours: it does not count towards the limit
    assert sum((await narrow.tally()).values()) == 60
    letters = await narrow.dead()
    assert [letter.value for letter in letters] == [encode(each) for each in old]
    assert all(letter.reason.startswith("TooOld") for letter in letters)
    assert narrow.metric("temas_stream_quarantined_total") == 12
    assert narrow.metric("temas_stream_dead_letters_total") == 0


async def test_every_record_is_accounted_for_in_the_metrics(narrow: Counting) -> None:
    old = touchpoint(user="old", received_at=system_clock() - timedelta(days=400))
    some = contacts(300)
    await narrow.post(*some, *some[:70], old, touchpoint(POISON, received_at=system_clock()))
    async with running(narrow.stream()):
        await until(narrow.applied)
    names = ("applied", "duplicates", "quarantined", "dead_letters")
    counted = [narrow.metric(f"temas_stream_{name}_total") for name in names]
    assert counted == [300, 70, 1, 1]
    assert sum(counted) == len(await narrow.log())


async def test_a_topic_made_anew_stops_the_consumer_instead_of_resetting_it(narrow: Counting) -> None:
    await narrow.post(*contacts(50))
    async with running(narrow.stream()):
        await until(narrow.applied)
    before = await narrow.tally()
    await _make_anew(narrow)
    async with running(stream := narrow.stream()):
        complaint = await until(lambda: _complaint(stream))
    assert "holds the offsets 0 to 0, but 50 is next" in complaint
    assert narrow.metric("temas_stream_stopped") == 1
    assert await narrow.tally() == before


async def test_a_topic_made_anew_under_a_running_consumer_stops_it_too(narrow: Counting) -> None:
    await narrow.post(*contacts(50))
    async with running(stream := narrow.stream()):
        await until(narrow.applied)
        await _make_anew(narrow)
        await until(lambda: _complaint(stream), within=60)
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
        complaint = await until(lambda: _complaint(stream))
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
