"""The tracking API as its clients notice it, and what the log holds afterwards."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from prometheus_client import generate_latest

from shared import topics
from shared.clock import system_clock
from shared.events import Touchpoint
from shared.kafka import parse_token
from tests.builders import batch, identify, page, track
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door, opened, read


def counted(name: str, **labels: str) -> float:
    """A metric's present value, 0 where it has none yet."""
    label = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    for line in generate_latest().decode().splitlines():
        if line.startswith(f"{name}{{{label}}} "):
            return float(line.rpartition(" ")[2])
    return 0.0


def succeeded(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.text


# --- calls -----------------------------------------------------------------------------------------------------------

CALLS: dict[str, dict[str, Any]] = {
    "identify": {"traits": {"plan": "pro"}},
    "track": {"event": "Order Completed", "properties": {"total": 10}},
    "page": {"name": "Home"},
    "screen": {"name": "Basket"},
    "group": {"groupId": "g-1"},
    "alias": {"previousId": "old", "anonymousId": "old"},
}


@pytest.mark.parametrize("kind", CALLS)
async def test_each_call_has_a_long_and_a_short_address(door: Door, somebody: str, kind: str) -> None:
    for path in (f"/v1/{kind}", f"/v1/{kind[0]}"):
        succeeded(await door.post(path, {**CALLS[kind], "userId": somebody, "messageId": path}))
    assert [(each.data.type, each.id) for each in await door.touchpoints(of=somebody)] == [
        (kind, f"/v1/{kind}"),
        (kind, f"/v1/{kind[0]}"),
    ]


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/beacon/v1/batch"])
async def test_a_batch_has_three_addresses(door: Door, somebody: str, path: str) -> None:
    succeeded(await door.post(path, batch(page(user=somebody), track("Viewed", user=somebody))))
    assert [each.data.name for each in await door.touchpoints(of=somebody)] == ["Home", "Viewed"]


async def test_the_position_says_where_the_touchpoints_stand(door: Door, somebody: str) -> None:
    answer = await door.post("/v1/batch", batch(*(page(str(n), user=somebody) for n in range(10))))
    [(partition, last)] = parse_token(answer.headers["temas-position"]).items()
    following = await door.post("/v1/page", page("next", user=somebody))
    assert parse_token(following.headers["temas-position"]) == {partition: last + 1}


async def test_an_empty_batch_is_a_success(door: Door) -> None:
    answer = await door.post("/v1/batch", {"batch": []})
    succeeded(answer)
    assert "temas-position" not in answer.headers


async def test_the_context_of_a_batch_goes_to_its_calls(door: Door, somebody: str) -> None:
    sent = json.dumps(
        batch(page(user=somebody), page(user=somebody, id="2"), context={"ip": "a\x00b", "channel": "store"})
    )
    succeeded(await door.client.post("/v1/batch", content=sent))
    held = await door.touchpoints(of=somebody)
    assert [each.data.channel for each in held] == ["store", "store"]
    assert [json.loads(bytes(each.data.context))["ip"] for each in held] == ["a\ufffdb", "a\ufffdb"]


async def test_the_clock_of_a_client_is_corrected(door: Door, somebody: str) -> None:
    wrong = system_clock() - timedelta(days=365)
    call = page(user=somebody, timestamp=wrong - timedelta(hours=1))
    succeeded(await door.post("/v1/batch", {"batch": [call], "sentAt": wrong.isoformat()}))
    [touchpoint] = await door.touchpoints(of=somebody)
    assert abs(touchpoint.at - (system_clock() - timedelta(hours=1))) < timedelta(seconds=30)


async def test_a_call_from_the_future_is_counted(door: Door, somebody: str) -> None:
    before = counted("temas_ingest_cut_total", source="web")
    succeeded(await door.post("/v1/page", page(user=somebody, timestamp=system_clock() + timedelta(days=365))))
    assert counted("temas_ingest_cut_total", source="web") == before + 1


async def test_a_trace_goes_on_in_the_event(door: Door, somebody: str) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    succeeded(await door.post("/v1/page", page(user=somebody), headers={"traceparent": parent}))
    assert [each.traceparent for each in await door.touchpoints(of=somebody)] == [parent]


# --- keys ------------------------------------------------------------------------------------------------------------


async def test_the_write_key_comes_in_three_ways(door: Door, somebody: str) -> None:
    call = {"userId": somebody, "name": "Home"}
    for rest in (
        {"auth": (WRITE_KEY, "")},
        {"auth": None, "params": {"writeKey": WRITE_KEY}},
    ):
        succeeded(await door.post("/v1/page", call, **rest))
    succeeded(await door.post("/v1/page", {**call, "writeKey": WRITE_KEY}, auth=None))
    succeeded(await door.post("/v1/batch", {"batch": [{**call, "type": "page"}], "writeKey": WRITE_KEY}, auth=None))
    succeeded(await door.post("/v1/batch", {"batch": [{**call, "type": "page", "writeKey": WRITE_KEY}]}, auth=None))
    succeeded(await door.post("/v1/page", {**call, "writeKey": WRITE_KEY}, auth=("", "")))
    assert {each.source for each in await door.touchpoints(of=somebody)} == {"web"}


async def test_the_secret_key_makes_it_the_servers(door: Door, somebody: str) -> None:
    for rest in ({"auth": (SECRET_KEY, "")}, {"auth": None, "headers": {"authorization": f"Bearer {SECRET_KEY}"}}):
        succeeded(await door.post("/v1/page", page(user=somebody), **rest))
    assert [(each.source, each.data.channel) for each in await door.touchpoints(of=somebody)] == [
        ("server", "server")
    ] * 2


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"auth": ("wrong", "")},
        {"params": {"writeKey": "wrong"}},
        {"params": {"writeKey": SECRET_KEY}},
        {"headers": {"authorization": "Bearer wrong"}},
        {"headers": {"authorization": "Basic ???"}},
    ],
)
async def test_without_the_right_key_nothing_is_kept(door: Door, somebody: str, rest: dict[str, Any]) -> None:
    for call in (page(user=somebody), {"userId": somebody, "properties": []}):
        answer = await door.post("/v1/page", call, **{"auth": None, **rest})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert await door.touchpoints(of=somebody) == []
    assert await door.rejected(holding=somebody.encode()) == []


async def test_the_secret_key_is_not_taken_from_a_body(door: Door, somebody: str) -> None:
    answer = await door.post("/v1/page", {"userId": somebody, "writeKey": SECRET_KEY}, auth=None)
    assert answer.status_code == 401


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "image/png", ""])
async def test_a_body_is_what_it_is_whatever_its_type_says(door: Door, somebody: str, said: str) -> None:
    body = json.dumps(batch(page(user=somebody))).encode()
    for content, more in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"}), (gzip.compress(body), {})):
        succeeded(await door.client.post("/v1/batch", content=content, headers={"content-type": said, **more}))
    assert len(await door.touchpoints(of=somebody)) == 3


async def test_a_batch_of_2500_calls_and_4_megabytes_is_taken(door: Door, somebody: str) -> None:
    calls = [track("Viewed", {"n": n, "filler": "x" * 1_450}, user=somebody) for n in range(2_500)]
    body = json.dumps({"batch": calls}).encode()
    assert 4_000_000 < len(body) < 4_500_000
    succeeded(await door.client.post("/v1/batch", content=body))
    assert len(await door.touchpoints(of=somebody)) == 2_500


async def test_a_body_that_is_too_large_is_413(door: Door) -> None:
    for content in (b"x" * 4_500_001, gzip.compress(b"0" * 8_000_001)):
        answer = await door.client.post("/v1/batch", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_an_encoding_that_is_not_read_is_415(door: Door) -> None:
    answer = await door.client.post("/v1/batch", content=b"{}", headers={"content-encoding": "compress"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unknown_encoding")


async def test_bodies_that_wait_to_arrive_are_bounded_together(door: Door) -> None:
    async with opened(door.place, arriving_limit=10) as narrow:
        for _ in range(2):  # what was refused is not counted for ever
            answer = await narrow.post("/v1/page", page())
            assert (answer.status_code, answer.json()["code"]) == (503, "busy")
            assert answer.headers["retry-after"] == "1"
        succeeded(await narrow.client.post("/v1/batch", content=b"[]"))


# --- what can't be used ----------------------------------------------------------------------------------------------


async def test_a_call_that_can_not_be_used_is_400_by_field_and_is_kept(door: Door, somebody: str) -> None:
    before = counted("temas_ingest_rejected_total", reason="wrong_type", source="web")
    sent = json.dumps({"properties": [], "userId": somebody}).encode()
    answer = await door.client.post("/v1/track", content=sent)

    assert answer.status_code == 400
    error = answer.json()
    assert error["code"] == "invalid_request"
    assert [(each["path"], each["code"]) for each in error["details"]] == [
        ("$.properties", "wrong_type"),
        ("$.event", "missing"),
    ]
    assert error["message"].startswith("$.properties: properties must be an object")
    [kept] = await door.rejected(holding=somebody.encode())
    assert (kept.source, kept.data.body) == ("web", sent)
    assert [reason.path for reason in kept.data.reasons] == ["$.properties", "$.event"]
    assert counted("temas_ingest_rejected_total", reason="wrong_type", source="web") == before + 1


async def test_one_bad_call_does_not_take_its_batch_along(door: Door, somebody: str) -> None:
    good, bad = page(user=somebody), {"type": "track", "userId": somebody}
    large = track("Viewed", {"filler": "x" * 40_000}, user=somebody)
    before = counted("temas_ingest_accepted_total", source="web")
    answer = await door.post("/v1/batch", batch(bad, good, large, good))

    succeeded(answer)
    assert answer.headers["temas-rejected"] == "2"
    assert [each.data.name for each in await door.touchpoints(of=somebody)] == ["Home", "Home"]
    kept = await door.rejected(holding=somebody.encode())
    assert sorted(each.data.reasons[0].code for each in kept) == ["missing", "too_large"]
    assert counted("temas_ingest_accepted_total", source="web") == before + 2


async def test_a_batch_of_nothing_but_bad_calls_is_400_and_is_kept(door: Door, somebody: str) -> None:
    answer = await door.post("/v1/batch", batch({"userId": somebody}, {"type": "track", "userId": somebody}))
    assert answer.status_code == 400
    assert [each["path"] for each in answer.json()["details"]] == ["$.batch[0].type", "$.batch[1].event"]
    assert len(await door.rejected(holding=somebody.encode())) == 2


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track"])
async def test_a_body_that_is_no_json_is_400_and_is_kept(door: Door, somebody: str, path: str) -> None:
    sent = b'{"batch": [' + somebody.encode()
    answer = await door.client.post(path, content=sent)
    assert (answer.status_code, answer.json()["details"][0]["code"]) == (400, "malformed_json")
    assert [each.data.body for each in await door.rejected(holding=somebody.encode())] == [sent]


async def test_a_body_that_is_no_json_and_nobodys_is_not_kept(door: Door, somebody: str) -> None:
    answer = await door.ask("POST", "/v1/batch", content=somebody.encode(), auth=None)
    assert answer.status_code == 401
    assert await door.rejected(holding=somebody.encode()) == []


# --- browsers and people ---------------------------------------------------------------------------------------------


async def test_a_preflight_names_its_headers(door: Door) -> None:
    answer = await door.ask(
        "OPTIONS",
        "/v1/batch",
        headers={"origin": "https://shop.example", "access-control-request-method": "POST"},
        auth=None,
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert "temas-user-token" in allowed
    assert allowed >= {
        "authorization", "content-type", "anonymousid", "sentat", "x-retry-count", "rsa-retry-attempt",
        "rsa-retry-reason", "rsa-since-first-attempt", "rsa-since-last-attempt",
    }  # fmt: skip


async def test_a_script_can_read_every_answer(door: Door) -> None:
    for answer in (
        await door.post("/v1/batch", {"batch": []}),
        await door.post("/v1/track", {}),
        await door.post("/v1/track", {}, auth=None),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Temas-Position" in answer.headers["access-control-expose-headers"]
        assert answer.headers["content-type"] == "application/json"


async def test_other_methods_and_addresses_are_told_in_json(door: Door) -> None:
    assert (await door.client.get("/v1/track")).json()["code"] == "method_not_allowed"
    answer = await door.client.post("/v1/nothing", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_route")


async def test_requests_are_counted_by_route(door: Door) -> None:
    labels = {"method": "POST", "route": "/v1/b", "service": "ingest", "status": "200"}
    before = counted("temas_http_requests_total", **labels)
    await door.post("/v1/b", {"batch": []})
    assert counted("temas_http_requests_total", **labels) == before + 1


async def test_the_documentation_names_every_address(door: Door) -> None:
    document = (await door.client.get("/openapi.json", auth=(SECRET_KEY, ""))).json()
    validate(document)
    for path in ("/v1/batch", "/v1/b", "/beacon/v1/batch", *(f"/v1/{kind}" for kind in CALLS)):
        assert set(document["paths"][path]["post"]["responses"]) >= {"200", "400", "401", "403", "413", "429", "503"}
    example = document["paths"]["/v1/batch"]["post"]["requestBody"]["content"]["application/json"]["example"]
    succeeded(await door.post("/v1/batch", example))


async def test_the_examples_of_the_documentation_work(door: Door) -> None:
    document = (await door.client.get("/openapi.json", auth=(SECRET_KEY, ""))).json()
    for kind in CALLS:
        body = document["paths"][f"/v1/{kind}"]["post"]["requestBody"]["content"]["application/json"]
        answer = await door.post(f"/v1/{kind}", body["example"])
        succeeded(answer)
        assert "temas-rejected" not in answer.headers


async def test_what_the_log_holds_is_what_was_sent(door: Door, somebody: str) -> None:
    calls = [identify(somebody, {"plan": "pro"}), page(user=somebody), track("Viewed", {"price": 1.5}, user=somebody)]
    succeeded(await door.post("/v1/batch", batch(*calls)))
    held = [each for each in await read(door.kafka, topics.TOUCHPOINTS, Touchpoint) if each.data.user_id == somebody]
    assert [each.id for each in held] == [call["messageId"] for call in calls]
    assert held[0].data.traits == {"plan": "pro"}
    assert held[2].properties() == {"price": 1.5}
