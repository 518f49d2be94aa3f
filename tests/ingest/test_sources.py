"""What the desk promises of sources, and of the audit of all that is changed there."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import Connection

from services.ingest.service.sources import MOST_SOURCES
from services.ingest.tables import METADATA
from shared.clock import system_clock
from shared.paging import cursor
from tests.builders import Json
from tests.ingest.desk import ask, becomes, becomes_admin, everything, make_key, make_source, rows, told
from tests.ingest.door import Door


@pytest.fixture
def name() -> str:
    """A source's name that no other test has."""
    return f"s-{uuid.uuid4().hex[:12]}"


# --- sources ---------------------------------------------------------------------------------------------------------


async def test_a_source_is_made_changed_and_shown(door: Door, name: str) -> None:
    given = {
        "usual": "store",
        "origins": ["https://Shop.Example:443", "http://localhost:3000", "https://müşteri.example/"],
        "rate": 100.5,
        "quota": 1_000_000,
        "unplanned": "enforce",
        "trust": "server",
        "may": ["alias", "identify"],
        "identity_proof": "none",
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
        "trust": "server", "may": ["alias", "identify"], "identity_proof": "none",
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
