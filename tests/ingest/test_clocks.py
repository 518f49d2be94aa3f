"""Two processes of ingest over one database and one Kafka, one two hours ahead: nobody notices which answered."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import httpx
import pytest

from services.ingest.app import build
from shared.clock import rfc3339, system_clock
from tests.builders import batch, page
from tests.contract import ready
from tests.ingest.desk import ask, becomes, make_key, make_source, send, told
from tests.ingest.door import WRITE_KEY, Door, Place
from tests.waiting import until

AHEAD = timedelta(hours=2)
NEAR = timedelta(minutes=2)
"""Of the true time, on a machine that is busy; an hour's difference would show."""


@asynccontextmanager
async def working(place: Place, ahead: timedelta) -> AsyncIterator[Door]:
    app = build(place.settings(), lambda: system_clock() + ahead)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest", auth=(WRITE_KEY, "")) as client,
    ):
        await ready(client)
        yield Door(app, client, place)


@pytest.fixture(scope="module")
async def pair(place: Place) -> AsyncIterator[tuple[Door, Door]]:
    """One that is right, and one that is ahead."""
    async with working(place, timedelta()) as right, working(place, AHEAD) as ahead:
        yield right, ahead


async def test_what_either_takes_is_in_the_log_once_and_at_its_time(pair: tuple[Door, Door], somebody: str) -> None:
    begun = system_clock()
    for name, door in zip(("right", "ahead"), pair, strict=True):
        calls = batch(
            page(f"{name} undated", user=somebody), page(f"{name} dated", user=somebody, timestamp=rfc3339(begun))
        )
        answer = await door.post("/v1/batch", {**calls, "sentAt": rfc3339(system_clock())})
        assert answer.status_code == 200, answer.text
        assert "temas-rejected" not in answer.headers
    found = await pair[0].touchpoints(of=somebody)
    assert sorted(each.data.name or "" for each in found) == [
        "ahead dated", "ahead undated", "right dated", "right undated",
    ]  # fmt: skip
    for each in found:
        assert abs(each.data.received_at - begun) < NEAR
        assert abs(each.at - begun) < NEAR
        if each.data.name and each.data.name.endswith(" dated"):
            assert each.at == begun


async def test_a_key_that_either_ends_has_ended_at_both(pair: tuple[Door, Door]) -> None:
    for maker, other in (pair, pair[::-1]):
        name = f"s-{uuid.uuid4()}"
        await make_source(maker, name)
        made = await make_key(maker, name)
        for door in pair:
            await becomes(door, made["key"], 200)
        ended = await ask(maker, "DELETE", f"sources/{name}/keys/{made['id']}")
        assert ended.is_success
        for door in (other, maker):
            await becomes(door, made["key"], 401)


async def test_a_key_that_is_rotated_holds_at_both_until_its_time(pair: tuple[Door, Door]) -> None:
    right, ahead = pair
    name = f"s-{uuid.uuid4()}"
    await make_source(right, name)
    old = await make_key(right, name)
    await told(ahead, "POST", f"sources/{name}/keys/{old['id']}/rotate", {"overlap_seconds": 3_600})
    [ends] = [each["ends_at"] for each in (await told(right, "GET", f"sources/{name}/keys"))["keys"] if each["ends_at"]]
    assert abs(datetime.fromisoformat(ends) - (system_clock() + timedelta(hours=1))) < NEAR
    for door in pair:
        await becomes(door, old["key"], 200)


async def test_a_quota_is_one_quota_of_one_day(pair: tuple[Door, Door]) -> None:
    right, ahead = pair
    name = f"s-{uuid.uuid4()}"
    await make_source(right, name, quota=20)
    made = await make_key(right, name)
    for door in pair:
        await becomes(door, made["key"], 200)

    async def used() -> int:
        return int((await told(right, "GET", f"sources/{name}"))["calls_today"])

    taken = await until(used)
    for number in range(60):
        taken += (await send((right, ahead)[number % 2], made["key"])).status_code == 200
        for door in pair:
            await door.app.state.ingest.counts.flush()
    assert (await send(right, made["key"])).status_code == (await send(ahead, made["key"])).status_code == 429
    assert 20 <= await used() <= 22  # what the other takes in the second in which it is reached is not known yet
    days = {use.day for door in pair for use in door.app.state.ingest.counts.quotas.written}
    assert len(days) == 1


async def test_what_both_know_by_heart_is_the_same(pair: tuple[Door, Door]) -> None:
    name = f"s-{uuid.uuid4()}"
    await make_source(pair[1], name, rate=5)

    async def same() -> bool:
        one, other = (door.app.state.ingest.registry.current for door in pair)
        return name in one.sources and one.sources == other.sources and one.keys == other.keys

    await until(same)


async def test_how_far_a_clock_is_ahead_is_a_metric(pair: tuple[Door, Door]) -> None:
    clocks = [door.app.state.ingest.clock for door in pair]
    assert clocks[0].ahead == timedelta()
    assert abs(clocks[1].ahead - AHEAD) < NEAR
