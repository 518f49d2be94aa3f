"""What the desk promises of keys: whom they let in and where, how soon, and what is left of one."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from openapi_spec_validator import validate

from services.ingest.service.sources import MOST_KEYS
from shared.clock import system_clock
from tests.ingest.desk import ask, becomes, becomes_admin, everything, make_key, make_source, rows, send, told
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door, Place, opened


@pytest.fixture(scope="module")
async def other(place: Place) -> AsyncIterator[Door]:
    """Another process of the service, on the same database and topics."""
    async with opened(place) as door:
        yield door


@pytest.fixture
def name() -> str:
    """A source's name that no other test has."""
    return f"s-{uuid.uuid4().hex[:12]}"


# --- keys ------------------------------------------------------------------------------------------------------------


async def test_a_key_holds_in_every_process_by_itself(door: Door, other: Door, name: str) -> None:
    await make_source(door, name, usual="store")
    made = await make_key(door, name)
    await becomes(other, made["key"], 200)
    await becomes(door, made["key"], 200)

    somebody = str(uuid.uuid4())
    await send(other, made["key"], user=somebody)
    [touchpoint] = await door.touchpoints(of=somebody)
    assert (touchpoint.source, touchpoint.data.channel) == (name, "server")  # the client's own word comes before usual


async def test_a_revoked_key_opens_nothing_two_seconds_later(door: Door, other: Door, name: str) -> None:
    await make_source(door, name)
    made = await make_key(door, name)
    await becomes(other, made["key"], 200)
    assert (await ask(door, "DELETE", f"sources/{name}/keys/{made['id']}")).status_code == 204
    await becomes(other, made["key"], 401)
    await becomes(door, made["key"], 401)
    [listed] = (await told(door, "GET", f"sources/{name}/keys"))["keys"]
    assert (listed["id"], listed["holds"]) == (made["id"], False)
    assert (await ask(door, "DELETE", f"sources/{name}/keys/{made['id']}")).status_code == 204  # as often as you like


async def test_a_rotated_key_and_its_successor_both_hold_until_the_overlap_ends(
    door: Door, other: Door, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_source(door, name)
    old = await make_key(door, name)
    new = await told(door, "POST", f"sources/{name}/keys/{old['id']}/rotate", {"overlap_seconds": 3600})
    assert new["key"] != old["key"]
    assert new["scopes"] == ["write"]
    assert new["replaces"]["id"] == old["id"]
    for key in (new["key"], old["key"]):
        await becomes(other, key, 200)

    ends_at = datetime.fromisoformat(new["replaces"]["ends_at"])
    monkeypatch.setattr(other.app.state.ingest, "clock", lambda: ends_at)
    assert (await send(other, old["key"])).status_code == 401  # by the clock: nobody has to be told
    assert (await send(other, new["key"])).status_code == 200


async def test_a_rotation_overlaps_by_a_day_unless_it_says_otherwise(door: Door, name: str) -> None:
    await make_source(door, name)
    old = await make_key(door, name, "read")
    new = await told(door, "POST", f"sources/{name}/keys/{old['id']}/rotate")
    overlap = datetime.fromisoformat(new["replaces"]["ends_at"]) - system_clock()
    assert timedelta(hours=23, minutes=59) < overlap <= timedelta(days=1)

    again = await told(door, "POST", f"sources/{name}/keys/{old['id']}/rotate", {"overlap_seconds": 7 * 86_400})
    assert again["replaces"]["ends_at"] == new["replaces"]["ends_at"]  # an end that was set comes no later


async def test_a_key_that_has_ended_is_not_rotated(door: Door, name: str) -> None:
    await make_source(door, name)
    made = await make_key(door, name)
    await ask(door, "DELETE", f"sources/{name}/keys/{made['id']}")
    answer = await ask(door, "POST", f"sources/{name}/keys/{made['id']}/rotate", {})
    assert (answer.status_code, answer.json()["code"]) == (409, "key_ended")


@pytest.mark.parametrize(
    ("scopes", "prefix"),
    [
        (["write"], "wk_"),
        (["read"], "sk_"),
        (["admin"], "sk_"),
        (["write", "read"], "sk_"),
        (["write", "write"], "wk_"),
    ],
)
async def test_a_key_that_can_only_write_is_public_and_any_other_a_secret(
    door: Door, name: str, scopes: list[str], prefix: str
) -> None:
    await make_source(door, name)
    made = await make_key(door, name, *scopes)
    assert made["key"].startswith(prefix)
    assert made["key"].startswith(made["hint"])
    assert len(made["key"]) >= len(made["hint"]) + 28  # what is not shown again is all that makes it a secret
    assert made["scopes"] == sorted(set(scopes))


async def test_a_key_is_shown_once_and_kept_nowhere(door: Door, name: str) -> None:
    await make_source(door, name)
    made = await make_key(door, name, "admin")
    rotated = await told(door, "POST", f"sources/{name}/keys/{made['id']}/rotate", {})
    await becomes_admin(door, made["key"])

    answers = [
        (await ask(door, "GET", path)).text
        for path in (f"sources/{name}", "sources", f"sources/{name}/keys", "audit", f"audit?object=sources/{name}")
    ]
    tables = await rows(door, "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'ingest'")
    held = [
        str(row) for table in tables for row in await rows(door, f'SELECT CAST(t AS text) FROM "{table.name}" AS t')
    ]
    for key in (made["key"], rotated["key"]):
        digest = hashlib.sha256(key.encode()).hexdigest()
        assert [digest in row for row in held].count(True) == 1  # so these rows do show what is kept
        assert not any(digest in answer for answer in answers)
        for text_of_it in (key, key.encode().hex(), key.removeprefix("sk_")):
            assert not any(text_of_it in place for place in (*answers, *held))


async def test_a_source_has_ten_keys_that_hold_and_no_more(door: Door, name: str) -> None:
    await make_source(door, name)
    made = [await make_key(door, name) for _ in range(MOST_KEYS)]
    for path in (f"sources/{name}/keys", f"sources/{name}/keys/{made[0]['id']}/rotate"):
        answer = await ask(door, "POST", path, {"scopes": ["write"]} if path.endswith("keys") else {})
        assert (answer.status_code, answer.json()["code"]) == (409, "too_many_keys")
    await ask(door, "DELETE", f"sources/{name}/keys/{made[0]['id']}")
    await make_key(door, name)
    assert len(await everything(door, f"sources/{name}/keys", "keys")) == MOST_KEYS + 1


async def test_two_who_make_keys_at_once_do_not_pass_the_limit(door: Door, other: Door, name: str) -> None:
    await make_source(door, name)
    asked = [ask(each, "POST", f"sources/{name}/keys", {"scopes": ["write"]}) for each in (door, other) * 10]
    statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
    assert (statuses.count(201), statuses.count(409)) == (MOST_KEYS, 20 - MOST_KEYS)


async def test_keys_are_listed_newest_first(door: Door, name: str) -> None:
    await make_source(door, name)
    made = [await make_key(door, name) for _ in range(7)]
    listed = await everything(door, f"sources/{name}/keys", "keys")
    assert {each["id"] for each in listed} == {each["id"] for each in made}
    assert len(listed) == 7
    assert [each["made_at"] for each in listed] == sorted((each["made_at"] for each in made), reverse=True)


# --- who may ---------------------------------------------------------------------------------------------------------

ROUTES: dict[tuple[str, str], tuple[str, object]] = {
    ("GET", "/v1/sources"): ("read", None),
    ("GET", "/v1/sources/{name}"): ("read", None),
    ("PUT", "/v1/sources/{name}"): ("admin", {}),
    ("GET", "/v1/sources/{name}/keys"): ("read", None),
    ("POST", "/v1/sources/{name}/keys"): ("admin", {"scopes": ["write"]}),
    ("POST", "/v1/sources/{name}/keys/{id}/rotate"): ("admin", {}),
    ("DELETE", "/v1/sources/{name}/keys/{id}"): ("admin", None),
    ("GET", "/v1/audit"): ("read", None),
}


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_lets_in_whom_its_scope_says_and_nobody_else(
    door: Door, name: str, method: str, path: str
) -> None:
    await make_source(door, name)
    id = (await make_key(door, name))["id"]
    keys = {scope: (await make_key(door, name, scope))["key"] for scope in ("read", "admin", "write")}
    await becomes(door, keys["write"], 200)  # it was made last, so all of them hold
    scope, body = ROUTES[method, path]
    asked = path.removeprefix("/v1/").format(name=name, id=id)

    async def answered(key: str | None) -> tuple[int, str]:
        answer = await ask(door, method, asked, body, key=key)
        return answer.status_code, "" if answer.is_success else answer.json()["code"]

    assert await answered(None) == (401, "unauthorized")
    assert await answered("sk_nobody's") == (401, "unauthorized")
    for key in (keys["write"], WRITE_KEY):
        assert await answered(key) == (403, "forbidden")
    read, _ = await answered(keys["read"])
    assert read == (200 if scope == "read" else 403)
    assert (await answered(keys["admin"]))[0] in (200, 201, 204)
    assert (await answered(SECRET_KEY))[0] in (200, 201, 204)


async def test_no_route_of_the_desk_was_forgotten_above(door: Door) -> None:
    document = (await door.client.get("/openapi.json", auth=(SECRET_KEY, ""))).json()
    validate(document)
    mine = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith(("/v1/sources", "/v1/audit"))
    }
    assert mine == ROUTES.keys()


async def test_a_key_that_can_only_read_sends_no_calls(door: Door, name: str) -> None:
    await make_source(door, name)
    made = await make_key(door, name, "read")
    await becomes(door, made["key"], 403)
