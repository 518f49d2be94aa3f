"""What a person who looks after rejected events notices: they are found, understood, mended, replayed once."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.ingest.store.rejected import KEPT_HISTORY
from shared.clock import rfc3339, system_clock
from shared.db import Database, Work
from shared.events import encode
from tests.builders import Json, batch, page
from tests.ingest.door import Door, Place, opened
from tests.ingest.rejects import (
    MENDED,
    NO_HELP,
    SECRET,
    ask,
    bad,
    column,
    given,
    logged,
    order,
    refused,
    rejection,
    replay,
    waiting,
)
from tests.waiting import until


@pytest.fixture(scope="module")
async def door(place: Place) -> AsyncIterator[Door]:
    async with opened(place, rejected_days=3_650) as door:  # the service sweeps, too
        yield door


@pytest.fixture
def name() -> str:
    """A name of an event that no other test has."""
    return f"Event {uuid.uuid4()}"


# --- full circle -----------------------------------------------------------------------------------------------------


async def test_from_a_bad_release_to_the_log(door: Door, name: str) -> None:
    calls = [bad(name, str(number), timestamp="2026-03-01T10:00:00Z") for number in range(3)]
    answer = await door.post("/v1/batch", batch(*calls, page("Home", user="u-1"), context={"ip": "1.2.3.4"}))
    assert (answer.status_code, answer.headers["temas-rejected"]) == (200, "3")
    items = await waiting(door, name, 3)

    [group] = (await ask(door, "/counts", event=name))["counts"]
    assert (group["reason"], group["source"], group["event"], group["count"]) == ("wrong_type", "web", name, 3)

    one = await ask(door, f"/{items[0]['id']}")
    assert column(one["violations"], "path") == ["$.properties"]
    assert one["body"] in calls
    assert (one["body_form"], one["context"], one["history"]) == ("json", {"ip": "1.2.3.4"}, [])

    trial = await replay(door, {"event": name}, dry_run=True)
    assert (trial["selected"], trial["would_accept"], trial["would_reject"], trial["remaining"]) == (3, 3, 0, 0)
    [sample, *_] = trial["samples"]
    assert sample["before"] in calls
    assert sample["after"] == sample["before"] | {"properties": {"total": float(sample["before"]["properties"])}}
    assert await logged(door, name) == []
    assert column(await waiting(door, name, 3), "status") == ["waiting"] * 3

    done = await replay(door, {"event": name})
    assert (done["selected"], done["accepted"], done["rejected"], done["remaining"]) == (3, 3, 0, 0)
    found = await logged(door, name)
    assert sorted(each.id for each in found) == sorted(column(calls, "messageId"))
    assert sorted(each.properties()["total"] for each in found) == [0.0, 1.0, 2.0]
    assert {rfc3339(each.at) for each in found} == {"2026-03-01T10:00:00.000Z"}
    assert {rfc3339(each.data.received_at) for each in found} == set(column(items, "received_at"))
    assert {bytes(each.data.context) for each in found} == {b'{"ip":"1.2.3.4"}'}

    one = await ask(door, f"/{items[0]['id']}")
    [entry] = one["history"]
    assert (one["status"], entry["outcome"], entry["by"]) == ("replayed", "replayed", "settings:secret")
    assert entry["position"]
    assert entry["position"].partition(":")[0] == done["position"].partition(":")[0]

    again = await replay(door, {"event": name})
    assert (again["selected"], again["accepted"]) == (0, 0)
    assert len(await logged(door, name)) == 3


async def test_every_violation_is_told_by_its_path(door: Door, name: str) -> None:
    call = {"type": "track", "event": name, "properties": [], "timestamp": "yesterday", "messageId": {"a": 1}}
    [item] = await refused(door, name, call)
    assert (item["code"], item["path"], item["message_id"]) == ("wrong_type", "$.properties", None)
    one = await ask(door, f"/{item['id']}")
    assert sorted(column(one["violations"], "path")) == ["$.messageId", "$.properties", "$.timestamp", "$.userId"]
    assert one["message"] == one["violations"][0]["message"]


async def test_a_call_without_an_id_gets_that_of_the_rejected_event(door: Door, name: str) -> None:
    [item] = await refused(door, name, bad(name, messageId=None))
    await replay(door, {"ids": [item["id"]]})
    assert [each.id for each in await logged(door, name)] == [item["id"]]


async def test_a_single_call_is_judged_as_what_its_address_says(door: Door, name: str) -> None:
    answer = await door.post("/v1/track", {"event": name, "userId": "u-1", "properties": "1"})
    assert answer.status_code == 400
    [item] = await waiting(door, name, 1)
    assert (item["type"], (await ask(door, f"/{item['id']}"))["call"]) == ("track", "track")
    assert (await replay(door, {"ids": [item["id"]]}))["accepted"] == 1


async def test_what_no_one_can_read_is_written_anew(door: Door, name: str) -> None:
    broken = f'{{"type": "track", "event": "{name}", "userId": '.encode()
    assert (await door.client.post("/v1/track", content=broken)).status_code == 400
    item = await until(lambda: _holding(door, name))
    one = await ask(door, f"/{item['id']}")
    assert (one["body"], one["body_form"], one["code"]) == (broken.decode(), "text", "malformed_json")

    trial = await replay(door, {"ids": [item["id"]]}, dry_run=True)
    assert trial["samples"][0]["after"] is None
    assert trial["samples"][0]["reasons"][0]["code"] == "unreadable"
    whole = {"event": name, "userId": "u-1", "messageId": "m-anew"}
    assert (await replay(door, {"ids": [item["id"]]}, {"body": whole}))["accepted"] == 1
    assert [each.id for each in await logged(door, name)] == ["m-anew"]
    assert name not in str((await _audit(door))[0])  # the audit stays for ever; what an event says must not


async def _holding(door: Door, text: str) -> Json | None:
    items = (await ask(door, reason="malformed_json", limit=500))["rejected"]
    bodies = [(each, (await ask(door, f"/{each['id']}"))["body"]) for each in items]
    return next((each for each, body in bodies if text in body), None)


async def test_bytes_that_are_no_text_are_shown_in_base64(door: Door) -> None:
    sent = b'{"userId": "\xff"}'
    assert (await door.client.post("/v1/track", content=sent)).status_code == 400

    async def shown() -> Json | None:
        items = (await ask(door, reason="malformed_encoding"))["rejected"]
        return await ask(door, f"/{items[0]['id']}") if items else None

    one = await until(shown)
    assert (one["body"], one["body_form"]) == (base64.b64encode(sent).decode(), "base64")


async def test_a_cloudevent_is_mended_as_one(door: Door, name: str) -> None:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/shop",
        "type": name,
        "subject": "user_id:u-1",
        "data": {"a": 1},
    }
    structured = {"content-type": "application/cloudevents+json"}
    answer = await door.client.post("/events", content=encode({**event, "time": "yesterday"}), headers=structured)
    assert answer.status_code == 400
    [item] = await waiting(door, name, 1)
    assert (item["type"], item["message_id"], item["path"]) == ("track", "/shop#e-1", "$.time")
    assert (await ask(door, f"/{item['id']}"))["form"] == "cloudevent"

    assert (await replay(door, {"ids": [item["id"]]}, None))["rejected"] == 1
    assert (await replay(door, {"ids": [item["id"]]}, {"patch": [{"op": "remove", "path": "/time"}]}))["accepted"] == 1
    [touchpoint] = await logged(door, name)
    assert (touchpoint.id, touchpoint.properties()) == ("/shop#e-1", {"a": 1})


# --- the plan --------------------------------------------------------------------------------------------------------


async def plan(door: Door, name: str, mode: str) -> None:
    """From now on the total of that event is to be a number."""
    schema = {"type": "object", "properties": {"total": {"type": "number"}}}
    answer = await door.client.put(f"/v1/plan/track/{name}", json={"mode": mode, "schema": schema}, auth=SECRET)
    assert answer.is_success, answer.text
    await door.app.state.desk.registry.load()


async def test_what_departs_from_the_plan_is_mended_to_fit_it_or_let_through_once_the_plan_does(
    door: Door, name: str
) -> None:
    await plan(door, name, "enforce")
    item, other = await refused(door, name, *(bad(name, "", properties={"total": "12.50"}) for _ in range(2)))
    assert (item["code"], item["path"]) == ("plan_violation", "$.properties.total")
    assert (await replay(door, {"event": name}, None))["rejected"] == 2

    as_number = {"set": {"properties.total": "double(event.properties.total)"}}
    assert (await replay(door, {"ids": [item["id"]]}, as_number))["accepted"] == 1

    await plan(door, name, "observe")
    assert (await replay(door, {"event": name}, None))["accepted"] == 1
    assert [each.properties()["total"] for each in await logged(door, name)] in ([12.5, "12.50"], ["12.50", 12.5])
    assert column((await ask(door, f"/{other['id']}"))["history"], "outcome") == ["rejected", "replayed"]


# --- replaying -------------------------------------------------------------------------------------------------------


async def test_what_a_fix_does_not_help_goes_on_waiting_and_says_why(door: Door, name: str) -> None:
    [good, hopeless] = await refused(door, name, bad(name, "1"), bad(name, "x"))
    ids = {each["id"] for each in (good, hopeless)}
    done = await replay(door, {"event": name})
    assert (done["accepted"], done["rejected"]) == (1, 1)

    items = {each["status"]: each for each in await waiting(door, name, 2)}
    assert {each["id"] for each in items.values()} == ids
    one = await ask(door, f"/{items['waiting']['id']}")
    [entry] = one["history"]
    assert (entry["outcome"], entry["reasons"][0]["path"]) == ("rejected", "$.properties")
    assert entry["reasons"][0]["code"] == "expression_failed"
    assert (await ask(door, f"/{items['replayed']['id']}"))["history"][0]["replay"] == entry["replay"]

    last = await replay(door, {"event": name}, {"set": {"properties": "{'total': 0}"}})
    assert (last["selected"], last["accepted"]) == (1, 1)
    history = (await ask(door, f"/{one['id']}"))["history"]
    assert column(history, "outcome") == ["rejected", "replayed"]


async def test_the_history_keeps_the_last_attempts(door: Door, name: str) -> None:
    [item] = await refused(door, name, bad(name))
    for _ in range(KEPT_HISTORY + 3):
        await replay(door, {"ids": [item["id"]]}, NO_HELP)
    history = (await ask(door, f"/{item['id']}"))["history"]
    assert len(history) == KEPT_HISTORY
    assert column(history, "at") == sorted(column(history, "at"))


async def test_a_dry_run_is_what_happens_when_nothing_is_said(door: Door, name: str) -> None:
    [item] = await refused(door, name, bad(name))
    for what in ("replay", "discard"):
        assert (await order(door, what, {"event": name}))["dry_run"] is True
    assert (await ask(door, f"/{item['id']}"))["history"] == []


async def test_a_replay_goes_on_where_the_one_before_ended(door: Door, name: str) -> None:
    await refused(door, name, *(bad(name, "x" if number < 3 else "1") for number in range(5)))
    first = await replay(door, {"event": name}, limit=2)
    second = await replay(door, {"event": name}, limit=2, cursor=first["next"])
    third = await replay(door, {"event": name}, limit=2, cursor=second["next"])
    assert [each["selected"] for each in (first, second, third)] == [2, 2, 1]
    assert [each["remaining"] for each in (first, second, third)] == [3, 1, 0]
    assert third["next"] is None
    assert sum(each["accepted"] for each in (first, second, third)) == 2


async def test_of_two_replays_at_once_each_event_is_in_one(place: Place, door: Door, name: str) -> None:
    calls = [bad(name) for _ in range(350)]
    await refused(door, name, *calls)
    async with opened(place) as other:
        both = await asyncio.gather(*(replay(each, {"event": name}) for each in (door, other, door, other)))
    assert sum(each["accepted"] for each in both) == 350
    assert sorted(each.id for each in await logged(door, name)) == sorted(column(calls, "messageId"))


class Dying(Database):
    """The database of a process that dies before each of its commits."""

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Work]:
        async with super().begin() as work:
            yield work
            raise ConnectionResetError("the process is no more")


async def test_who_dies_between_log_and_commit_appends_the_same_touchpoints_again(door: Door, name: str) -> None:
    calls = [bad(name), bad(name, messageId=None)]
    items = await refused(door, name, *calls)
    desk = door.app.state.desk
    door.app.state.desk = replace(desk, database=Dying(desk.database.engine))
    try:
        await replay(door, {"event": name}, expected=503)
    finally:
        door.app.state.desk = desk
    before = await logged(door, name)
    assert len(before) == 2
    assert column(await waiting(door, name, 2), "status") == ["waiting"] * 2

    assert (await replay(door, {"event": name}))["accepted"] == 2
    found = await logged(door, name)
    assert len(found) == 4
    nameless = next(each["id"] for each in items if each["message_id"] is None)
    assert {(each.source, each.id) for each in found} == {("web", calls[0]["messageId"]), ("web", nameless)}
    assert {(each.id, each.at, each.data.received_at) for each in found} == {
        (each.id, each.at, each.data.received_at) for each in before
    }


async def test_what_consumers_no_longer_remember_is_received_now(door: Door, name: str) -> None:
    long_ago = system_clock() - timedelta(days=40)
    await given(door, [rejection(name, received_at=long_ago)])
    [item] = await waiting(door, name, 1)
    began = system_clock()
    await replay(door, {"ids": [item["id"]]})
    [touchpoint] = await logged(door, name)
    assert touchpoint.at == long_ago
    assert touchpoint.data.received_at >= began


@pytest.mark.parametrize(
    ("fix", "path"),
    [
        ({}, "fix"),
        ({"patch": [], "set": None}, "patch"),
        ({"set": {"a": "1"}, "body": {}}, "fix"),
        ({"set": {"a..b": "1"}}, "a..b"),
        ({"patch": [{"op": "add", "path": "/a"}]}, "patch.0"),
        ({"patch": [{"op": "copy", "path": "/a"}]}, "patch.0"),
        ({"patch": [{"op": "remove", "path": "a"}]}, "patch.0"),
        ({"patch": [{"op": "eval", "path": "/a"}]}, "patch.0.op"),
        ({"patch": [{"op": "test", "path": "", "value": 1}] * 101}, "patch"),
        ({"patch": [{"op": "add", "path": "/a", "value": "x" * 40_000}]}, "fix"),
        ({"patch": [{"op": "add", "path": "/a", "value": json.loads("[" * 40 + "]" * 40)}]}, "fix"),
        ({"body": {}}, "body"),
        ({"sett": {"a": "1"}}, "sett"),
    ],
)
async def test_a_fix_that_is_none_is_refused_by_its_field(door: Door, fix: Json, path: str) -> None:
    answer = await replay(door, {"event": "none"}, fix, expected=422)
    assert answer["code"] == "invalid_request"
    assert path in answer["details"][0]["path"]


async def test_an_expression_that_is_none_is_refused_with_its_place(door: Door) -> None:
    answer = await replay(door, {"event": "none"}, {"set": {"properties.total": "double(event.total"}}, expected=422)
    assert answer["code"] == "rule_refused"
    assert (answer["details"][0]["path"], answer["details"][0]["line"]) == ("fix.set.properties.total", 1)


@pytest.mark.parametrize(
    "select", [{"status": "replayed"}, {"from": "2026-03-01T10:00:00"}, {"event": "a\0b"}, {"ids": "r"}]
)
async def test_a_selection_that_is_none_is_refused(door: Door, select: Json) -> None:
    assert (await replay(door, select, expected=422))["code"] == "invalid_request"


# --- discarding ------------------------------------------------------------------------------------------------------


async def test_what_is_discarded_is_kept_and_never_replayed(door: Door, name: str) -> None:
    items = await refused(door, name, bad(name), bad(name), bad(name))
    assert await order(door, "discard", {"event": name}, limit=2) == {"dry_run": True, "selected": 2, "remaining": 1}
    done = await order(door, "discard", {"event": name}, limit=2, dry_run=False)
    assert done == {"dry_run": False, "selected": 2, "remaining": 1}
    assert (await replay(door, {"event": name}))["accepted"] == 1
    assert sorted(column(await waiting(door, name, 3), "status")) == ["discarded", "discarded", "replayed"]
    [entry] = (await ask(door, f"/{items[0]['id']}"))["history"]
    assert (entry["outcome"], entry["by"]) == ("discarded", "settings:secret")


# --- finding ---------------------------------------------------------------------------------------------------------


async def test_each_filter_finds_its_own(door: Door, name: str) -> None:
    await refused(door, name, bad(name))
    server = {"type": "page", "name": name, "properties": {}, "messageId": f"m-{name}"[:60]}
    await door.post("/v1/batch", batch(server), auth=SECRET)
    web_item, server_item = sorted(await waiting(door, name, 2), key=lambda each: each["source"], reverse=True)
    await order(door, "discard", {"ids": [server_item["id"]]}, dry_run=False)

    async def found(**query: Any) -> set[str]:
        items = (await ask(door, event=name, **query))["rejected"]
        counted = (await ask(door, "/counts", event=name, **query))["total"]
        assert counted == len(items)
        return set(column(items, "id"))

    web, other = {web_item["id"]}, {server_item["id"]}
    assert (await found(reason="wrong_type"), await found(reason="missing")) == (web, other)
    assert (await found(source="web"), await found(source="server")) == (web, other)
    assert (await found(type="track"), await found(type="page")) == (web, other)
    assert (await found(status="waiting"), await found(status="discarded")) == (web, other)
    assert (await found(status="replayed"), await found(message_id="nobody's")) == (set(), set())
    assert await found(message_id=server["messageId"]) == other
    border = server_item["received_at"]
    assert (await found(**{"from": border}), await found(to=border)) == (other, web)
    selected = {"event": name, "reason": "wrong_type", "source": "web", "type": "track", "to": border}
    assert (await replay(door, selected, dry_run=True))["selected"] == 1
    assert (await replay(door, {**selected, "from": border}, dry_run=True))["selected"] == 0


async def test_pages_come_newest_first_without_gaps(door: Door, name: str) -> None:
    for _ in range(3):
        await door.post("/v1/batch", batch(bad(name), bad(name), bad(name)))
    whole = column((await waiting(door, name, 9))[::-1], "id")
    shown, cursor = [], None
    while True:
        answer = await ask(door, event=name, limit=4, **({"cursor": cursor} if cursor else {}))
        shown += answer["rejected"]
        if (cursor := answer["next"]) is None:
            break
    assert column(shown, "id") == whole
    assert column(shown, "received_at") == sorted(column(shown, "received_at"), reverse=True)


async def test_wrong_questions(door: Door) -> None:
    assert (await ask(door, "/nobody", expected=404))["code"] == "rejected_not_found"
    assert (await ask(door, cursor="made up", expected=400))["details"][0]["code"] == "invalid_cursor"
    for query in ({"status": "lost"}, {"limit": 501}, {"from": "yesterday"}, {"event": "a\0b"}):
        assert (await ask(door, expected=422, **query))["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/counts"), ("GET", "/any"), ("POST", "/replay"), ("POST", "/discard")],
)
async def test_every_route_needs_its_scope(door: Door, method: str, path: str) -> None:
    body: Json = {"json": {"select": {}}} if method == "POST" else {}
    for auth, status, code in (
        (None, 401, "unauthorized"),
        (("wrong", ""), 401, "unauthorized"),
        (..., 403, "forbidden"),
    ):
        rest: Any = {} if auth is ... else {"auth": auth}
        answer = await door.ask(method, f"/v1/rejected{path}", **rest, **body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def _audit(door: Door) -> list[Json]:
    answer: httpx.Response = await door.client.get("/v1/audit", params={"object": "rejected"}, auth=SECRET)
    changes: list[Json] = answer.json()["changes"]
    return changes


async def test_the_audit_says_who_did_what(door: Door, name: str) -> None:
    [item, *_] = await refused(door, name, bad(name), bad(name))
    await replay(door, {"event": name}, dry_run=True)
    await order(door, "discard", {"ids": [item["id"]]}, dry_run=False)
    done = await replay(door, {"event": name})
    history = (await ask(door, f"/{(await waiting(door, name, 2))[-1]['id']}"))["history"]
    replayed, discarded, *_ = await _audit(door)
    assert (replayed["actor"], replayed["action"], done["accepted"]) == ("settings:secret", "replayed", 1)
    assert replayed["after"] == {
        "select": {"event": name}, "limit": 10_000, "fix": MENDED, "replay": history[-1]["replay"]
    }  # fmt: skip
    assert (discarded["action"], discarded["after"]["select"]) == ("discarded", {"ids": 1})
