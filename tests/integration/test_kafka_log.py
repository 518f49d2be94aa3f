"""Group commit on a real Kafka: positions are true, refusals come at once, and what was acknowledged is in the log."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop
from aiokafka import ConsumerRecord
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from shared import topics
from shared.errors import LogUnavailable, TopicsMissing
from shared.events import CONTENT_TYPE, Touchpoint
from shared.health import Health
from shared.kafka import BATCH_BYTES, Kafka, Log, Position, ProducerEnded, admin, consumer
from shared.settings import KafkaSettings
from shared.topics import Topic
from tests.builders import message_id
from tests.integration.counting import everything
from tests.servers import Servers, started_servers
from tests.waiting import in_time, until

Record = tuple[bytes, bytes]

AIOKAFKAS = 40.0
"""Seconds that aiokafka would wait for an acknowledgement by itself; ours is one."""

TOPIC = Topic("touchpoints", "ingest", Touchpoint, partitions=4)


@dataclass(frozen=True)
class Opened:
    """A topic of a test's own, and the log that appends to it."""

    settings: KafkaSettings
    topic: Topic
    kafka: Kafka
    health: Health

    @property
    def log(self) -> Log:
        return self.kafka.log(self.topic)

    async def everything(self) -> list[ConsumerRecord]:
        return await everything(self.settings, self.topic)


@asynccontextmanager
async def opened(servers: Servers, name: str, **settings: float) -> AsyncIterator[Opened]:
    prefix = message_id(name, time.time_ns()) + "-"
    kafka_settings = KafkaSettings(bootstrap=servers.kafka.address, prefix=prefix).model_copy(update=settings)
    async with admin(kafka_settings) as client:
        await topics.create(client, [TOPIC], prefix=prefix, replication=1)
    health = Health()
    async with Kafka.open(kafka_settings, health) as kafka:
        yield Opened(kafka_settings, TOPIC, kafka, health)


@pytest.fixture
async def here(servers: Servers, request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    async with opened(servers, request.node.name) as here:
        yield here


def records(count: int, *, keys: int = 20, size: int = 100, seed: object = 0) -> list[Record]:
    """So many records, all different, of some keys."""
    chance = random.Random(repr(seed))
    return [
        (b"key-%d" % chance.randrange(keys), b"%s %d" % (str(seed).encode(), n) + bytes(size)) for n in range(count)
    ]


def at(log: Sequence[ConsumerRecord]) -> dict[Position, Record]:
    return {Position(record.partition, record.offset): (record.key, record.value) for record in log}


# --- positions -------------------------------------------------------------------------------------------------------


async def test_each_record_stands_where_its_position_says(here: Opened) -> None:
    calls = [records(count, seed=number) for number, count in enumerate([1, 2, 500, 1, 90, 3_000, 7] * 10)]
    answers = await asyncio.gather(*(here.log.append(call) for call in calls))
    log = at(await here.everything())
    for call, positions in zip(calls, answers, strict=True):
        assert [log[position] for position in positions] == call
    assert len(log) == sum(map(len, calls))


async def test_records_of_one_call_and_one_key_keep_their_order(here: Opened) -> None:
    positions = await here.log.append(sent := records(2_000, keys=3))
    for key in {key for key, _ in sent}:
        of_key = [position for position, (each, _) in zip(positions, sent, strict=True) if each == key]
        assert of_key == sorted(of_key)
        assert len({position.partition for position in of_key}) == 1


async def test_a_call_larger_than_a_batch_is_cut_and_its_positions_are_true(here: Opened) -> None:
    sent = records(12, keys=1, size=BATCH_BYTES // 5)
    positions = await here.log.append(sent)
    log = at(await here.everything())
    assert [log[position] for position in positions] == sent


async def test_every_record_says_what_it_is(here: Opened) -> None:
    await here.log.append(records(3))
    assert {tuple(record.headers) for record in await here.everything()} == {(("content-type", CONTENT_TYPE.encode()),)}


async def test_nothing_to_append_is_nothing_appended(here: Opened) -> None:
    assert await here.log.append([]) == []
    assert await here.everything() == []


async def test_a_client_that_goes_away_takes_nobody_with_it(here: Opened) -> None:
    calls = [asyncio.create_task(here.log.append(records(50, seed=number))) for number in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls[1::2])
    log = at(await here.everything())
    for number, positions in zip(range(1, 20, 2), answers, strict=True):
        assert [log[position] for position in positions] == records(50, seed=number)


async def test_what_waits_when_the_process_ends_is_written_first(servers: Servers) -> None:
    async with opened(servers, "closing") as here:
        await here.log.append(records(1, seed="first"))
        calls = [asyncio.create_task(here.log.append(records(100, seed=number))) for number in range(10)]
        await asyncio.sleep(0)
    assert [len(await call) for call in calls] == [100] * 10
    assert len(await here.everything()) == 1_001


# --- refusals --------------------------------------------------------------------------------------------------------


async def test_past_the_limit_of_what_may_wait_it_refuses_at_once_and_writes_nothing(servers: Servers) -> None:
    async with opened(servers, "limit", waiting_limit=100_000) as here:
        await here.log.append(records(1, seed="first"))  # connected
        waiting = asyncio.create_task(here.log.append(records(500, seed="waiting")))
        await asyncio.sleep(0)
        refused = here.log.put(records(900, seed="too much"))
        assert refused.future.done()  # it waited for nothing
        assert not waiting.done()  # else it did not have to wait for anything
        with pytest.raises(LogUnavailable, match="nothing of this request was written"):
            refused.positions()
        await waiting
        assert here.log.waiting_bytes == 0
        assert len(await here.log.append(records(500, seed="again"))) == 500
        assert len(await here.everything()) == 1_001


async def test_one_call_larger_than_the_limit_is_taken_when_nothing_waits(servers: Servers) -> None:
    async with opened(servers, "alone", waiting_limit=1_000) as here:
        assert len(await here.log.append(records(50))) == 50


async def test_a_service_whose_topic_is_missing_is_told_what_to_type(here: Opened) -> None:
    await here.kafka.require([TOPIC])
    with pytest.raises(TopicsMissing, match=r"python -m services\.scoring migrate"):
        await here.kafka.require([TOPIC, topics.SCORES])


async def test_a_topic_that_is_missing_is_an_answer_within_the_deadline_not_a_wait_for_ever(servers: Servers) -> None:
    async with opened(servers, "missing", deadline=1) as here:
        with pytest.raises(LogUnavailable):
            await in_time(here.kafka.log(topics.SCORES).append(records(1)))


# --- a broker that is away -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def breakable() -> AsyncIterator[Servers]:
    """Servers of this module's own: its tests break them, and mend them again."""
    async with started_servers() as own:
        yield own


@dataclass
class Client:
    """Appends one record after the other; each is accepted, or of unknown fate."""

    name: str
    accepted: dict[Position, Record]
    unknown: list[Record]

    async def post(self, log: Log, enough: asyncio.Event) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            call = records(5, seed=f"{self.name}-{number}")
            try:
                self.accepted |= dict(zip(await log.append(call), call, strict=True))
            except LogUnavailable:
                self.unknown += call
                await asyncio.sleep(0.1)


@pytest.mark.servers
@pytest.mark.parametrize("how", ["killed", "hanging"])
async def test_while_the_broker_is_away_it_says_so_in_time_and_then_goes_on(breakable: Servers, how: str) -> None:
    async with opened(breakable, how, deadline=1) as here:
        await here.log.append(first := records(10, seed="first"))
        if how == "killed":
            await breakable.kafka.kill()
        else:
            breakable.kafka.pause()
        calls = [here.log.append(records(10, seed=number)) for number in range(20)]
        async with asyncio.timeout(AIOKAFKAS):
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, LogUnavailable) for answer in answers)
        assert "does not acknowledge" in here.health.complaints()["kafka"]
        assert here.log.waiting_bytes == 0
        if how == "killed":
            await breakable.kafka.start()
        else:
            breakable.kafka.resume()

        async def well() -> bool:
            return here.health.complaints() == {}

        await until(well)  # without traffic: a process that is not ready gets none
        positions = await until(lambda: here.log.append(records(10, seed="after")))
        log = at(await here.everything())
        assert [log[position] for position in positions] == records(10, seed="after")
        assert set(first) <= set(log.values())


async def test_a_connection_that_broke_says_so_on_uvloop_too(servers: Servers) -> None:
    """Anything but the error that it expects ends aiokafka's own tasks, and with them the client, for good."""

    async def write_after_the_end() -> None:
        host, port = servers.kafka.address.split(":")
        broken = await create_conn(host, int(port))
        broken._writer.transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(KafkaConnectionError):
            await broken.send(MetadataRequest([]))

    await asyncio.to_thread(uvloop.run, write_after_the_end())


async def test_who_waits_is_told_where_a_cancellation_comes_from_the_library_and_the_next_is_served(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_: object) -> int:
        task = asyncio.create_task(asyncio.sleep(1_000))
        task.cancel()
        await task
        return 0

    async with opened(servers, "cancelled") as here:
        await here.log.append(records(10, seed="before"))
        with monkeypatch.context() as broken:
            broken.setattr(here.log, "_send", cancelled)
            with pytest.raises(LogUnavailable):
                await in_time(here.log.append(records(10, seed="during")))
        assert here.log.waiting_bytes == 0
        await until(lambda: here.log.append(records(10, seed="after")))


async def test_a_producer_that_can_never_send_again_ends_the_process(servers: Servers) -> None:
    async with opened(servers, "ended") as here:
        at_work = asyncio.create_task(here.kafka.run())
        await here.log.append(records(1))
        assert here.health.complaints() == {}
        here.kafka.producer._sender.sender_task.cancel()
        with pytest.raises(ProducerEnded, match="_sender_routine"):
            await in_time(at_work)


async def test_a_client_that_could_not_start_is_closed(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = KafkaSettings(bootstrap="127.0.0.1:1")
    for opening in (admin(nowhere), consumer(nowhere, "topic"), Kafka.open(nowhere, Health())):
        with pytest.raises(KafkaConnectionError):
            async with opening:
                pass
    gc.collect()
    assert "Unclosed" not in caplog.text


async def test_a_consumer_that_stops_while_its_group_rebalances_leaves_the_group(here: Opened) -> None:
    async def members() -> tuple[str, list[str]]:
        async with admin(here.settings) as client:
            ((_, _, state, _, _, found, *_),) = (await client.describe_consumer_groups([group]))[0].groups
        return state, [member[0] for member in found]

    async def waits_for_the_first() -> bool:
        state, found = await members()
        return state == "PreparingRebalance" and len(found) == 2

    group = f"{here.settings.prefix}group"
    name = here.settings.prefix + TOPIC.name
    # The first hears that somebody joins with its next heartbeat, so long the second waits to be let in.
    slow: dict[str, Any] = {"group_id": group, "session_timeout_ms": 30_000, "heartbeat_interval_ms": 10_000}
    async with consumer(here.settings, name, **slow) as first:
        await until(first.assignment)
        stays = (await members())[1]
        async with consumer(here.settings, **slow) as second:
            second.subscribe([name])
            await until(waits_for_the_first)
        assert (await members())[1] == stays


@pytest.mark.servers
async def test_the_limit_holds_too_where_the_broker_went_before_the_first_record(breakable: Servers) -> None:
    async with opened(breakable, "early", deadline=1, waiting_limit=100_000) as here:
        breakable.kafka.pause()
        waiting = asyncio.create_task(here.log.append(records(500)))
        await asyncio.sleep(0.1)
        with pytest.raises(LogUnavailable, match="nothing of this request was written"):
            await here.log.append(records(500))
        with pytest.raises(LogUnavailable):
            await waiting
        assert here.log.waiting_bytes == 0
        breakable.kafka.resume()


@pytest.mark.servers
async def test_what_was_acknowledged_is_in_the_log_whenever_the_broker_died(breakable: Servers) -> None:
    async with opened(breakable, "deaths", deadline=2) as here:
        clients = [Client(f"client-{number}", {}, []) for number in range(8)]
        enough = asyncio.Event()
        posting = [asyncio.create_task(client.post(here.log, enough)) for client in clients]
        for _ in range(2):
            await _more_are_accepted(clients)
            await breakable.kafka.kill()
            await until(lambda: any(client.unknown for client in clients))
            await breakable.kafka.start()
        await _more_are_accepted(clients)
        enough.set()
        await asyncio.gather(*posting)
        log = at(await here.everything())
    accepted: dict[Position, Record] = {}
    for client in clients:
        accepted |= client.accepted
    unknown = {record for client in clients for record in client.unknown}
    assert all(log[position] == record for position, record in accepted.items())
    assert set(log.values()) <= set(accepted.values()) | unknown
    assert unknown  # else no broker was away


async def _more_are_accepted(clients: Sequence[Client]) -> None:
    """Return once each has got something accepted since."""
    before = {client.name: len(client.accepted) for client in clients}
    await until(lambda: all(len(client.accepted) > before[client.name] for client in clients))
