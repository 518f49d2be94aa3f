"""Keys for one source, or for some services: what they open, and that nobody makes more of them than they have."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.builders import Json
from tests.ingest.desk import ask, becomes, becomes_admin, make_source, told
from tests.ingest.door import Door

PLAN = "plan/track/Order%20Completed"


@pytest.fixture
async def name(door: Door) -> str:
    """A source that no other test has."""
    name = f"s-{uuid.uuid4().hex[:12]}"
    await make_source(door, name)
    return name


async def made(door: Door, source: str, *scopes: str, key: str | None = None, **narrowed: Any) -> Json:
    """A new key, which the door knows."""
    own = {} if key is None else {"key": key}
    new = await told(door, "POST", f"sources/{source}/keys", {"scopes": scopes, **narrowed}, **own)
    last = await told(door, "POST", f"sources/{source}/keys", {"scopes": ["write"]})
    await becomes(door, last["key"], 200)  # made after it, so both are known
    return new


async def test_a_key_for_one_source_opens_what_is_that_sources_and_nothing_else(door: Door, name: str) -> None:
    key = (await made(door, name, "admin", sources=[name]))["key"]

    async def status(method: str, path: str, body: object = None) -> int:
        return (await ask(door, method, path, body, key=key)).status_code

    schema = {"mode": "off", "schema": {}}
    opened: dict[tuple[str, str], object] = {
        ("GET", f"sources/{name}"): None,
        ("PUT", f"sources/{name}"): {"rate": 5},
        ("GET", f"sources/{name}/keys"): None,
        ("POST", f"sources/{name}/keys"): {"scopes": ["write"]},
        ("PUT", f"{PLAN}?source={name}"): schema,
        ("GET", f"{PLAN}?source={name}"): None,
        ("DELETE", f"{PLAN}?source={name}"): None,
        ("GET", f"rejected?source={name}"): None,
        ("GET", f"rejected/counts?source={name}"): None,
    }
    for (method, path), body in opened.items():
        assert await status(method, path, body) in (200, 201, 204), (method, path)
    closed: dict[tuple[str, str], object] = {
        ("GET", "sources"): None,
        ("GET", "sources/server"): None,
        ("PUT", "sources/server"): {},
        ("PUT", f"sources/{name}-2"): {},
        ("GET", "sources/server/keys"): None,
        ("POST", "sources/server/keys"): {"scopes": ["write"]},
        ("GET", "plan"): None,
        ("GET", "plan/seen"): None,
        ("POST", "plan/infer"): {"type": "track", "name": "Order Completed", "source": name},
        ("GET", PLAN): None,
        ("PUT", PLAN): schema,
        ("PUT", f"{PLAN}?source=*"): schema,
        ("PUT", f"{PLAN}?source={name}&source=server"): schema,
        ("PUT", f"{PLAN}?source=server&source={name}"): schema,
        ("GET", "rejected"): None,
        ("GET", "rejected?source=server"): None,
        ("GET", "rejected/x:0"): None,
        ("POST", "rejected/replay"): {"select": {"source": name}},
        ("POST", "rejected/discard"): {"select": {"source": name}},
        ("GET", "audit"): None,
        ("GET", f"audit?object=sources/{name}"): None,
    }
    for (method, path), body in closed.items():
        assert await status(method, path, body) == 403, (method, path)


async def test_a_key_for_one_source_makes_none_that_opens_more(door: Door, name: str) -> None:
    whole = await made(door, name, "admin")
    key = (await made(door, name, "admin", sources=[name]))["key"]
    keys = f"sources/{name}/keys"

    async def refused(method: str, path: str, body: object = None) -> httpx.Response:
        answer = await ask(door, method, path, body, key=key)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
        return answer

    answer = await refused("POST", keys, {"scopes": ["read"], "sources": [name, "server"]})
    assert f"this key is for services ingest and sources {name}" in answer.json()["message"]
    await refused("POST", keys, {"scopes": ["read"], "services": ["profile"]})
    await refused("POST", keys, {"scopes": ["read"], "services": ["ingest", "profile"]})
    await refused("POST", f"{keys}/{whole['id']}/rotate")
    await refused("DELETE", f"{keys}/{whole['id']}")

    like_it = await made(door, name, "admin", key=key)
    assert (like_it["services"], like_it["sources"]) == (["ingest"], [name])
    rotated = await told(door, "POST", f"{keys}/{like_it['id']}/rotate", {}, key=key)
    assert (rotated["services"], rotated["sources"]) == (["ingest"], [name])


async def test_a_key_for_one_source_has_it_believed_no_more_than_it_was(door: Door, name: str) -> None:
    key = (await made(door, name, "admin", sources=[name]))["key"]
    for standing in ({"trust": "server"}, {"may": ["identify", "alias"]}):
        answer = await ask(door, "PUT", f"sources/{name}", standing, key=key)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    kept = await told(door, "PUT", f"sources/{name}", {"trust": "client", "rate": 7}, key=key)
    assert (kept["trust"], kept["rate"]) == ("client", 7)


async def test_a_key_for_some_services_makes_keys_for_those_alone(door: Door, name: str) -> None:
    made_with = (await made(door, name, "admin", services=["ingest", "scoring"]))["key"]
    await becomes_admin(door, made_with)
    assert (await made(door, name, "read", key=made_with))["services"] == ["ingest", "scoring"]
    assert (await made(door, name, "read", key=made_with, services=["scoring"]))["services"] == ["scoring"]
    refused = await ask(
        door, "POST", f"sources/{name}/keys", {"scopes": ["read"], "services": ["profile"]}, key=made_with
    )
    assert refused.status_code == 403


async def test_a_key_for_another_service_opens_nothing_in_ingest_and_is_told_so(door: Door, name: str) -> None:
    key = (await made(door, name, "admin", "write", services=["profile"]))["key"]
    looked = await ask(door, "GET", f"sources/{name}", key=key)
    assert looked.status_code == 403
    assert "is not for ingest: it was narrowed to services profile" in looked.json()["message"]
    await becomes(door, key, 403)


@pytest.mark.parametrize(
    "body",
    [
        {"services": []}, {"sources": []}, {"services": ["nothing"]}, {"sources": ["../x"]},
        {"sources": ["web"], "services": ["profile"]}, {"sources": ["web"], "services": ["ingest", "profile"]},
    ],
    ids=str,
)  # fmt: skip
async def test_what_no_key_can_be_narrowed_to_is_refused(door: Door, name: str, body: Json) -> None:
    answer = await ask(door, "POST", f"sources/{name}/keys", {"scopes": ["read"], **body})
    assert answer.status_code == 422


async def test_the_audit_says_how_a_key_was_narrowed(door: Door, name: str) -> None:
    new = await made(door, name, "read", services=["scoring", "profile"])
    [change] = (await told(door, "GET", f"audit?object=sources/{name}/keys/{new['id']}"))["changes"]
    assert change["after"] == {"scopes": ["read"], "services": ["profile", "scoring"], "ends_at": None}
