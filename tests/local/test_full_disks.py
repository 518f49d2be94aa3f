"""Disks that fill under load: nothing that was accepted is lost, and with room again all is well without a person."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from deploy.local import kafka, postgres
from deploy.local.control import clear
from deploy.local.errors import NotReady
from deploy.local.home import Home
from deploy.local.jars import kafka_jars
from deploy.local.java import java
from deploy.local.keys import ADMIN, keys_of, url
from deploy.local.program import Program
from deploy.local.report import Board, read
from deploy.local.servers import LocalServers, Server
from deploy.local.settings import LOOPBACK, Settings
from deploy.local.supervisor import Pauses, Supervisor
from shared.kafka import admin
from shared.settings import KafkaSettings
from tests.disks import Disk, small_disk
from tests.ingest.door import prepared, process
from tests.integration.counting import Counting, counting, oracle, running
from tests.integration.test_ingest_ledger import SMALL, held_against_the_log, load
from tests.integration.test_stream_faults import clients
from tests.servers import Servers, free, temporary_home
from tests.waiting import in_time, until

pytestmark = pytest.mark.servers

MORE = 1_000
"""Events that must come through before and after."""

FULL = 15.0
"""Seconds that a disk stays full: long enough for a server to give up, and to be started again in vain."""

WATCHFUL = Pauses(longest=2.0, ask_every=1.0, idle=10.0)


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk with room for a server and some more."""
    with temporary_home() as home, small_disk(home.path, megabytes=400) as disk:
        yield disk


@asynccontextmanager
async def supervised(home: Home, program: Program) -> AsyncIterator[None]:
    """The one `program`, up and looked after; ended after the block, as by `make down`."""
    supervising = asyncio.create_task(Supervisor(home, [[program]], Board(home), WATCHFUL).run())
    try:
        await until(lambda: supervising.done() or is_ready(home, program))
        yield
        assert not supervising.done(), supervising
    finally:
        if not supervising.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await in_time(supervising)
        clear(home)


def is_ready(home: Home, program: Program) -> bool:
    """Whether the supervisor says so."""
    report = read(home)
    return report is not None and report.programs[program.name].ready


@asynccontextmanager
async def kept_full(disk: Disk) -> AsyncIterator[None]:
    """The disk full for as long as the block lasts, whatever servers free of it; then its room is back."""

    async def fill() -> None:
        while True:
            await asyncio.to_thread(disk.fill)
            await asyncio.sleep(0.2)

    filling = asyncio.create_task(fill())
    try:
        yield
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        disk.clear()


async def _does_nothing(program: Program) -> bool:
    """Whether the program, asked, says that it does not do its work."""
    try:
        await program.ready()
    except NotReady:
        return True
    return False


@pytest.mark.parametrize("codec", kafka.CODECS)
async def test_kafka_takes_its_first_record_though_its_disk_has_no_room_for_a_library(disk: Disk, codec: str) -> None:
    """Room for the record there is. A library that could not be unpacked at its first use would be missing for ever."""
    home, port = Home(disk.path / "home"), free(1)[0]
    home.claim()
    program = kafka.program(home, port, free(1)[0], java(), kafka_jars(Settings().cache, progress=lambda _: None))
    server, address = Server(program, home), f"{LOOPBACK}:{port}"
    await server.start()
    try:
        async with admin(KafkaSettings(bootstrap=address)) as client:
            await client.create_topics([NewTopic("first", num_partitions=1, replication_factor=1)])
        disk.fill(leave=200_000)
        async with AIOKafkaProducer(bootstrap_servers=address, acks="all", compression_type=codec) as producer:
            await in_time(producer.send_and_wait("first", codec.encode()))
    finally:
        await server.stop()
        clear(home)


async def test_what_ingest_accepted_is_in_the_log_however_often_kafkas_disk_was_full(
    servers: Servers, disk: Disk
) -> None:
    """Full before the first event, and then again under load; each time it goes on by itself once there is room."""
    home = Home(disk.path / "home")
    home.claim()
    port, controller = free(2)
    program = kafka.program(home, port, controller, java(), kafka_jars(Settings().cache, progress=lambda _: None))
    async with supervised(home, program), servers.installation() as mine:
        place = await prepared(
            replace(mine, kafka=KafkaSettings(bootstrap=f"{LOOPBACK}:{port}", prefix=mine.kafka.prefix))
        )
        async with process(place, **SMALL) as (address, _):
            async with kept_full(disk), load(address) as told:
                await until(lambda: _does_nothing(program))
                await asyncio.sleep(FULL)
            async with load(address, "d") as again:
                await until(partial(again.has_more_than, MORE))
                async with kept_full(disk):
                    await until(lambda: 503 in again.statuses)
                    await until(lambda: _does_nothing(program))
                    await asyncio.sleep(FULL)
                taken = len(again.accepted)
                await until(partial(again.has_more_than, taken + MORE))
            again.accepted |= told.accepted
            again.unknown |= told.unknown
            await held_against_the_log(again, place)
        await until(lambda: is_ready(home, program))


async def test_consumers_wait_while_postgresqls_disk_is_full_and_count_everything_once(
    servers: Servers, disk: Disk
) -> None:
    home = Home(disk.path / "home")
    home.claim()
    password = keys_of(home).passwords[ADMIN]
    program = postgres.program(home, free(1)[0], password, shared_buffers="32MB")
    local = LocalServers(Server(program, home), servers.kafka, url(program.port, password, database="postgres"))
    async with supervised(home, program), counting(Servers(local)) as service, running(service.stream()):
        async with clients(service) as accepted:
            await until(lambda: _has_counted(service, MORE))
            async with kept_full(disk):
                await until(lambda: _does_nothing(program))
                await until(lambda: service.metric("temas_stream_pauses_total") > 0)
                await asyncio.sleep(FULL)
            counted = sum((await until(service.tally)).values())
            await until(lambda: _has_counted(service, counted + MORE))
        await until(service.applied)
        log = await service.log()
        assert sum(oracle(log).values()) == len(accepted)
        assert await service.tally() == oracle(log)
        assert await service.dead() == []
        await until(lambda: is_ready(home, program))


async def _has_counted(service: Counting, number: int) -> bool:
    return sum((await service.tally()).values()) > number
