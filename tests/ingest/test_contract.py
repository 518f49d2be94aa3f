"""What the OpenAPI document says of every route, held against the service; and whom each route of the desk lets in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import requests

from services.ingest.app import build
from shared.scopes import SCOPES
from shared.settings import DatabaseSettings, KafkaSettings
from tests.contract import Operation, address_of, guarded, keeps_its_word, operations
from tests.ingest.desk import becomes_admin, make_key, make_source
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door, Place, process
from tests.roles import SHOW_DEAD_LETTERS, looks_at_the_key_first, takes_any_address
from tests.waiting import PATIENCE

NOWHERE = Place(
    KafkaSettings(bootstrap="nowhere:1"), DatabaseSettings(url="postgresql://nobody@nowhere/none", db_schema="ingest")
)
app = build(NOWHERE.settings())
OPERATIONS = operations(app, SECRET_KEY)

AUTHORIZATION = {"authorization": f"Bearer {SECRET_KEY}"}
PLANNED = {"mode": "observe", "schema": {"type": "object"}}
THERE_ARE: dict[str, Any] = {"/v1/sources/web": {}, "/v1/plan/identify": PLANNED, "/v1/plan/track/Viewed": PLANNED}
"""So that there is something to look at."""

DESK = ("/v1/sources", "/v1/plan", "/v1/rejected", "/v1/audit", "/v1/dead-letters")

# Where clients send, the body is what it is: a field that nobody looks at may hold anything.
IS_GENEROUS = ("negative_data_rejection",)
# Whatever stands where the id of a rejected event would is an id to GET, which then finds none.
LOOKS_LIKE_AN_ID = ("allow_header_conformance",)


@pytest.fixture(scope="module")
async def address(place: Place) -> AsyncIterator[str]:
    """Of the service in a process of its own: schemathesis waits for its answers."""
    async with process(place) as (address, _):
        async with httpx.AsyncClient(base_url=address, headers=AUTHORIZATION, timeout=PATIENCE) as client:
            for path, body in THERE_ARE.items():
                assert (await client.put(path, json=body)).status_code == 200
            assert (await client.post("/v1/track", json={"event": "nobody's"})).status_code == 400
        yield address


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("label", OPERATIONS)
def test_a_route_does_what_its_documentation_says(label: str, address: str, session: requests.Session) -> None:
    operation = OPERATIONS[label]
    desk = operation.path.startswith(DESK)
    without: tuple[str, ...] = () if desk else IS_GENEROUS
    if operation.path in ("/v1/rejected/replay", "/v1/rejected/discard"):
        without += LOOKS_LIKE_AN_ID
    keeps_its_word(operation, address, session, examples=few(operation), opened=desk, without=without)


def few(operation: Operation) -> int:
    """Examples of one operation; fewer of an address that is another's second name."""
    return 8 if operation.path.startswith((*DESK, "/v1/batch", "/v1/track", "/v1/pixel/track", "/events")) else 3


# --- whom the desk lets in -------------------------------------------------------------------------------------------

# What anybody may ask for. Every other route needs a key: who adds one without is told here.
OPEN = {
    *(("GET", path) for path in ("/sourceConfig", "/sourceConfig/")),
    *(("OPTIONS", path) for path in ("/sourceConfig", "/sourceConfig/")),
    *((method, "/v1/projects/{write_key}/settings") for method in ("GET", "OPTIONS")),
}
# They say what would be, and change nothing.
LOOKS = {("POST", "/v1/plan/infer"), ("POST", "/v1/plan/{type}/{name}/try"), ("POST", "/v1/plan/{type}/try")}


ROUTES = guarded(app, OPEN)


@pytest.fixture(scope="module")
async def keys(door: Door) -> dict[str, str]:
    """A key of each scope, by that."""
    await make_source(door, "guarded")
    made: dict[str, str] = {scope: str((await make_key(door, "guarded", scope))["key"]) for scope in SCOPES}
    await becomes_admin(door, made["admin"])
    return made


async def status(door: Door, method: str, path: str, key: str | None) -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    kind = "track" if "{name}" in path else "identify"
    address = address_of(path, name="guarded", id="x:0", type=kind, version="1")
    answer = await door.client.request(method, address, auth=None, headers=headers, json={})
    return answer.status_code


SHOW_PEOPLE = {
    ("GET", "/v1/rejected"),
    ("GET", "/v1/rejected/{id}"),
    ("POST", "/v1/plan/infer"),
    ("POST", "/v1/plan/{type}/{name}/try"),
    ("POST", "/v1/plan/{type}/try"),
    *SHOW_DEAD_LETTERS,
}
"""What clients sent is in their answers, or can be found out by them."""


def test_the_desk_has_routes() -> None:
    assert set(ROUTES) >= SHOW_PEOPLE
    assert len(ROUTES) >= 30
    assert {path.split("/")[2] for _, path in ROUTES if path.startswith("/v1/")} == {
        each.split("/")[2] for each in DESK
    }


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda each: each)
async def test_each_route_of_the_desk_lets_in_who_may(door: Door, keys: dict[str, str], method: str, path: str) -> None:
    kind = "track" if "{name}" in path else "identify"
    wrong = {None: 401, "wrong": 401, WRITE_KEY: 403, keys["write"]: 403, keys["decide"]: 403}
    await looks_at_the_key_first(door.client, (method, path), wrong, type=kind)
    await takes_any_address(door.client, (method, path), keys["admin"], type=kind)
    assert await status(door, method, path, None) == 401
    assert await status(door, method, path, "wrong") == 401
    assert await status(door, method, path, WRITE_KEY) == 403
    assert await status(door, method, path, keys["write"]) == 403
    assert await status(door, method, path, keys["decide"]) == 403
    looks = method == "GET" or (method, path) in LOOKS
    for scope, opens in (("read", looks and (method, path) not in SHOW_PEOPLE), ("read:people", looks)):
        answered = await status(door, method, path, keys[scope])
        assert (answered not in (401, 403, 405)) if opens else (answered == 403), scope
    assert await status(door, method, path, keys["admin"]) not in (401, 403, 405)
