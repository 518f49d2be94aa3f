"""The tracking plan as people keep it over HTTP, and what it does to calls."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from prometheus_client import generate_latest

from services.ingest.service.looking import Tail
from shared.errors import LogUnavailable
from shared.settings import KafkaSettings
from tests.builders import Json, batch, identify, page, track
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door, Place, opened
from tests.waiting import in_time, until

NUMBER = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number", "minimum": 0}}}


@pytest.fixture
def event() -> str:
    """The name of an event that no other test has."""
    return f"Order {uuid.uuid4().hex[:8]}"


async def desk(door: Door, method: str, path: str, **rest: Any) -> httpx.Response:
    """Asked with the secret key, which may do everything."""
    return await door.ask(method, f"/v1/{path}", auth=(SECRET_KEY, ""), **rest)


def address(event: str, kind: str = "track") -> str:
    return f"plan/{kind}/{quote(event, safe='')}"


async def planned(door: Door, event: str, schema: Any = NUMBER, mode: str = "enforce", **query: str) -> Json:
    answer = await desk(door, "PUT", address(event), json={"mode": mode, "schema": schema}, params=query)
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


async def in_force(door: Door) -> None:
    """Return once this process knows the newest plan."""
    changes = (await desk(door, "GET", "audit", params={"limit": 1})).json()["changes"]

    async def known() -> bool:
        return bool(door.app.state.desk.registry.current.revision >= changes[0]["id"])

    await until(known)


def counted(name: str, **labels: str) -> float:
    label = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    lines = (line for line in generate_latest().decode().splitlines() if line.startswith(f"{name}{{{label}}} "))
    return next((float(line.rpartition(" ")[2]) for line in lines), 0.0)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- what it does to calls -------------------------------------------------------------------------------------------


async def test_enforced_a_call_that_departs_is_400_by_field_and_is_kept(door: Door, event: str) -> None:
    await planned(door, event)
    await in_force(door)
    assert (await door.post("/v1/track", track(event, {"total": 5}, user=event))).status_code == 200

    answer = await door.post("/v1/track", track(event, {"total": "5"}, user=event))
    assert code(answer) == (400, "invalid_request")
    [detail] = answer.json()["details"]
    assert (detail["path"], detail["code"]) == ("$.properties.total", "plan_violation")
    assert detail["message"] == "properties.total must be a number; it is text"

    assert len(await door.touchpoints(of=event)) == 1
    [rejected] = await door.rejected(holding=event.encode())
    assert [(each.path, each.code) for each in rejected.data.reasons] == [("$.properties.total", "plan_violation")]
    assert rejected.data.name == event


async def test_enforced_in_a_batch_only_what_departs_is_rejected(door: Door, event: str) -> None:
    await planned(door, event)
    await in_force(door)
    sent = batch(track(event, {"total": 5}, user=event), track(event, {}, user=event), page(user=event))
    answer = await door.post("/v1/batch", sent)
    assert (answer.status_code, answer.headers["temas-rejected"]) == (200, "1")
    assert len(await door.touchpoints(of=event)) == 2


async def test_observed_a_departure_is_let_through_and_counted(door: Door, event: str) -> None:
    await planned(door, event, mode="observe")
    await in_force(door)
    before = counted("temas_ingest_plan_departures_total", mode="observe", source="web")
    for total in ("5", "6"):
        assert (await door.post("/v1/track", track(event, {"total": total}, user=event))).status_code == 200
    assert len(await door.touchpoints(of=event)) == 2
    assert counted("temas_ingest_plan_departures_total", mode="observe", source="web") == before + 2

    async def written() -> Json | None:
        found: Json = (await desk(door, "GET", f"{address(event)}/violations")).json()
        return found if sum(each["calls"] for each in found["violations"]) == 2 else None

    [violation] = (await until(written))["violations"]
    assert (violation["source"], violation["mode"], violation["path"]) == ("web", "observe", "$.properties.total")
    assert (await desk(door, "GET", address(event))).json()["departures"] == 2


async def test_traits_are_planned_for_a_type_as_a_whole(door: Door) -> None:
    body = {"mode": "enforce", "schema": {"properties": {"email": {"format": "email"}}}}
    assert (await desk(door, "PUT", "plan/identify", json=body)).json()["name"] == ""
    await in_force(door)
    answer = await door.post("/v1/identify", identify("u", {"email": "nobody"}))
    assert [each["path"] for each in answer.json()["details"]] == ["$.traits.email"]
    assert (await desk(door, "DELETE", "plan/identify")).status_code == 204
    await in_force(door)
    assert (await door.post("/v1/identify", identify("u", {"email": "nobody"}))).status_code == 200


async def test_what_a_source_plans_for_itself_holds_instead(door: Door, event: str) -> None:
    await planned(door, event)
    await planned(door, event, {"required": ["own"]}, source="server")
    await in_force(door)
    call = track(event, {"own": 1}, user=event)
    assert (await door.post("/v1/track", call)).status_code == 400
    assert (await door.post("/v1/track", call, auth=(SECRET_KEY, ""))).status_code == 200
    await desk(door, "DELETE", address(event), params={"source": "server"})
    await in_force(door)
    assert (await door.post("/v1/track", call, auth=(SECRET_KEY, ""))).status_code == 400


async def test_a_source_may_send_planned_events_only(door: Door, event: str) -> None:
    await planned(door, event, {})
    assert (await desk(door, "PUT", "sources/strict", json={"unplanned": "enforce"})).status_code == 200
    key = (await desk(door, "POST", "sources/strict/keys", json={"scopes": ["write"]})).json()["key"]
    await in_force(door)
    assert (await door.post("/v1/track", track(event, user=event), auth=(key, ""))).status_code == 200
    answer = await door.post("/v1/track", track(event + "!", user=event), auth=(key, ""))
    assert [(each["path"], each["code"]) for each in answer.json()["details"]] == [("$.event", "unplanned_event")]
    assert (await door.post("/v1/track", track(event + "!", user=event))).status_code == 200


async def test_a_change_reaches_another_process_by_itself(door: Door, place: Place) -> None:
    name = f"Elsewhere {uuid.uuid4().hex}"
    async with opened(place) as other:
        assert (await other.post("/v1/track", track(name, user="u"))).status_code == 200
        await planned(door, name)

        async def refused() -> bool:
            return (await other.post("/v1/track", track(name, user="u"))).status_code == 400

        await until(refused)


# --- keeping it ------------------------------------------------------------------------------------------------------


async def test_every_change_is_a_version_and_any_can_be_restored(door: Door, event: str) -> None:
    first = await planned(door, event)
    assert (first["version"], first["mode"], first["schema"], first["source"]) == (1, "enforce", NUMBER, "*")
    assert first["saved_by"] == "settings:secret"
    assert (await planned(door, event))["version"] == 1  # the same again is no change
    assert (await planned(door, event, mode="observe"))["version"] == 2
    assert (await desk(door, "DELETE", address(event))).status_code == 204
    assert code(await desk(door, "GET", address(event))) == (404, "planned_event_not_found")
    assert code(await desk(door, "DELETE", address(event))) == (404, "planned_event_not_found")

    restored = (await desk(door, "POST", f"{address(event)}/versions/1/restore")).json()
    assert (restored["version"], restored["mode"], restored["schema"]) == (4, "enforce", NUMBER)
    assert code(await desk(door, "POST", f"{address(event)}/versions/3/restore")) == (409, "version_removed")
    assert code(await desk(door, "POST", f"{address(event)}/versions/9/restore")) == (404, "version_not_found")

    listed = await desk(door, "GET", f"{address(event)}/versions", params={"limit": 3})
    assert [(each["version"], each["mode"]) for each in listed.json()["versions"]] == [
        (4, "enforce"), (3, "removed"), (2, "observe"),
    ]  # fmt: skip
    rest = await desk(door, "GET", f"{address(event)}/versions", params={"cursor": listed.json()["next"]})
    assert [each["version"] for each in rest.json()["versions"]] == [1]


async def test_changes_are_written_down(door: Door, event: str) -> None:
    await planned(door, event)
    await planned(door, event)
    await planned(door, event, mode="off")
    await desk(door, "DELETE", address(event))
    changes = (await desk(door, "GET", "audit", params={"object": address(event)})).json()["changes"]
    assert [(each["actor"], each["action"], each["before"], each["after"]) for each in changes] == [
        ("settings:secret", "removed", {"version": 2, "mode": "off"}, {"version": 3, "mode": "removed"}),
        ("settings:secret", "changed", {"version": 1, "mode": "enforce"}, {"version": 2, "mode": "off"}),
        ("settings:secret", "made", None, {"version": 1, "mode": "enforce"}),
    ]


async def test_nobody_overwrites_what_they_have_not_seen(door: Door, event: str) -> None:
    def change(version: int, mode: str) -> Any:
        body = {"mode": mode, "schema": NUMBER, "version": version}
        return desk(door, "PUT", address(event), json=body)

    assert code(await change(1, "off")) == (409, "plan_changed")
    assert (await change(0, "off")).status_code == 200
    assert code(await change(0, "observe")) == (409, "plan_changed")
    answers = await asyncio.gather(*(change(1, mode) for mode in ("observe", "enforce")))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


@pytest.mark.parametrize("name", ["a/versions", "versions", "try", "100% ünlü?&=#", "seen", "a\\b", " "])
async def test_a_name_may_hold_anything(door: Door, name: str) -> None:
    assert (await planned(door, name))["name"] == name
    assert (await desk(door, "GET", address(name))).json()["name"] == name
    assert [each["name"] for each in (await desk(door, "GET", f"{address(name)}/versions")).json()["versions"]] == [
        name
    ]
    await in_force(door)
    assert (await door.post("/v1/track", track(name, user="u"))).status_code == 400
    assert (await desk(door, "DELETE", address(name))).status_code == 204


async def test_what_is_in_force_is_listed_by_type_and_name(door: Door, event: str) -> None:
    for suffix in ("b", "a"):
        await planned(door, event + suffix)
    await planned(door, event + "a", {}, source="web")
    await desk(door, "DELETE", address(event + "b"))
    found, cursor = [], None
    while True:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        answer = (await desk(door, "GET", "plan", params=query)).json()
        found += [(each["name"], each["source"], each["departures"]) for each in answer["events"]]
        cursor = answer["next"]
        if cursor is None:
            break
    assert found == sorted(found)
    assert [each for each in found if each[0].startswith(event)] == [(event + "a", "*", 0), (event + "a", "web", 0)]


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"$ref": "https://example.com/order.json"}, "schema.$ref"),
        ({"allOf": [{"$ref": "#"}]}, "schema"),
        ({"title": "x" * 1_000_000}, "schema"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "schema.properties.a.pattern"),
        ([], "schema"),
        (None, "schema"),
    ],
)
async def test_a_hostile_schema_is_refused_with_the_place(door: Door, event: str, schema: Any, path: str) -> None:
    for method, where in (("PUT", address(event)), ("POST", f"{address(event)}/try")):
        body = {"schema": schema, **({"mode": "off"} if method == "PUT" else {})}
        answer = await desk(door, method, where, json=body)
        assert code(answer) == (422, "schema_refused")
        assert answer.json()["details"][0]["path"] == path
    assert (await desk(door, "GET", address(event))).status_code == 404


async def test_a_schema_that_is_nested_too_deeply_is_refused(door: Door, event: str) -> None:
    for levels in (100, 100_000):
        body = '{"mode": "off", "schema": ' + '{"not":' * levels + "{}" + "}" * levels + "}"
        answer = await desk(door, "PUT", address(event), content=body, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500, answer.text
    assert (await door.ask("GET", "/healthz")).status_code == 200


async def test_a_pattern_that_would_take_for_ever_elsewhere_is_harmless(door: Door, event: str) -> None:
    await planned(door, event, {"properties": {"a": {"pattern": "^(a+)+$"}}})
    await in_force(door)
    answer = await in_time(door.post("/v1/track", track(event, {"a": "a" * 30_000 + "b"}, user="u")))
    assert [each["path"] for each in answer.json()["details"]] == ["$.properties.a"]


@pytest.mark.parametrize(
    ("path", "body", "status", "what"),
    [
        ("plan/track/x", {"mode": "on", "schema": {}}, 422, "invalid_request"),
        ("plan/track/x", {"mode": "off", "schema": {}, "modes": 1}, 422, "invalid_request"),
        ("plan/track/x?source=a b", {"mode": "off", "schema": {}}, 422, "invalid_request"),
        ("plan/track/x?source=nobody", {"mode": "off", "schema": {}}, 404, "source_not_found"),
        ("plan/track/" + "x" * 201, {"mode": "off", "schema": {}}, 400, "invalid_request"),
        ("plan/alias/x", {"mode": "off", "schema": {}}, 422, "invalid_request"),
        ("plan/track", {"mode": "off", "schema": {}}, 404, "no_such_route"),
        ("plan/identify/x", {"mode": "off", "schema": {}}, 404, "no_such_route"),
    ],
)
async def test_wrong_changes(door: Door, path: str, body: Json, status: int, what: str) -> None:
    assert code(await desk(door, "PUT", path, json=body)) == (status, what)


ROUTES = [
    ("GET", "plan"), ("GET", "plan/seen"), ("POST", "plan/infer"),
    *((method, f"plan/{event}{suffix}") for event in ("track/x", "identify") for method, suffix in (
        ("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/versions"), ("GET", "/violations"), ("POST", "/try"),
        ("POST", "/versions/1/restore"),
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
async def reader(door: Door) -> tuple[str, str]:
    """A key that may look at everything."""
    made = (await desk(door, "POST", "sources/server/keys", json={"scopes": ["read:people"]})).json()
    await in_force(door)
    return (made["key"], "")


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_says_who_may(door: Door, reader: tuple[str, str], method: str, path: str) -> None:
    async def status(auth: tuple[str, str] | None) -> int:
        body = {"mode": "off", "schema": {}, "type": "track"}
        return (await door.ask(method, f"/v1/{path}", auth=auth, json=None if method == "GET" else body)).status_code

    assert (await status(None), await status(("no key", "")), await status((WRITE_KEY, ""))) == (401, 401, 403)
    changes = method in ("PUT", "DELETE") or path.endswith("restore")
    assert (await status(reader) == 403) == changes


# --- what has been seen ----------------------------------------------------------------------------------------------


async def sent(door: Door, event: str, count: int) -> list[Json]:
    held = [{"total": n / 2, "currency": "EUR" if n % 3 else "TRY", "note": f"from {n}@x"} for n in range(count)]
    calls = [track(event, each, user=event, id=str(number)) for number, each in enumerate(held)]
    assert (await door.post("/v1/batch", batch(*calls))).status_code == 200
    return held


async def test_a_schema_is_proposed_from_what_was_seen_and_accepts_it(door: Door, event: str) -> None:
    held = await sent(door, event, 120)
    told = (await desk(door, "POST", "plan/infer", json={"type": "track", "name": event})).json()
    assert (told["events"], told["note"], told["names"]) == (120, None, {})
    assert told["schema"]["properties"] == {
        "total": {"type": "number", "minimum": 0},
        "currency": {"type": "string", "enum": ["EUR", "TRY"]},
        "note": {"type": "string"},
    }
    assert {each["path"]: (each["seen"], each["distinct"]) for each in told["fields"]} == {
        "$.properties.total": (120, 120), "$.properties.currency": (120, 2), "$.properties.note": (120, 120),
    }  # fmt: skip
    await planned(door, event, told["schema"])
    await in_force(door)
    for each in held[:3]:
        assert (await door.post("/v1/track", track(event, each, user=event))).status_code == 200


async def test_a_proposal_from_few_or_none_says_so(door: Door, event: str) -> None:
    await sent(door, event, 3)
    few = (await desk(door, "POST", "plan/infer", json={"type": "track", "name": event})).json()
    assert few["note"] == "made from 3 only: what all of them had may be missing in the next one"
    none = (await desk(door, "POST", "plan/infer", json={"type": "track", "name": event + "?"})).json()
    assert (none["events"], none["fields"]) == (0, [])
    assert none["names"][event] == 3
    others = {"type": "track", "name": event, "source": "server"}
    assert (await desk(door, "POST", "plan/infer", json=others)).json()["events"] == 0


async def test_only_the_newest_calls_are_looked_at(door: Door, event: str) -> None:
    await sent(door, event, 20)
    told = (await desk(door, "POST", "plan/infer", json={"type": "track", "name": event, "events": 5})).json()
    assert told["events"] == 5


async def test_a_trial_tells_what_a_schema_would_do_and_changes_nothing(door: Door, event: str) -> None:
    await sent(door, event, 30)
    schema = {"properties": {"total": {"maximum": 10}, "currency": {"const": "EUR"}}}
    told = (await desk(door, "POST", f"{address(event)}/try", json={"schema": schema})).json()
    assert (told["checked"], told["would_violate"]) == (30, 16)
    assert [(each["path"], each["calls"], each["code"]) for each in told["reasons"]] == [
        ("$.properties.currency", 10, "plan_violation"), ("$.properties.total", 9, "plan_violation"),
    ]  # fmt: skip
    assert told["reasons"][1]["message"] == "properties.total must be 10 or less"
    assert (await desk(door, "GET", address(event))).status_code == 404


async def test_traits_of_groups_and_persons_are_seen_too(door: Door) -> None:
    group = {"groupId": "g", "userId": "u", "traits": {"employees": 5}}
    assert (await door.post("/v1/group", group)).status_code == 200
    told = (await desk(door, "POST", "plan/infer", json={"type": "group"})).json()
    assert [each["path"] for each in told["fields"]] == ["$.traits.employees"]
    assert (await door.post("/v1/identify", identify("u", {"plan": "pro"}))).status_code == 200
    told = (await desk(door, "POST", "plan/infer", json={"type": "identify"})).json()
    assert "$.traits.plan" in [each["path"] for each in told["fields"]]


async def test_the_events_that_were_seen_are_listed_with_what_the_plan_says(door: Door, event: str) -> None:
    await sent(door, event, 3)
    await planned(door, event, {}, mode="observe")
    await in_force(door)
    await sent(door, event + "!", 2)
    told = (await desk(door, "GET", "plan/seen")).json()
    mine = {each["name"]: each for each in told["events"] if each["name"].startswith(event)}
    assert {name: (each["calls"], each["planned"], each["source"], each["type"]) for name, each in mine.items()} == {
        event: (3, "observe", "web", "track"), event + "!": (2, None, "web", "track"),
    }  # fmt: skip
    assert told["looked_at"] >= 5


async def test_while_kafka_is_away_it_says_so() -> None:
    nobody = Tail(KafkaSettings(bootstrap="127.0.0.1:1"), seconds=1)
    with pytest.raises(LogUnavailable):
        await nobody.each(lambda touchpoint: None)


async def test_of_a_long_log_the_end_is_looked_at(door: Door, event: str) -> None:
    await sent(door, event, 40)
    await sent(door, event + "!", 5)  # of the same person or not, partitions are filled unevenly
    seen: list[str | None] = []
    looked_at = await Tail(door.kafka, records=8).each(lambda touchpoint: seen.append(touchpoint.data.name))
    assert looked_at == len(seen) <= 8
    assert event + "!" in seen


async def test_the_plan_is_documented(door: Door) -> None:
    paths = (await door.ask("GET", "/openapi.json", auth=(SECRET_KEY, ""))).json()["paths"]
    assert {"/v1/plan/{type}/{name}", "/v1/plan/{type}", "/v1/plan/{type}/{name}/versions/{version}/restore"} <= set(
        paths
    )
    assert json.dumps(paths["/v1/plan/{type}/{name}"]["put"]).count('"name": "name"') == 1
