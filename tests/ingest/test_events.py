"""CloudEvents at the door: what senders notice, and what the log holds afterwards."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from services.ingest.domain.cloudevents import translated
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCHED = {"content-type": "application/cloudevents-batch+json; charset=utf-8"}
Json = dict[str, Any]


def event(person: str, **attributes: Any) -> Json:
    said = {
        "specversion": "1.0",
        "id": "o-1",
        "source": "https://shop.example/orders",
        "type": "Order Completed",
        "subject": f"user_id:{person}",
        **attributes,
    }
    return {name: value for name, value in said.items() if value is not None}


async def send(door: Door, body: object, headers: dict[str, str], **rest: Any) -> httpx.Response:
    return await door.client.post("/events", content=json.dumps(body), headers=headers, **rest)


def succeeded(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.text


async def test_one_event_sent_in_all_three_modes_is_one_event(door: Door, somebody: str) -> None:
    said = event(somebody, time="2026-03-01T10:00:00Z", data={"total": 40})
    headers = {f"ce-{name}": str(value) for name, value in said.items() if name != "data"}
    succeeded(await send(door, said, STRUCTURED))
    succeeded(await send(door, [said], BATCHED))
    succeeded(await send(door, {"total": 40}, {**headers, "content-type": "application/json"}))

    found = await door.touchpoints(of=somebody)
    assert [each.id for each in found] == ["https://shop.example/orders#o-1"] * 3
    assert {(each.source, each.time, each.data.name) for each in found} == {("web", found[0].time, "Order Completed")}
    assert [each.properties() for each in found] == [{"total": 40}] * 3


async def test_the_position_says_where_an_event_stands(door: Door, somebody: str) -> None:
    assert ":" in (await send(door, event(somebody), STRUCTURED)).headers["temas-position"]


async def test_the_key_comes_as_with_the_tracking_api(door: Door, somebody: str) -> None:
    succeeded(await send(door, event(somebody), STRUCTURED, auth=None, params={"writeKey": WRITE_KEY}))
    bearer = {**STRUCTURED, "authorization": f"Bearer {WRITE_KEY}"}
    succeeded(await send(door, event(somebody), bearer, auth=None))
    for auth in (None, ("wrong", "")):
        answer = await send(door, event(somebody), STRUCTURED, auth=auth)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert len(await door.touchpoints(of=somebody)) == 2


async def test_a_compressed_event_is_read(door: Door, somebody: str) -> None:
    body = gzip.compress(json.dumps(event(somebody)).encode())
    succeeded(await door.client.post("/events", content=body, headers={**STRUCTURED, "content-encoding": "gzip"}))
    assert len(await door.touchpoints(of=somebody)) == 1


async def test_one_bad_event_does_not_take_its_batch_along(door: Door, somebody: str) -> None:
    good, bad = event(somebody), event(somebody, id=None, specversion="0.3")
    answer = await send(door, [bad, good], BATCHED)
    succeeded(answer)
    assert answer.headers["temas-rejected"] == "1"
    assert len(await door.touchpoints(of=somebody)) == 1
    [kept] = await door.rejected(holding=somebody.encode())
    assert kept.data.form == "cloudevent"
    assert json.loads(kept.data.body) == bad
    assert [(each.path, each.code) for each in kept.data.reasons] == [
        ("$.id", "missing"),
        ("$.specversion", "unknown_version"),
    ]


async def test_an_event_that_can_not_be_used_is_400_by_name_and_is_kept(door: Door, somebody: str) -> None:
    answer = await send(door, event("", subject="order/17", comexample=somebody), STRUCTURED)
    assert answer.status_code == 400
    [detail] = answer.json()["details"]
    assert (detail["path"].endswith(".subject"), detail["code"]) == (True, "nobody")
    assert len(await door.rejected(holding=somebody.encode())) == 1


async def test_an_event_in_headers_is_kept_as_one_that_can_be_mended(door: Door, somebody: str) -> None:
    said = event(somebody, specversion=None, time="lunchtime")
    headers = {f"ce-{name}": value for name, value in said.items()}
    answer = await send(door, {"total": 40}, {**headers, "content-type": "application/json"})
    assert answer.status_code == 400
    [kept] = await door.rejected(holding=somebody.encode())
    mended = {**json.loads(kept.data.body), "specversion": "1.0", "time": "2026-03-01T10:00:00Z"}
    assert mended["data"] == {"total": 40}
    assert not isinstance(translated(json.dumps(mended).encode()), tuple)


async def test_what_is_wrong_with_the_fields_of_a_call_is_told_as_with_a_call(door: Door, somebody: str) -> None:
    answer = await send(door, event(somebody, type="temas.group", data={"traits": []}), STRUCTURED)
    assert answer.status_code == 400
    assert {each["code"] for each in answer.json()["details"]} == {"wrong_type", "missing"}


@pytest.mark.parametrize("body", ["", "[", "17"])
async def test_a_body_that_is_no_event_is_400_and_kept(door: Door, somebody: str, body: str) -> None:
    for headers in (STRUCTURED, BATCHED, {"content-type": "application/cloudevents+avro"}):
        sent = f"{body} {somebody}".encode()
        assert (await door.client.post("/events", content=sent, headers=headers)).status_code == 400
    found = await door.rejected(holding=somebody.encode())
    assert [each.data.form for each in found] == ["cloudevent"] * 3


async def test_an_empty_batch_is_a_success(door: Door) -> None:
    succeeded(await send(door, [], BATCHED))


async def test_a_browser_may_send_attributes_as_headers(door: Door) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    answer = await door.ask("OPTIONS", "/events", headers=asked, auth=None)
    assert answer.status_code == 200
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "ce-id", "ce-source", "ce-type", "ce-specversion", "ce-subject"} <= set(
        allowed
    )


async def test_a_webhook_that_asks_may_deliver(door: Door) -> None:
    asked = {"webhook-request-origin": "eventemitter.example.com", "webhook-request-rate": "120"}
    answer = await door.ask("OPTIONS", "/events", headers=asked, auth=None)
    assert answer.status_code == 200
    assert (answer.headers["webhook-allowed-origin"], answer.headers["webhook-allowed-rate"]) == ("*", "*")
    assert answer.headers["allow"] == "POST"


async def test_the_documentation_shows_an_event_that_works(door: Door) -> None:
    document = (await door.client.get("/openapi.json", auth=(SECRET_KEY, ""))).json()
    validate(document)
    content = document["paths"]["/events"]["post"]["requestBody"]["content"]
    succeeded(await send(door, content["application/cloudevents+json"]["example"], STRUCTURED))
    succeeded(await send(door, content["application/cloudevents-batch+json"]["example"], BATCHED))
