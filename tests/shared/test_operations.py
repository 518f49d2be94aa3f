"""Questions of operators, on the service's port and on one of their own; and what strangers are told there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter

from shared.health import Health
from shared.http import server
from tests.application import OPERATOR, made, settings
from tests.servers import free
from tests.waiting import PATIENCE, until

FOR_OPERATORS = ("/metrics", "/docs", "/redoc", "/openapi.json")
FOR_ALL = ("/healthz", "/readyz")
SCRIPTS = "/static-offline-docs/swagger-ui-bundle.js"
REFLECTED = {
    "host": "evil.example",
    "x-forwarded-proto": "evil",
    "x-forwarded-host": "evil.example",
    "x-forwarded-prefix": "/evil",
    "forwarded": "host=evil.example",
}


def routes() -> APIRouter:
    router = APIRouter()

    @router.get("/own")
    async def own() -> str:
        return "own"

    return router


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(made(health=health, routers=[routes()]))
    async with httpx.AsyncClient(transport=transport, base_url="http://temas") as client:
        yield client


# --- on the service's own port ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FOR_OPERATORS)
async def test_what_is_for_operators_takes_a_key(client: httpx.AsyncClient, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        refused = await client.get(path, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"].startswith("Basic")  # so that a browser asks for it
    assert (await client.get(path, headers=OPERATOR)).status_code == 200


async def test_a_late_part_takes_away_the_traffic_and_a_vital_one_the_life(
    client: httpx.AsyncClient, health: Health
) -> None:
    assert [(await client.get(path)).status_code for path in FOR_ALL] == [200, 200]
    health.part("consumer").fail("stopped")
    alive, ready = [await client.get(path, headers=OPERATOR) for path in FOR_ALL]
    assert (alive.status_code, ready.status_code) == (200, 503)
    assert ready.json() == {"status": "failing", "complaints": {"consumer": "stopped"}}
    health.part("loop", vital=True).fail("hung")
    assert (await client.get("/healthz", headers=OPERATOR)).json()["complaints"] == {"loop": "hung"}


async def test_strangers_are_told_that_it_fails_and_not_why(client: httpx.AsyncClient, health: Health) -> None:
    health.part("database", vital=True).fail("no route to db.internal")
    for path in FOR_ALL:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.json()) == (503, {"status": "failing"})
            assert answer.headers["cache-control"] == "no-store"


async def test_the_documentation_needs_no_internet(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/redoc"):
        page = (await client.get(path, headers=OPERATOR)).text
        assert "://" not in page.replace("http://www.w3.org", "")
    assert (await client.get(SCRIPTS)).status_code == 200
    document = (await client.get("/openapi.json", headers=OPERATOR)).json()
    assert document["info"]["title"] == "Tested"
    assert {"/own", *FOR_ALL, "/metrics"} == set(document["paths"])


@pytest.mark.parametrize("path", [*FOR_OPERATORS, *FOR_ALL])
async def test_no_page_has_the_host_that_a_client_names(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={**REFLECTED, **OPERATOR})
    assert answer.status_code == 200
    assert "evil" not in answer.text + str(answer.headers)


# --- on a port of their own ------------------------------------------------------------------------------------------


@asynccontextmanager
async def apart(health: Health, **rest: Any) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Clients of a service's public port and of its operations port."""
    public, own = free(2)
    chosen = settings(public, operations_port=own, **rest)
    running = server(made(health=health, routers=[routes()], chosen=chosen), chosen, "tests")
    serving = asyncio.create_task(running.serve())
    await until(lambda: _started(running))
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{public}", timeout=PATIENCE) as outside,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{own}", timeout=PATIENCE) as inside,
    ):
        yield outside, inside
    running.should_exit = True
    await serving


async def _started(running: uvicorn.Server) -> bool:
    return running.started


async def test_with_a_port_of_their_own_the_public_one_knows_nothing_of_them(health: Health) -> None:
    async with apart(health) as (outside, _):
        for path in (*FOR_OPERATORS, *FOR_ALL, SCRIPTS, "/static-offline-docs/"):
            answer = await outside.get(path, headers=OPERATOR)
            assert (answer.status_code, answer.json()["code"]) == (404, "no_such_route")
        assert (await outside.get("/own")).json() == "own"


async def test_on_a_port_of_their_own_operators_need_no_key(health: Health) -> None:
    health.part("consumer").fail("stopped")
    async with apart(health) as (_, inside):
        for path in (*FOR_OPERATORS, SCRIPTS):
            assert (await inside.get(path)).status_code == 200
        assert (await inside.get("/healthz")).json() == {"status": "ok", "complaints": {}}
        failing = await inside.get("/readyz")
        assert (failing.status_code, failing.json()["complaints"]) == (503, {"consumer": "stopped"})
        assert "/own" in (await inside.get("/openapi.json")).json()["paths"]
        assert (await inside.get("/own")).status_code == 404
        assert 'route="/metrics"' in (await inside.get("/metrics")).text


async def test_the_operations_port_is_on_loopback_unless_somebody_says_otherwise() -> None:
    assert settings().operations_host == "127.0.0.1"


async def test_the_operations_port_ends_with_the_service(health: Health) -> None:
    async with apart(health) as (_, inside):
        assert (await inside.get("/healthz")).status_code == 200
    async with httpx.AsyncClient(base_url=inside.base_url, timeout=PATIENCE) as late:
        with pytest.raises(httpx.ConnectError):
            await late.get("/healthz")
