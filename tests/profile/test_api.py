"""What profile promises over HTTP: reading, waiting, paging, refusing."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from openapi_spec_validator import validate
from sqlalchemy.engine import Connection

from services.profile.tables import METADATA
from shared.paging import cursor
from tests.builders import after, identified, ordered, viewed
from tests.profile.service import Service, running, settings
from tests.servers import Installation

# --- reading ---------------------------------------------------------------------------------------------------------


async def test_after_waits_until_the_touchpoint_shows(service: Service) -> None:
    for number in range(5):
        seen = await service.shows("user_id:af-u", viewed(f"Page {number}", user="af-u", at=after(number)))
        assert seen["touchpoints"]["count"] == number + 1


async def test_what_is_not_there_yet_is_told_so(installed: Installation) -> None:
    async with running(settings(installed, patience=0.2)) as service:
        answer = await service.ask("user_id:nobody", after="0:999999")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_yet")
        assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("person", "query", "status", "code"),
    [
        ("user_id:nobody", {}, 404, "profile_not_found"),
        ("profile_id:0b6cf3a8-0000-5000-8000-000000000000", {}, 404, "profile_not_found"),
        ("profile_id:no-uuid", {}, 404, "profile_not_found"),
        ("nobody", {}, 400, "invalid_request"),
        ("user_id:", {}, 400, "invalid_request"),
        ("user_id:nobody", {"after": "yesterday"}, 400, "invalid_request"),
        ("user_id:no\0body", {}, 404, "profile_not_found"),
    ],
)
async def test_wrong_questions(service: Service, person: str, query: dict[str, str], status: int, code: str) -> None:
    answer = await service.ask(person, **query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_value_may_hold_anything(service: Service) -> None:
    strange = "a/b:c %2F?&=#ü/timeline x"
    assert (await service.shows(f"user_id:{strange}", viewed(user=strange)))["touchpoints"]["count"] == 1


@pytest.mark.parametrize(
    ("path", "cursor"),
    [
        ("profiles/user_id:nobody/timeline", "made up"),
        ("profiles/user_id:nobody/timeline", cursor("2026-03-01T10:00:00", "no time zone", "web")),
        ("profiles/user_id:nobody/timeline", cursor("2026-03-01T10:00:00Z", 7, "web")),
        ("segments", cursor("a\0b")),
        ("profiles/user_id:nobody/timeline", cursor("2026-03-01T10:00:00Z", "a\0b", "web")),
        ("segments/any/profiles", cursor("no uuid")),
    ],
)
async def test_a_cursor_that_we_never_gave_is_refused(service: Service, path: str, cursor: str) -> None:
    answer = await service.send("GET", f"/v1/{path}", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["details"][0]["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    "path", ["profiles/user_id:u", "profiles/user_id:u/timeline", "segments", "segments/s", "segments/s/profiles"]
)
async def test_every_route_needs_the_secret_key(service: Service, path: str) -> None:
    assert (await service.client.get(f"/v1/{path}")).status_code == 401
    wrong = base64.b64encode(b"another key:").decode()
    assert (await service.client.get(f"/v1/{path}", headers={"Authorization": f"Basic {wrong}"})).status_code == 403


async def test_the_timeline_pages_through_all_identifiers_newest_first(service: Service) -> None:
    life = [
        viewed(f"Page {number}", anonymous="tl-a" if number % 2 else "tl-b", at=after(number // 2))
        for number in range(9)
    ]
    life += [identified("tl-u", "tl-a", at=after(20)), identified("tl-u", "tl-b", at=after(21))]
    await service.shows("user_id:tl-u", *life)

    whole, cursor = [], None
    while True:
        query = {"limit": "4", **({"cursor": cursor} if cursor else {})}
        answer = (await service.send("GET", "/v1/profiles/user_id:tl-u/timeline", params=query)).json()
        whole += answer["touchpoints"]
        cursor = answer["next"]
        if cursor is None:
            break
        assert len(answer["touchpoints"]) == 4

    expected = sorted(life, key=lambda each: (each.at, each.id), reverse=True)
    assert [each["touchpoint_id"] for each in whole] == [each.id for each in expected]
    assert whole[0]["identifiers"] == [{"kind": "anonymous_id", "value": "tl-b"}, {"kind": "user_id", "value": "tl-u"}]


async def test_the_timeline_is_filtered_by_channel_and_name(service: Service) -> None:
    life = [
        ordered(5, user="fi-u", at=after(1)),
        ordered(6, order="o-2", user="fi-u", at=after(2), channel="store"),
        viewed(user="fi-u", at=after(3), channel="store"),
    ]
    await service.shows("user_id:fi-u", *life)

    async def found(**query: str) -> list[str]:
        answer = await service.send("GET", "/v1/profiles/user_id:fi-u/timeline", params=query)
        return [each["touchpoint_id"] for each in answer.json()["touchpoints"]]

    assert await found(channel="store") == [life[2].id, life[1].id]
    assert await found(name="Order Completed") == [life[1].id, life[0].id]
    assert await found(name="Order Completed", channel="store") == [life[1].id]
    properties = (await service.send("GET", "/v1/profiles/user_id:fi-u/timeline")).json()["touchpoints"][1][
        "properties"
    ]
    assert properties == {"order_id": "o-2", "total": 6}
    assert (
        await service.send("GET", "/v1/profiles/user_id:fi-u/timeline", params={"cursor": "made up"})
    ).status_code == 400
    assert (await service.send("GET", "/v1/profiles/user_id:nobody/timeline")).status_code == 404


# --- segments ---------------------------------------------------------------------------------------------------------


async def test_a_rule_that_does_not_compile_is_refused_with_its_place(service: Service) -> None:
    answer = await service.send("PUT", "/v1/segments/bad", json={"name": "Bad", "rule": "computed.order_count >"})
    assert (answer.status_code, answer.json()["code"]) == (422, "rule_refused")
    assert answer.json()["details"][0]["path"] == "rule"
    assert answer.json()["details"][0]["line"] == 1
    assert (await service.send("GET", "/v1/segments/bad")).status_code == 404


async def test_segments_are_listed_by_id(service: Service) -> None:
    for name in ("ls-b", "ls-a", "ls-c"):
        await service.send("PUT", f"/v1/segments/{name}", json={"name": name, "rule": "false"})
    listed = (await service.send("GET", "/v1/segments")).json()
    assert [each["id"] for each in listed["segments"] if each["id"].startswith("ls-")] == ["ls-a", "ls-b", "ls-c"]
    first = (await service.send("GET", "/v1/segments", params={"limit": "1"})).json()
    second = (await service.send("GET", "/v1/segments", params={"limit": "1", "cursor": first["next"]})).json()
    paged = [each["id"] for each in (*first["segments"], *second["segments"])]
    assert paged == [each["id"] for each in listed["segments"][:2]]


# --- the house -------------------------------------------------------------------------------------------------------


async def test_the_documentation_and_the_metrics_are_there(service: Service) -> None:
    described = (await service.send("GET", "/openapi.json")).json()
    validate(described)
    paths = described["paths"]
    assert {"/v1/profiles/{person}", "/v1/profiles/{person}/timeline", "/v1/segments/{segment_id}"} <= paths.keys()
    exported = (await service.send("GET", "/metrics")).text
    assert "temas_profile_published_total" in exported
    assert (await service.client.get("/readyz")).status_code == 200


async def test_the_tables_are_what_the_migrations_make(service: Service) -> None:
    def ours(name: str | None, kind: str, _: Any) -> bool:
        return kind != "table" or not str(name).startswith("timeline_")  # partitions come and go with time

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": ours})
        return [each for each in compare_metadata(context, METADATA) if "alembic_version" not in str(each)]

    async with service.app.state.desk.database.begin() as work:
        assert await work.run_sync(differences) == []
