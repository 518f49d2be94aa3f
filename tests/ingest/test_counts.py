"""Limits at the door, and what requests leave behind: over several processes, and while PostgreSQL is away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from services.ingest.domain.plan import Departure
from services.ingest.service import taking
from services.ingest.service.counts import KINDS, LONGEST, OTHERS, Counts
from services.ingest.store.counts import Use
from shared.clock import system_clock
from shared.db import Database
from shared.events import Reason
from shared.health import Health
from tests.builders import page
from tests.contract import ready
from tests.ingest.desk import ask, make_key, make_source, send, told
from tests.ingest.door import SECRET_KEY, Door, Place, opened, prepared, starting
from tests.servers import Servers
from tests.waiting import until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def name() -> str:
    """A source's name that no other test has."""
    return f"s-{uuid.uuid4().hex[:12]}"


async def limited(door: Door, name: str, **limits: Any) -> str:
    """A source with these limits; the text of a key of it, that `door` knows."""
    await make_source(door, name, **limits)
    key = (await make_key(door, name))["key"]
    await knows(door, key)
    return str(key)


async def knows(door: Door, key: str) -> None:
    """Return once `door` knows the key; an empty batch counts nothing."""

    async def taken() -> bool:
        return (await send(door, key, 0)).status_code == 200

    await until(taken)


async def calls_today(door: Door, name: str, expected: int) -> None:
    """Return once the desk says that the source has sent so much."""

    async def shown() -> bool:
        return bool((await told(door, "GET", f"sources/{name}"))["calls_today"] == expected)

    await until(shown)


# --- rates -----------------------------------------------------------------------------------------------------------


async def test_past_its_rate_a_source_is_429_and_then_admitted(
    door: Door, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await limited(door, name, rate=5.0)
    now = monotonic()
    monkeypatch.setattr(taking, "monotonic", lambda: now)
    somebody = str(uuid.uuid4())
    assert (await send(door, key, 12, user=somebody)).status_code == 200
    refused = await send(door, key, 1, user=somebody)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert refused.headers["retry-after"] == "2"  # 5 of 12 were in the bucket; 7 and the next one take 1.6 s
    assert refused.headers["access-control-allow-origin"] == "*"
    assert name in refused.json()["message"]

    now += float(refused.headers["retry-after"])
    assert (await send(door, key, 1, user=somebody)).status_code == 200
    assert len(await door.touchpoints(of=somebody)) == 13
    assert REGISTRY.get_sample_value("temas_ingest_refused_total", {"source": name, "reason": "rate"}) == 1


async def test_one_source_past_its_rate_keeps_no_other_out(door: Door, name: str) -> None:
    loud, quiet = await limited(door, name, rate=1.0), await limited(door, f"{name}-2", rate=1.0)
    assert (await send(door, loud, 100)).status_code == 200
    assert (await send(door, loud)).status_code == 429
    assert (await send(door, quiet)).status_code == 200


# --- quotas ----------------------------------------------------------------------------------------------------------


async def test_a_quota_holds_over_all_processes(place: Place, door: Door, name: str) -> None:
    key = await limited(door, name, quota=100)
    assert (await send(door, key, 60)).status_code == 200
    await calls_today(door, name, 60)
    async with opened(place) as other:  # it reads what there is before the first second is over
        await knows(other, key)
        await until(lambda: _knows_use(other, name, 60))
        asked = system_clock()
        refused = await send(other, key, 41)
        assert refused.status_code == 429
        midnight = datetime.combine(asked.date() + timedelta(days=1), datetime.min.time(), UTC)
        earliest, latest = (midnight - system_clock()).total_seconds(), (midnight - asked).total_seconds()
        assert earliest <= int(refused.headers["retry-after"]) <= latest + 1
        assert (await send(other, key, 40)).status_code == 200
        await until(lambda: _knows_use(door, name, 100))
    for calls, status in ((1, 429), (0, 200)):
        assert (await send(door, key, calls)).status_code == status
    await calls_today(door, name, 100)

    await make_source(door, name, quota=101)  # a person has a heart

    async def taken() -> bool:
        return (await send(door, key)).status_code == 200

    await until(taken)


async def _knows_use(door: Door, name: str, expected: int) -> bool:
    quotas = door.app.state.ingest.counts.quotas
    return bool(quotas.written.get(Use(name, system_clock().date())) == expected)


async def test_what_was_counted_last_is_written_at_the_end(place: Place, door: Door, name: str) -> None:
    key = await limited(door, name)
    async with opened(place) as other:
        await knows(other, key)
        for _ in range(3):
            assert (await send(other, key, 7)).status_code == 200
    assert (await told(door, "GET", f"sources/{name}"))["calls_today"] == 21


async def test_processes_that_write_at_once_add_up(place: Place, name: str) -> None:
    names = [f"{name}-{number}" for number in range(20)]
    async with Database.open(place.database) as database:
        many = [Counts(database, lambda: NOON, Health()) for _ in range(4)]
        for _ in range(10):
            for each, order in zip(many, (names, names[::-1], names, names[::-1]), strict=True):
                each.quotas.unwritten.update({Use(source, NOON.date()): 3 for source in order})
                for source in order:
                    each.note_departure(departure(source, "$.properties.total"))
            await asyncio.gather(*(each.flush() for each in many))
        assert await sums(database, "quota_use", name) == dict.fromkeys(names, 4 * 10 * 3)
        assert await sums(database, "plan_violation", name) == dict.fromkeys(names, 4 * 10)


async def sums(database: Database, table: str, prefix: str) -> dict[str, int]:
    statement = text(f"SELECT source, sum(calls) FROM {table} WHERE starts_with(source, :prefix) GROUP BY source")
    async with database.begin() as work:
        return {source: int(calls) for source, calls in await work.execute(statement, {"prefix": prefix})}


# --- PostgreSQL away -------------------------------------------------------------------------------------------------


async def test_without_its_database_the_door_goes_on_and_nothing_counted_is_lost(breakable_servers: Servers) -> None:
    async with alone(breakable_servers) as (place, door):
        key = await limited(door, "app", quota=100)
        assert (await send(door, key, 10)).status_code == 200
        await calls_today(door, "app", 10)

        await breakable_servers.postgres.kill()
        for _ in range(8):
            assert (await send(door, key, 5)).status_code == 200
            await asyncio.sleep(0.3)
        answer = await ask(door, "GET", "sources/app")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await send(door, key, 51)).status_code == 429  # a quota goes on to hold, by what this process knows
        assert (await door.client.get("/readyz")).status_code == 200
        assert (await door.client.get("/healthz")).status_code == 200

        await breakable_servers.postgres.start()
        await calls_today(door, "app", 50)
        await make_source(door, "app", quota=60)
        async with opened(place) as other:
            await knows(other, key)
            await until(lambda: _knows_use(other, "app", 50))
            assert (await send(other, key, 11)).status_code == 429
            assert (await send(other, key, 10)).status_code == 200


async def test_a_process_that_starts_without_its_database_says_so_until_it_is_there(breakable_servers: Servers) -> None:
    async with breakable_servers.installation() as mine:
        place = await prepared(mine)
        await breakable_servers.postgres.stop()
        async with starting(place) as door:
            answer = await door.post("/v1/page", page(user="early"))
            assert (answer.status_code, answer.json()["code"]) == (503, "starting")
            assert answer.headers["retry-after"] == "1"
            complaints = (await door.client.get("/readyz", auth=(SECRET_KEY, ""))).json()["complaints"]
            assert complaints.keys() == {"registry"}
            assert (await door.client.get("/healthz")).status_code == 200

            await breakable_servers.postgres.start()
            await ready(door.client)
            assert (await door.post("/v1/page", page(user="early"))).status_code == 200


# --- Kafka away ------------------------------------------------------------------------------------------------------


async def test_what_kafka_did_not_take_costs_no_quota(breakable_servers: Servers) -> None:
    async with breakable_servers.installation() as mine:
        place = await prepared(mine)
        narrow = replace(place, kafka=place.kafka.model_copy(update={"deadline": 1.0}))
        async with opened(narrow) as door:
            key = await limited(door, "app", quota=10)
            await breakable_servers.kafka.stop()
            for _ in range(5):
                assert (await send(door, key, 10)).status_code == 503
            await breakable_servers.kafka.start()
            await until(lambda: _is_taken(door, key))
            assert (await send(door, key, 1)).status_code == 429  # what was taken costs it


async def _is_taken(door: Door, key: str) -> bool:
    answer = await send(door, key, 10)
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200


@asynccontextmanager
async def alone(servers: Servers) -> AsyncIterator[tuple[Place, Door]]:
    """The service on servers that can be broken."""
    async with servers.installation() as mine:
        place = await prepared(mine)
        async with opened(place) as door:
            yield place, door


# --- departures from the plan ----------------------------------------------------------------------------------------


def departure(source: str, *places: str, name: str = "Order Completed") -> Departure:
    reasons = tuple(Reason(place, "plan_violation", "must be a number") for place in places)
    return Departure(source=source, type="track", name=name, mode="observe", reasons=reasons, places=places)


async def departures(database: Database, source: str) -> list[tuple[Any, ...]]:
    statement = text(
        "SELECT name, day, mode, path, calls FROM plan_violation WHERE source = :source ORDER BY name, path"
    )
    async with database.begin() as work:
        return [tuple(row) for row in await work.execute(statement, {"source": source})]


async def test_departures_are_counted_by_event_day_and_place(place: Place, name: str) -> None:
    now = NOON
    async with Database.open(place.database) as database:
        counts = Counts(database, lambda: now, Health())
        counts.note_departure(departure(name, "$.properties.total", "$.properties.currency"))
        counts.note_departure(departure(name, "$.properties.total"))
        await counts.flush()
        now += timedelta(days=1)
        counts.note_departure(departure(name, "$.properties.total"))
        await counts.flush()
        await counts.flush()
        assert await departures(database, name) == [
            ("Order Completed", NOON.date(), "observe", "$.properties.currency", 1),
            ("Order Completed", NOON.date(), "observe", "$.properties.total", 2),
            ("Order Completed", now.date(), "observe", "$.properties.total", 1),
        ]


async def test_past_so_many_kinds_of_departures_the_rest_is_counted_together(place: Place, name: str) -> None:
    async with Database.open(place.database) as database:
        counts = Counts(database, lambda: NOON, Health())
        for number in range(KINDS + 100):
            counts.note_departure(departure(name, f"$.{number}"))
        counts.note_departure(departure(name, "$.0"))  # a known one goes on by itself
        assert len(counts.departures.unwritten) == KINDS + 1
        await counts.flush()
        held = {path: calls for *_, path, calls in await departures(database, name)}
        assert len(held) == KINDS + 1
        assert (held[OTHERS], held["$.0"], held["$.1"]) == (100, 2, 1)


async def test_the_longest_names_and_places_can_be_written(place: Place, name: str) -> None:
    """Four bytes a character, and none like the next: what an index takes is counted in bytes, compressed."""
    strange = "".join(chr(0x1F300 + number) for number in range(700))
    async with Database.open(place.database) as database:
        counts = Counts(database, lambda: NOON, Health())
        counts.note_departure(departure(name, strange, name=strange))
        await counts.flush()
        [(kind, _, _, path, calls)] = await departures(database, name)
        assert (len(kind), len(path), calls) == (LONGEST, LONGEST, 1)
