"""The queue of rejected events: how they get into it, how it keeps its bounds, and that the door does not need it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.ingest.service.sweeping import Sweeper
from services.ingest.store import rejected as store
from services.ingest.store.rejected import Kept
from shared.clock import rfc3339, system_clock
from shared.db import Database
from shared.events import Reason, Refusal, Rejected
from shared.health import Health
from shared.stream import Stream
from tests.builders import batch
from tests.ingest.door import SECRET_KEY, Door, Place, opened, prepared
from tests.ingest.rejects import ask, bad, column, given, refusal, refused, rejection, replay, waiting
from tests.servers import Servers
from tests.waiting import in_time, until


@pytest.fixture(scope="module")
async def door(place: Place) -> AsyncIterator[Door]:
    async with opened(place, rejected_days=3_650) as door:  # the service sweeps, too
        yield door


@pytest.fixture
def name() -> str:
    """A name of an event that no other test has."""
    return f"Event {uuid.uuid4()}"


async def test_the_same_call_sent_again_waits_once_and_again_once_it_was_dealt_with(door: Door, name: str) -> None:
    call, nameless = bad(name), bad(name, messageId=None)
    for _ in range(3):
        await door.post("/v1/batch", {"batch": [call, nameless], "sentAt": rfc3339(system_clock())})
    items = await waiting(door, name, 4)  # who says no id may mean another event with the same words
    assert column(items, "message_id").count(call["messageId"]) == 1
    await replay(door, {"event": name})
    await door.post("/v1/batch", batch(call))
    assert len(await waiting(door, name, 5)) == 5


async def test_no_text_whatever_is_poison(door: Door, name: str) -> None:
    nul = "a\0b"
    wild = refusal(
        name, type=nul, message_id=nul, user_agent=nul, body=b"\0\xff", context={nul: [nul, "\ufffe\U0010ffff\\u0000"]}
    )
    wild = Refusal(**{**_fields(wild), "reasons": (Reason(nul, "wrong_type", nul),)})
    await given(door, [Rejected(id=f"r-{name}", source="web", time=system_clock(), data=wild)])
    [item] = await waiting(door, name, 1)
    assert (item["type"], item["path"], item["message_id"]) == ("a\ufffdb", "a\ufffdb", "a\ufffdb")
    one = await ask(door, f"/{item['id']}")
    assert one["context"] == {"a\ufffdb": ["a\ufffdb", "\ufffe\U0010ffff\\u0000"]}
    assert (await replay(door, {"ids": [item["id"]]}, None))["rejected"] == 1


def _fields(refusal: Refusal) -> dict[str, Any]:
    return {name: getattr(refusal, name) for name in refusal.__struct_fields__}


def sweeper(place: Place, door: Door, now: datetime, **limits: int) -> Sweeper:
    chosen = place.settings(**{"rejected_days": 30, "rejected_bytes": 10**12, **limits})
    return Sweeper(chosen, door.app.state.desk.database, lambda: now, Health())


@asynccontextmanager
async def crowd(place: Place, door: Door, count: int, **rest: Any) -> AsyncIterator[list[str]]:
    """So many events in the queue and no others, one a minute, the oldest first."""
    start = system_clock() - timedelta(minutes=count)
    events = [
        rejection(f"Event {number}", received_at=start + timedelta(minutes=number), **rest) for number in range(count)
    ]
    async with door.app.state.desk.database.begin() as work:
        await store.drop(work, store.Place(system_clock() + timedelta(days=1), ""), 10**9)
        await store.add(work, [Kept(each.id, each.source, each.data, None) for each in events])
    yield [each.id for each in events]


async def held(door: Door) -> list[str]:
    items = (await ask(door, limit=500))["rejected"]
    return column(items, "id")[::-1]


async def test_what_is_too_old_goes(place: Place, door: Door) -> None:
    async with crowd(place, door, 10) as ids:
        await sweeper(place, door, system_clock() + timedelta(days=30) - timedelta(minutes=4.5)).sweep()
        assert await held(door) == ids[6:]


async def test_of_too_many_the_oldest_go(place: Place, door: Door) -> None:
    async with crowd(place, door, 10) as ids:
        await sweeper(place, door, system_clock(), rejected_limit=10).sweep()
        assert await held(door) == ids
        await sweeper(place, door, system_clock(), rejected_limit=3).sweep()
        assert await held(door) == ids[7:]
        assert "temas_ingest_rejected_waiting 3.0" in (await door.client.get("/metrics", auth=(SECRET_KEY, ""))).text


async def test_of_too_much_the_oldest_go(place: Place, door: Door) -> None:
    async with crowd(place, door, 10, body=b"x" * 100_000) as ids:
        await sweeper(place, door, system_clock(), rejected_bytes=500_000).sweep()
        assert await held(door) == ids[6:]  # four, with what else is kept of each


async def test_a_million_names_do_not_matter(door: Door, place: Place) -> None:
    async with crowd(place, door, 3_000):
        counted = await ask(door, "/counts")
    assert (counted["total"], len(counted["counts"]), counted["more_groups"]) == (3_000, 100, 2_900)


async def test_what_somebody_replays_is_not_swept_from_under_them(place: Place, door: Door) -> None:
    database: Database = door.app.state.desk.database
    async with crowd(place, door, 3) as ids, database.begin() as work:
        await store.oldest(work, store.Selection(ids=ids[:1]), None, 1, lock=True)
        await sweeper(place, door, system_clock(), rejected_limit=0).sweep()
        assert await held(door) == ids[:1]


# --- what can go wrong -----------------------------------------------------------------------------------------------


async def working(door: Door, value: float) -> None:
    """Return once the queue says that it works (1), or that it does not (0)."""

    async def says() -> bool:
        return f"temas_ingest_queue_working {value}" in (await door.client.get("/metrics", auth=(SECRET_KEY, ""))).text

    await until(says)


async def test_a_reader_that_fails_is_replaced_and_the_door_stays_open(door: Door, name: str) -> None:
    database: Database = door.app.state.desk.database
    await working(door, 1.0)
    async with database.begin() as work:
        await work.execute(text("ALTER TABLE stream_offset RENAME COLUMN next_offset TO lost"))
    try:
        calls = [bad(name) for _ in range(3)]
        assert (await door.post("/v1/batch", batch(*calls))).status_code == 400  # kept: their topic has them
        await working(door, 0.0)
        assert (await door.client.get("/readyz")).status_code == 200
        assert (await door.client.get("/healthz")).status_code == 200
    finally:
        async with database.begin() as work:
            await work.execute(text("ALTER TABLE stream_offset RENAME COLUMN lost TO next_offset"))
    assert sorted(column(await waiting(door, name, 3), "message_id")) == sorted(column(calls, "messageId"))
    await working(door, 1.0)


async def test_a_reader_that_was_cancelled_or_hangs_is_replaced_too(
    door: Door, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()

    async def hangs(*_: object) -> bool:
        hanging.set()
        await asyncio.Event().wait()
        return True

    with monkeypatch.context() as broken:
        broken.setattr("shared.health.PULSE", 1.0)
        broken.setattr(Stream, "_turn", hangs)
        for task in asyncio.all_tasks():
            if task.get_name() == "reader of rejected events":
                task.cancel()
        await in_time(hanging.wait())  # the one that took its place
    await refused(door, name, bad(name))
    await waiting(door, name, 1)
    assert (await door.client.get("/healthz")).status_code == 200
    assert not hasattr(door.app.state, "failed")


async def test_while_postgresql_is_away_clients_are_served_and_nothing_is_missing_after(
    breakable_servers: Servers, name: str
) -> None:
    async with breakable_servers.installation() as mine, opened(await prepared(mine)) as door:
        await refused(door, name, bad(name))
        await breakable_servers.postgres.stop()
        try:
            assert (await door.post("/v1/batch", batch(bad(name)))).status_code == 400
            assert (await ask(door, expected=503))["code"] == "unavailable"
            assert (await replay(door, {"event": name}, expected=503))["code"] == "unavailable"
            assert (await door.client.get("/readyz")).status_code == 200
        finally:
            await breakable_servers.postgres.start()
        await waiting(door, name, 2)


async def test_while_kafka_is_away_nothing_is_replayed_and_everything_waits(
    breakable_servers: Servers, name: str
) -> None:
    async with breakable_servers.installation() as mine:
        where = await prepared(mine)
        quick = Place(where.kafka.model_copy(update={"deadline": 2.0}), where.database)
        async with opened(quick) as door:
            await refused(door, name, bad(name))
            await breakable_servers.kafka.stop()
            try:
                assert (await replay(door, {"event": name}, expected=503))["code"] == "log_unavailable"
                [item] = await waiting(door, name, 1)
                assert item["status"] == "waiting"
            finally:
                await breakable_servers.kafka.start()
            done = await until(lambda: replay(door, {"event": name}))
            assert done["accepted"] == 1
