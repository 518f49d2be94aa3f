"""What the desk promises of sources and keys: who gets in, how soon, and what is left of a key."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from openapi_spec_validator import validate
from sqlalchemy import text
from sqlalchemy.engine import Connection

from services.ingest.service.sources import MOST_KEYS, MOST_SOURCES
from services.ingest.tables import METADATA
from shared.clock import system_clock
from shared.paging import cursor
from tests.builders import Json
from tests.ingest.desk import ask, make_key, make_source, send, told
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door, Place, opened, prepared
from tests.servers import Servers
from tests.waiting import until

SOON = 2.0
"""Seconds within which every process knows of a change."""


@pytest.fixture(scope="module")
async def place(servers: Servers) -> AsyncIterator[Place]:
    async with servers.installation() as mine:
        yield await prepared(mine)


@pytest.fixture(scope="module")
async def door(place: Place) -> AsyncIterator[Door]:
    async with opened(place) as door:
        yield door


@pytest.fixture(scope="module")
async def other(place: Place) -> AsyncIterator[Door]:
    """Another process of the service, on the same database and topics."""
    async with opened(place) as door:
        yield door


@pytest.fixture
def name() -> str:
    """A source's name that no other test has."""
    return f"s-{uuid.uuid4().hex[:12]}"


async def becomes(door: Door, key: str, status: int) -> None:
    """Return once calls with `key` are answered by `status`; fails where that takes longer than promised."""

    async def answered() -> bool:
        return (await send(door, key)).status_code == status

    await until(answered, within=SOON)


async def rows(door: Door, statement: str, **parameters: Any) -> list[Any]:
    """What the service's own tables hold."""
    async with door.app.state.desk.database.begin() as work:
        return list(await work.execute(text(statement), parameters))


# --- keys ------------------------------------------------------------------------------------------------------------


async def test_a_key_holds_in_every_process_within_two_seconds(door: Door, other: Door, name: str) -> None:
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
    door: Door, other: Door, name: str
) -> None:
    await make_source(door, name)
    old = await make_key(door, name)
    new = await told(door, "POST", f"sources/{name}/keys/{old['id']}/rotate", {"overlap_seconds": 3})
    assert new["key"] != old["key"]
    assert new["scopes"] == ["write"]
    assert new["replaces"]["id"] == old["id"]
    for key in (new["key"], old["key"]):
        await becomes(other, key, 200)

    ends_at = datetime.fromisoformat(new["replaces"]["ends_at"])
    await asyncio.sleep((ends_at - system_clock()).total_seconds() + 0.01)
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


async def becomes_admin(door: Door, key: str) -> None:
    async def lets_in() -> bool:
        return (await ask(door, "GET", "sources", key=key)).status_code == 200

    await until(lets_in, within=SOON)


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


async def everything(door: Door, path: str, what: str, limit: int = 3, **query: str) -> list[Json]:
    """All pages of a list."""
    found: list[Json] = []
    following: str | None = ""
    while following is not None:
        place = {"cursor": following} if following else {}
        answer = await told(door, "GET", path, params={**query, **place, "limit": str(limit)})
        assert len(answer[what]) <= limit
        found += answer[what]
        following = answer["next"]
    return found


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
    keys = {scope: (await make_key(door, name, scope))["key"] for scope in ("write", "read", "admin")}
    await becomes(door, keys["write"], 200)
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
    document = (await door.client.get("/openapi.json")).json()
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


# --- sources ---------------------------------------------------------------------------------------------------------


async def test_a_source_is_made_changed_and_shown(door: Door, name: str) -> None:
    given = {
        "usual": "store",
        "origins": ["https://Shop.Example:443", "http://localhost:3000", "https://müşteri.example/"],
        "rate": 100.5,
        "quota": 1_000_000,
        "unplanned": "enforce",
    }
    made = await make_source(door, name, **given)
    assert made["origins"] == ["http://localhost:3000", "https://shop.example", "https://xn--mteri-kva70e.example"]
    assert {**made, "origins": given["origins"]} == {
        **given, "name": name, "made_at": made["made_at"], "calls_today": 0,
    }  # fmt: skip
    assert await told(door, "GET", f"sources/{name}") == made

    changed = await make_source(door, name, usual="web")
    assert changed == {
        "name": name, "usual": "web", "origins": [], "rate": None, "quota": None, "unplanned": "allow",
        "made_at": made["made_at"], "calls_today": 0,
    }  # fmt: skip


async def test_sources_are_listed_by_name(door: Door, name: str) -> None:
    for letter in "bac":
        await make_source(door, f"{name}-{letter}")
    listed = [each["name"] for each in await everything(door, "sources", "sources", limit=2)]
    assert [each for each in listed if each.startswith(name)] == [f"{name}-{letter}" for letter in "abc"]
    assert {"web", "server"} <= set(listed)
    assert listed == sorted(listed)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"origins": ["https://shop.example/path"]}, "body.origins.0"),
        ({"origins": ["https://a.example", "https://*.example"]}, "body.origins.1"),
        ({"origins": ["shop.example"]}, "body.origins.0"),
        ({"origins": ["null"]}, "body.origins.0"),
        ({"origins": ["https://shop.example:99999"]}, "body.origins.0"),
        ({"rate": 0}, "body.rate"),
        ({"rate": "many"}, "body.rate"),
        ({"quota": 0}, "body.quota"),
        ({"quota": 10**16}, "body.quota"),
        ({"unplanned": "refuse"}, "body.unplanned"),
        ({"usual": "Call Centre"}, "body.usual"),
        ({"orgins": []}, "body.orgins"),
    ],
)
async def test_what_can_not_be_meant_is_refused_by_field(door: Door, name: str, body: Json, field: str) -> None:
    answer = await ask(door, "PUT", f"sources/{name}", body)
    assert answer.status_code == 422
    assert field in [each["path"] for each in answer.json()["details"]]
    assert (await ask(door, "GET", f"sources/{name}")).status_code == 404


@pytest.mark.parametrize("wrong", ["*", "-web", "a b", "ü", "x" * 101, "%00"])
async def test_a_name_is_what_fits_into_an_address(door: Door, wrong: str) -> None:
    assert (await ask(door, "PUT", f"sources/{wrong}", {})).status_code == 422


@pytest.mark.parametrize("scopes", [[], ["everything"], "write", None])
async def test_a_key_needs_scopes_that_there_are(door: Door, name: str, scopes: object) -> None:
    await make_source(door, name)
    assert (await ask(door, "POST", f"sources/{name}/keys", {"scopes": scopes})).status_code == 422


async def test_what_is_not_there_is_404_and_says_what_to_do(door: Door, name: str) -> None:
    for method, path, body, code in (
        ("GET", f"sources/{name}", None, "source_not_found"),
        ("GET", f"sources/{name}/keys", None, "source_not_found"),
        ("POST", f"sources/{name}/keys", {"scopes": ["write"]}, "source_not_found"),
        ("DELETE", f"sources/{name}/keys/nobody", None, "key_not_found"),
        ("POST", f"sources/{name}/keys/nobody/rotate", {}, "key_not_found"),
    ):
        answer = await ask(door, method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    assert "PUT /v1/sources/" in (await ask(door, "GET", f"sources/{name}")).json()["message"]


async def test_the_key_of_another_source_is_not_found(door: Door, name: str) -> None:
    await make_source(door, name)
    await make_source(door, f"{name}-2")
    made = await make_key(door, name)
    assert (await ask(door, "DELETE", f"sources/{name}-2/keys/{made['id']}")).status_code == 404
    await becomes(door, made["key"], 200)


async def test_there_are_a_thousand_sources_and_no_more(door: Door, name: str) -> None:
    room = MOST_SOURCES - len(await rows(door, "SELECT name FROM source"))
    fill = text("""
        INSERT INTO source (name, usual, origins, unplanned, made_at)
        SELECT 'filler-' || n, 'unknown', '{}', 'allow', now() FROM generate_series(1, :room) AS n
    """)
    async with door.app.state.desk.database.begin() as work:
        await work.execute(fill, {"room": room})
    try:
        answer = await ask(door, "PUT", f"sources/{name}", {})
        assert (answer.status_code, answer.json()["code"]) == (409, "too_many_sources")
        await make_source(door, "filler-1", quota=10)
    finally:
        async with door.app.state.desk.database.begin() as work:
            await work.execute(text("DELETE FROM source WHERE name LIKE 'filler-%'"))
    await make_source(door, name)


# --- the audit -------------------------------------------------------------------------------------------------------


async def test_every_change_is_written_down_with_who_made_it(door: Door, name: str) -> None:
    began = system_clock()
    await make_source(door, name, quota=10)
    admin = await make_key(door, name, "admin")
    await becomes_admin(door, admin["key"])
    await told(door, "PUT", f"sources/{name}", {"quota": 20}, key=admin["key"])
    old = await told(door, "POST", f"sources/{name}/keys", {"scopes": ["write"]}, key=admin["key"])
    new = await told(door, "POST", f"sources/{name}/keys/{old['id']}/rotate", {}, key=admin["key"])
    await ask(door, "DELETE", f"sources/{name}/keys/{new['id']}", key=admin["key"])

    changes = await everything(door, "audit", "changes", object=f"sources/{name}")
    source, keys = f"sources/{name}", f"sources/{name}/keys"
    assert [(each["actor"], each["action"], each["object"]) for each in reversed(changes)] == [
        ("settings:secret", "made", source),
        ("settings:secret", "made", f"{keys}/{admin['id']}"),
        (admin["id"], "changed", source),
        (admin["id"], "made", f"{keys}/{old['id']}"),
        (admin["id"], "made", f"{keys}/{new['id']}"),
        (admin["id"], "rotated", f"{keys}/{old['id']}"),
        (admin["id"], "revoked", f"{keys}/{new['id']}"),
    ]
    assert [each["id"] for each in changes] == sorted((each["id"] for each in changes), reverse=True)
    assert all(began <= datetime.fromisoformat(each["at"]) <= system_clock() for each in changes)
    revoked, rotated, _, _, changed, _, made = changes
    assert (made["before"], made["after"]["quota"]) == (None, 10)
    assert (changed["before"]["quota"], changed["after"]["quota"]) == (10, 20)
    assert rotated["after"] == {"scopes": ["write"], "ends_at": new["replaces"]["ends_at"]}
    assert (revoked["before"]["ends_at"], revoked["after"]["ends_at"] is None) == (None, False)


async def test_what_changes_nothing_is_no_change(door: Door, name: str) -> None:
    await make_source(door, name, quota=10)
    before = await told(door, "GET", f"audit?object=sources/{name}")
    await make_source(door, name, quota=10)
    for refused in ({"quota": -1}, {"origins": ["*"]}):
        await ask(door, "PUT", f"sources/{name}", refused)
    assert await told(door, "GET", f"audit?object=sources/{name}") == before


async def test_nobody_takes_back_what_is_written_down(door: Door, name: str) -> None:
    await make_source(door, name)
    for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'nobody'", "TRUNCATE audit"):
        with pytest.raises(Exception, match="append-only"):
            await rows(door, statement)


@pytest.mark.parametrize(
    ("path", "cursor"),
    [
        ("sources", "made up"),
        ("sources", cursor("a\0b")),
        ("sources/web/keys", cursor("2026-03-01T10:00:00", "no time zone")),
        ("sources/web/keys", cursor("2026-03-01T10:00:00Z")),
        ("audit", cursor("seven")),
        ("audit", cursor(2**64)),
    ],
)
async def test_a_cursor_that_we_never_gave_is_refused(door: Door, path: str, cursor: str) -> None:
    answer = await ask(door, "GET", path, params={"cursor": cursor})
    assert (answer.status_code, answer.json()["details"][0]["code"]) == (400, "invalid_cursor")


# --- the house -------------------------------------------------------------------------------------------------------


async def test_the_tables_are_what_the_migrations_make(door: Door) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [each for each in compare_metadata(context, METADATA) if "alembic_version" not in str(each)]

    async with door.app.state.desk.database.begin() as work:
        assert await work.run_sync(differences) == []
