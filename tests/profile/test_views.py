"""A view is the same by both ways: straight from the connection, and through FastAPI, as behind another server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client import REGISTRY

from services.profile.api.views import View
from services.profile.settings import SERVICE
from shared.http import server
from tests.builders import after, identified, viewed
from tests.profile.service import SECRET, Service, running, settings
from tests.roles import tell_keys
from tests.servers import Installation, free
from tests.waiting import PATIENCE, until

ROUTE = View.route


@asynccontextmanager
async def served(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the same application, over the connections that it is served by."""
    [port] = free(1)
    serving = server(service.app, service.settings.model_copy(update={"port": port}), SERVICE)
    serving.config.lifespan = "off"  # it has started
    task = asyncio.create_task(serving.serve())

    async def started() -> bool:
        return serving.started

    await until(started)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
        yield client
    serving.should_exit = True
    await task


@pytest.fixture(scope="module")
async def service(installed: Installation) -> AsyncIterator[Service]:
    async with running(settings(installed, patience=0.2)) as service:
        yield service


@pytest.fixture(scope="module")
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with served(service) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def answered(status: int) -> float:
    labels = {"service": SERVICE, "method": "GET", "route": ROUTE, "status": str(status)}
    return REGISTRY.get_sample_value("temas_http_requests_total", labels) or 0


async def same(service: Service, client: httpx.AsyncClient, address: str, headers: dict[str, str]) -> httpx.Response:
    """The answer, once it was seen to be the same by both ways, and to be counted as the same."""
    url = httpx.URL(f"/v1/profiles/{address}")
    long = await service.client.get(url, headers=headers)
    before = answered(long.status_code)
    short = await client.get(url, headers=headers)
    assert (short.status_code, short.content) == (long.status_code, long.content)
    assert sorted(pair for pair in short.headers.raw if pair[0] != b"date") == sorted(long.headers.raw)
    assert answered(long.status_code) == before + 1
    return short


STRANGE = "a b:c?&=#ü%2F"

ASKED = [
    ("user_id:vw-u", 200),
    ("user_id%3Avw-u", 200),
    ("user_id:vw%2Fu", 200),
    ("user_id:a%20b%3Ac%3F%26%3D%23%C3%BC%252F", 200),
    ("user_id:vw-u?after=", 400),
    ("user_id:vw-u?after=yesterday&after=0:0", 503),
    ("user_id:vw-u?after=0:0&after=yesterday", 400),
    ("user_id:vw-u?after=0%3A999999", 503),
    ("user_id:vw-u?before=this&", 200),
    ("user_id:nobody", 404),
    ("user_id:no%00body", 404),
    ("user_id:%FF%FE", 404),
    ("profile_id:0b6cf3a8-0000-5000-8000-000000000000", 404),
    ("profile_id:no-uuid", 404),
    ("nobody", 400),
    ("user_id:", 400),
    ("%20", 400),
    ("", 400),
]


@pytest.fixture(scope="module")
async def people(service: Service) -> None:
    for user in ("vw-u", "vw/u", STRANGE):
        await service.tell(identified(user))

    async def there() -> bool:
        return all([(await service.ask(f"user_id:{user}")).status_code == 200 for user in ("vw-u", "vw/u", STRANGE)])

    await until(there)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(("address", "status"), ASKED)
async def test_both_ways_say_the_same(service: Service, client: httpx.AsyncClient, address: str, status: int) -> None:
    assert (await same(service, client, address, bearer(SECRET))).status_code == status


async def test_a_position_is_waited_for_by_the_short_way(installed: Installation) -> None:
    async with running(settings(installed)) as service, served(service) as client:
        for number in range(3):
            position = await service.tell(viewed(f"Page {number}", user="vw-w", at=after(number)))
            address = f"/v1/profiles/user_id:vw-w?after={position}"
            answer = await client.get(address, headers=bearer(SECRET))
            assert (answer.status_code, answer.json()["touchpoints"]["count"]) == (200, number + 1)
            await same(service, client, f"user_id:vw-w?after={position}", bearer(SECRET))


@pytest.mark.usefixtures("people")
async def test_both_ways_let_in_the_same(service: Service, client: httpx.AsyncClient) -> None:
    keys = await tell_keys(service.kafka, service.app, service.hands.now)
    texts = [*keys.by_scope.values(), keys.revoked, "wrong"]
    shown = [await same(service, client, "user_id:vw-u", bearer(text)) for text in texts]
    by_key = dict(zip([*keys.by_scope, "revoked", "wrong"], [answer.status_code for answer in shown], strict=True))
    assert by_key == {
        "write": 403, "read": 403, "read:people": 200, "decide": 403, "admin": 200, "revoked": 403, "wrong": 403,
    }  # fmt: skip
    for headers in ({}, {"authorization": "Basic ???"}, {"authorization": "Bearer"}):
        assert (await same(service, client, "user_id:vw-u", headers)).status_code == 401
    assert (await same(service, client, "nobody", {})).status_code == 401  # before anything is said of the address


@pytest.mark.usefixtures("people")
async def test_a_body_is_not_looked_at_and_other_methods_are_refused(client: httpx.AsyncClient) -> None:
    headers = bearer(SECRET)
    answer = await client.request("GET", "/v1/profiles/user_id:vw-u", headers=headers, content=b"x" * 2_000)
    assert answer.status_code == 200
    refused = await client.put("/v1/profiles/user_id:vw-u", headers=headers)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


async def test_while_the_database_is_away_both_ways_say_so(installed: Installation) -> None:
    async with running(settings(installed)) as service, served(service) as client:
        service.app.state.desk.lookups.pool.terminate()
        answer = await same(service, client, "user_id:vw-u", bearer(SECRET))
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")
