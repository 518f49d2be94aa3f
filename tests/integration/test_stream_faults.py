"""The consumer while servers are away: it waits, and afterwards nothing is lost and nothing counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection, create_conn
from pydantic import SecretStr
from sqlalchemy import text

from deploy.local.servers import Server
from shared import topics
from shared.clock import system_clock
from shared.db import Database
from shared.errors import LogUnavailable
from shared.kafka import admin
from shared.settings import DatabaseSettings
from tests.builders import message_id, touchpoint
from tests.integration.counting import POISON, QUICK, Counting, counting, oracle, running
from tests.integration.proxy import Proxy, Way
from tests.servers import Servers, started_servers
from tests.waiting import until

pytestmark = pytest.mark.servers

CUT = 15.0
"""Seconds: more than the consumer waits for an answer."""

IMPATIENT = replace(QUICK, stuck=4.0)
"""A consumer that takes four idle seconds, with records waiting and the servers well, for being stuck."""


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Servers]:
    """Servers of this module's own: its tests break them, and mend them again."""
    async with started_servers() as own:
        yield own


@pytest.fixture
async def service(servers: Servers) -> AsyncIterator[Counting]:
    async with counting(servers) as service:
        yield service


@asynccontextmanager
async def clients(service: Counting) -> AsyncIterator[set[str]]:
    """Clients that post all the time, and again with the same ids where they get no answer. Gives what was accepted."""
    accepted: set[str] = set()
    enough = asyncio.Event()

    async def client(name: str) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            ids = [f"{name}-{number}-{each}" for each in range(10)]
            events = [touchpoint(user=name, id=each, received_at=system_clock()) for each in ids]
            while True:
                try:
                    await service.post(*events)
                    break
                except LogUnavailable:
                    await asyncio.sleep(0.2)
            accepted.update(ids)
            await asyncio.sleep(0.02)

    posting = [asyncio.create_task(client(f"client-{number}")) for number in range(3)]
    try:
        yield accepted
    finally:
        enough.set()
        await asyncio.gather(*posting)


async def _exactly_once(service: Counting, accepted: set[str]) -> None:
    log = await service.log()
    assert sum(oracle(log).values()) == len(accepted)  # whatever got no answer was sent again until it got one
    assert await service.tally() == oracle(log)
    assert await service.dead() == []


async def _counts_on(service: Counting) -> None:
    """Return once it has counted more than it has now."""
    before = sum((await service.tally()).values())

    async def more() -> bool:
        return sum((await service.tally()).values()) > before + 100

    await until(more)


async def test_postgresql_may_be_away_for_longer_than_patience_lasts(servers: Servers, service: Counting) -> None:
    async with running(service.stream(limits=IMPATIENT)), clients(service) as accepted:
        await _counts_on(service)
        await servers.postgres.stop()
        await asyncio.sleep(3 * IMPATIENT.stuck)  # records wait all this time, and none is applied
        await servers.postgres.start()
        await _counts_on(service)
    async with running(service.stream()):
        await until(service.applied)
    assert service.metric("temas_stream_pauses_total") > 0
    await _exactly_once(service, accepted)


@pytest.mark.parametrize("name", ["postgres", "kafka"])
async def test_a_server_killed_again_and_again_under_load(servers: Servers, service: Counting, name: str) -> None:
    server: Server = getattr(servers, name)
    async with running(service.stream()):  # one and the same, through all of it
        async with clients(service) as accepted:
            for _ in range(2):
                await _counts_on(service)
                await server.kill()
                await server.start()
            await _counts_on(service)
        await until(service.applied)
    await _exactly_once(service, accepted)


@pytest.mark.parametrize("name", ["postgres", "kafka"])
async def test_a_server_that_hangs_for_a_while(servers: Servers, service: Counting, name: str) -> None:
    server: Server = getattr(servers, name)
    async with running(service.stream()):
        async with clients(service) as accepted:
            await _counts_on(service)
            server.pause()
            await asyncio.sleep(4)
            server.resume()
            await _counts_on(service)
        await until(service.applied)
    await _exactly_once(service, accepted)


@pytest.mark.parametrize("way", ["requests", "answers"])
async def test_the_network_to_kafka_is_cut_one_way(
    servers: Servers, service: Counting, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _proxy(servers.kafka).running() as proxy:

        async def through_the_proxy(host: str, _: int, **rest: Any) -> AIOKafkaConnection:
            return await create_conn(host, proxy.port, **rest)

        monkeypatch.setattr("aiokafka.client.create_conn", through_the_proxy)
        async with running(service.stream()):
            async with clients(service) as accepted:
                await _counts_on(service)
                proxy.cut(way)
                await asyncio.sleep(CUT)
                proxy.mend()
                await _counts_on(service)
            await until(service.applied)
        await _exactly_once(service, accepted)


@pytest.mark.parametrize("way", ["requests", "answers"])
async def test_the_network_to_postgresql_is_cut_one_way(servers: Servers, service: Counting, way: Way) -> None:
    """Where the answers are lost, among them is that of a commit: it may have been done or not."""
    async with _proxy(servers.postgres).running() as proxy:
        address = servers.local.url.replace(servers.postgres.address, f"{proxy.host}:{proxy.port}")
        where = DatabaseSettings(url=SecretStr(address), db_schema=service.name)
        async with (
            Database.open(where, longest=2) as database,
            running(replace(service, database=database).stream()),
        ):
            async with clients(service) as accepted:
                for _ in range(3):
                    await _counts_on(service)
                    proxy.cut(way)
                    await asyncio.sleep(CUT / 3)
                    proxy.mend()
                await _counts_on(service)
            await until(service.applied)
    await _exactly_once(service, accepted)


def _proxy(server: Server) -> Proxy:
    host, _, port = server.address.partition(":")
    return Proxy(host, int(port))


async def test_a_database_that_refuses_us_is_no_fault_of_the_records(service: Counting) -> None:
    """While it is restored, say: tables and privileges are missing for a while. Nothing goes to the dead letters."""
    async with running(service.stream(limits=IMPATIENT)), clients(service) as accepted:
        await _counts_on(service)
        for wrong, right in (
            ("ALTER TABLE tally RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO tally"),
            (f"ALTER SCHEMA {service.name} RENAME TO elsewhere", f"ALTER SCHEMA elsewhere RENAME TO {service.name}"),
        ):
            await _run(service, wrong)
            await asyncio.sleep(IMPATIENT.stuck + 1)
            await _run(service, right)
            await _counts_on(service)
    async with running(service.stream()):
        await until(service.applied)
    await _exactly_once(service, accepted)


async def _run(service: Counting, statement: str) -> None:
    async with service.database.begin() as work:
        await work.execute(text(f"SET LOCAL search_path TO {service.name}, elsewhere"))
        await work.execute(text(statement))


async def test_a_bad_record_is_not_passed_while_it_can_not_be_put_aside(service: Counting) -> None:
    name = service.settings.prefix + topics.dead(service.name).name
    async with admin(service.settings) as client:
        await client.delete_topics([name])
    poison = touchpoint(POISON, user="u-1", received_at=system_clock())
    after = touchpoint(user="u-1", id=message_id("after"), received_at=system_clock())
    await service.post(poison, after)
    async with running(service.stream()):
        await asyncio.sleep(service.settings.deadline + 1)
        assert await service.tally() == {}
        async with admin(service.settings) as client:
            await topics.create(client, [topics.dead(service.name)], prefix=service.settings.prefix, replication=1)
        await until(service.applied)
    assert await service.tally() == {"user_id:u-1": 1}
    assert len(await service.dead()) == 1
