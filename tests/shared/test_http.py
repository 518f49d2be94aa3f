"""What all four services answer alike: errors, health, metrics, pages that need no internet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import REGISTRY
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError, InterfaceError

from shared.errors import Invalid, TooManyRequests, Unauthorized
from shared.guards import guarding
from shared.health import Health
from shared.http import Json
from shared.paging import DEFAULT_LIMIT, Limit
from tests.application import OPERATOR, made

SERVICE = "tested"
SECRET_DETAIL = "password=hunter2"


class Order(BaseModel):
    id: Annotated[str, Field(min_length=1)]
    total: float


def _router() -> APIRouter:
    router = APIRouter()

    @router.get("/people/{kind}")
    async def person(kind: str, limit: Limit = DEFAULT_LIMIT) -> dict[str, Any]:
        return {"kind": kind, "limit": limit}

    @router.post("/orders")
    async def order(order: Order) -> dict[str, Any]:
        return order.model_dump()

    @router.get("/fails/{how}")
    async def fails(how: str) -> Response:
        raise {
            "invalid": Invalid("say who", details=[{"path": "userId", "code": "missing"}]),
            "often": TooManyRequests("slower"),
            "away": ConnectionRefusedError(111, SECRET_DETAIL),
            "late": TimeoutError(),
            "gone": InterfaceError("SELECT 1", {}, OSError("gone")),
            "wrong": IntegrityError("INSERT", {}, ValueError(SECRET_DETAIL)),
            "bug": KeyError(SECRET_DETAIL),
        }[how]

    @router.get("/struct")
    async def struct() -> Response:
        return Json(msgspec.Raw(b'{"a":1}'), status_code=201)

    shelves, desk = APIRouter(prefix="/shelves"), APIRouter(prefix="/v1")

    @shelves.post("/newest")
    async def newest() -> None:
        pass

    @shelves.get("/{shelf}")
    async def shelf(shelf: str) -> dict[str, str]:
        if shelf == "broken":
            raise Invalid("it is broken")
        return {"shelf": shelf}

    @router.get("/both")
    @router.delete("/both")
    @shelves.delete("/{shelf}")
    async def both() -> None:
        pass

    desk.include_router(shelves)
    router.include_router(desk, prefix="/desk")
    return router


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[httpx.AsyncClient]:
    app = made(service=SERVICE, health=health, routers=[_router()])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://temas") as client:
        yield client


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("invalid", 400, "invalid_request"),
        ("often", 429, "too_many_requests"),
        ("away", 503, "unavailable"),
        ("late", 503, "unavailable"),
        ("gone", 503, "unavailable"),
        ("wrong", 500, "internal_error"),
        ("bug", 500, "internal_error"),
    ],
)
async def test_every_error_is_json_with_its_status_and_code(
    client: httpx.AsyncClient, how: str, status: int, code: str
) -> None:
    answer = await client.get(f"/fails/{how}")
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code)
    assert body["message"]
    assert set(body) <= {"code", "message", "details"}
    assert SECRET_DETAIL not in answer.text
    assert ("retry-after" in answer.headers) == (status in {429, 503})


async def test_details_name_the_path_of_the_field(client: httpx.AsyncClient) -> None:
    assert (await client.get("/fails/invalid")).json()["details"] == [{"path": "userId", "code": "missing"}]


async def test_a_body_that_departs_from_its_schema_names_each_field(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", json={"id": "", "total": "many"})
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "invalid_request")
    assert {detail["path"] for detail in body["details"]} == {"body.id", "body.total"}
    assert "body.total" in body["message"]


@pytest.mark.parametrize("chunked", [False, True], ids=["of told length", "in pieces"])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(client: httpx.AsyncClient, chunked: bool) -> None:
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 100_000

    answer = await client.post("/orders", content=pieces() if chunked else b" " * 10_000_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert read < 20


@pytest.mark.parametrize("limit", ["0", "501", "many"])
async def test_a_page_that_is_too_large_is_refused_by_name(client: httpx.AsyncClient, limit: str) -> None:
    answer = await client.get("/people/x", params={"limit": limit})
    assert answer.status_code == 422
    assert [detail["path"] for detail in answer.json()["details"]] == ["query.limit"]


async def test_addresses_and_methods_that_are_not_there_are_json_too(client: httpx.AsyncClient) -> None:
    missing, wrong = await client.get("/nowhere"), await client.put("/struct")
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_route")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/struct/", "/desk/v1/shelves/a/", "/people/x/", "/docs/", "/static-offline-docs"])
async def test_no_answer_sends_clients_to_the_host_that_they_name(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"host": "evil.example", "x-forwarded-proto": "https"})
    assert answer.status_code == 404
    assert "evil.example" not in answer.text + str(answer.headers)


async def test_a_stranger_is_refused_before_a_body_is_read() -> None:
    read, asked = 0, []

    @guarding
    async def key(request: Request) -> None:
        asked.append(request.headers.get("authorization"))
        if asked[-1] != "Bearer right":
            raise Unauthorized("say who you are")

    async def picky(number: int) -> int:
        return number

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"{"

    inner, outer = APIRouter(), APIRouter(dependencies=[Depends(key)])

    @inner.post("/{number}/orders")
    async def order(order: Order, number: Annotated[int, Depends(picky)]) -> None: ...

    outer.include_router(inner, prefix="/inner")
    app = made(service=SERVICE, health=Health(), routers=[outer])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://temas") as client:
        headers = {"content-type": "application/json"}
        answer = await client.post("/inner/many/orders", content=body(), headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"], read) == (401, 'Basic realm="temas"', 0)
        headers["authorization"] = "Bearer right"
        answer = await client.post("/inner/many/orders", content=body(), headers=headers)
        assert (answer.status_code, read) == (422, 1)


@pytest.mark.parametrize(
    ("sent", "kind", "message"),
    [
        (b'{"id": "a", "total": }', "application/json", "body: is no JSON: Expecting value, at character 21"),
        (b'{"id": "a", "total": 1}', "application/x-www-form-urlencoded", "the header Content-Type: application/json"),
    ],
)
async def test_a_body_that_can_not_be_read_is_told_with_the_fix(
    client: httpx.AsyncClient, sent: bytes, kind: str, message: str
) -> None:
    answer = await client.post("/orders", content=sent, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["details"][0]["path"]) == (422, "body")
    assert message in answer.json()["message"]


async def test_a_wrong_method_is_told_all_right_ones(client: httpx.AsyncClient) -> None:
    """Of all routes of that address, however deep, and not of one among them."""
    for path in ("/both", "/desk/v1/shelves/a"):
        answer = await client.patch(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET")
    assert (await client.post("/metrics")).headers["allow"] == "GET"
    assert (await client.put("/desk/v1/shelves/newest")).headers["allow"] == "POST"  # and is no shelf of that name


async def test_a_body_that_is_no_text_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", content=b"\xff", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_structs_are_answered_as_they_are(client: httpx.AsyncClient) -> None:
    answer = await client.get("/struct")
    assert (answer.status_code, answer.content) == (201, b'{"a":1}')
    assert answer.headers["content-type"] == "application/json"


# --- counting --------------------------------------------------------------------------------------------------------


def requests(method: str, route: str, status: int) -> float:
    labels = {"service": SERVICE, "method": method, "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("temas_http_requests_total", labels) or 0


async def test_requests_are_counted_by_template_never_by_address(client: httpx.AsyncClient) -> None:
    before = requests("GET", "/people/{kind}", 200)
    for person in ("ayse@example.com", "mert@example.com"):
        await client.get(f"/people/{person}")
    await client.get("/nowhere/ayse@example.com")
    await client.request("AYSE", "/struct")
    assert requests("GET", "/people/{kind}", 200) == before + 2
    assert requests("GET", "unmatched", 404) >= 1
    shown = (await client.get("/metrics", headers=OPERATOR)).text
    assert "temas_http_requests_total" in shown
    assert "ayse" not in shown.lower()


async def test_a_route_of_a_router_within_routers_is_counted_by_its_whole_template(client: httpx.AsyncClient) -> None:
    route = "/desk/v1/shelves/{shelf}"
    before = [requests(*each) for each in (("GET", route, 200), ("GET", route, 400))]
    unmatched = requests("GET", "unmatched", 404)
    for path in ("a", "b", "broken", "a/b"):
        await client.get(f"/desk/v1/shelves/{path}")
    await client.get("/desk/v1/nothing/a")
    after = [requests(*each) for each in (("GET", route, 200), ("GET", route, 400))]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]
    assert requests("GET", "unmatched", 404) == unmatched + 2
    assert requests("GET", "/shelves/{shelf}", 200) == 0


async def test_failures_are_counted_with_the_status_that_was_answered(client: httpx.AsyncClient) -> None:
    before = [requests("GET", "/fails/{how}", status) for status in (400, 500, 503)]
    for how in ("invalid", "bug", "away"):
        await client.get(f"/fails/{how}")
    assert [requests("GET", "/fails/{how}", status) for status in (400, 500, 503)] == [count + 1 for count in before]
