"""A question is answered the same by both ways: straight from the connection, and through FastAPI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from services.personalize.settings import SERVICE
from shared.clock import system_clock
from shared.http import server
from tests.personalize.desk import SECRET, Desk, make_topics, open_desk, settings
from tests.roles import tell_keys
from tests.servers import Servers, free
from tests.waiting import PATIENCE, until

KEY = {"authorization": f"Bearer {SECRET}"}
QUESTION = {"profile": "user_id:dr-u", "placement": "home", "channel": "web", "limit": 2}
OWN = ("decision_id", "propensity", "score", "expires_at")
"""What no two decisions share."""


@pytest.fixture(scope="module")
async def desk(servers: Servers) -> AsyncIterator[Desk]:
    async with servers.installation() as installation:
        await make_topics(installation)
        async with open_desk(settings(installation)) as desk:
            await desk.put_offer("dr-offer")
            yield desk


@pytest.fixture(scope="module")
async def client(desk: Desk, servers: Servers) -> AsyncIterator[httpx.AsyncClient]:
    """Of the same application, over the connections that it is served by."""
    [port] = free(1)
    async with servers.installation() as installation:
        serving = server(desk.app, settings(installation, port=port), SERVICE)
    serving.config.lifespan = "off"  # it has started
    task = asyncio.create_task(serving.serve())

    async def started() -> bool:
        return serving.started

    await until(started)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
        yield client
    serving.should_exit = True
    await task


async def same(desk: Desk, client: httpx.AsyncClient, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """The answer, once it was seen to be the same by both ways."""
    long = await desk.client.post("/v1/decide", content=body, headers=headers)
    short = await client.post("/v1/decide", content=body, headers=headers)
    assert (short.status_code, _common(short)) == (long.status_code, _common(long))
    beside = (b"date", b"content-length", b"connection")
    assert _heads(short, beside) == _heads(long, beside)
    return short


def _common(answer: httpx.Response) -> str:
    if answer.status_code != 200:
        return answer.text
    said = answer.json()
    offers = [{name: each[name] for name in each if name not in OWN} for each in said.pop("offers")]
    return json.dumps([[*said], {name: said[name] for name in said if name not in OWN}, offers])


def _heads(answer: httpx.Response, beside: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    return sorted(pair for pair in answer.headers.raw if pair[0] not in beside)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (json.dumps(QUESTION).encode(), 200),
        (json.dumps(QUESTION | {"profile": "nobody"}).encode(), 400),
        (json.dumps(QUESTION | {"limit": 0, "more": 1}).encode(), 422),
        (json.dumps(QUESTION | {"context": {"a": "x" * 40_000}}).encode(), 422),
        (json.dumps(QUESTION | {"context": {"a": "x" * 110_000}}).encode(), 413),
        (b"{", 422),
        (b"", 422),
        (b"\xff", 422),
    ],
    ids=["good", "nobody", "fields", "context", "large", "torn", "empty", "no text"],
)
async def test_both_ways_say_the_same(desk: Desk, client: httpx.AsyncClient, body: bytes, status: int) -> None:
    assert (await same(desk, client, body, KEY)).status_code == status


async def test_both_ways_let_in_the_same(desk: Desk, client: httpx.AsyncClient) -> None:
    keys = await tell_keys(desk.kafka, desk.app, system_clock())
    texts = [*keys.by_scope.items(), ("revoked", keys.revoked), ("wrong", "wrong")]
    body, large = json.dumps(QUESTION).encode(), b"x" * 110_000
    by_key = {
        name: (await same(desk, client, body, {"authorization": f"Bearer {text}"})).status_code for name, text in texts
    }
    opened = {name for name, status in by_key.items() if status == 200}
    assert opened == {"decide", "admin"}
    assert {status for name, status in by_key.items() if name not in opened} == {403}
    strangers: tuple[dict[str, str], ...] = ({}, {"authorization": "Basic ???"})
    for stranger in strangers:
        assert (await same(desk, client, body, stranger)).status_code == 401
    assert (await same(desk, client, large, {})).status_code == 401  # a stranger is not told how much one may send
