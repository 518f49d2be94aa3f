"""What SDKs ask before they send anything."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door, opened, prepared
from tests.servers import Servers

CONFIGS = ("/sourceConfig", "/sourceConfig/")  # browsers ask with the slash, phones without


async def settings(door: Door, key: str = WRITE_KEY, **headers: str) -> Any:
    answer = await door.ask("GET", f"/v1/projects/{key}/settings", auth=None, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- Segment ---------------------------------------------------------------------------------------------------------


async def test_the_sdk_of_segment_is_told_to_send_here_and_nowhere_else(door: Door) -> None:
    told = await settings(door)
    assert told["integrations"] == {
        "Segment.io": {"apiKey": WRITE_KEY, "apiHost": "ingest/v1", "protocol": "http"},
    }
    assert told["remotePlugins"] == []
    assert told["metrics"] == {"sampleRate": 0}
    for call in ("track", "identify", "group"):
        assert told["plan"][call]["__default"]["enabled"] is True
    # What Kotlin decodes into objects must be objects.
    assert all(isinstance(told[name], dict) for name in ("plan", "edgeFunction", "middlewareSettings", "metrics"))


async def test_where_it_sends_then_it_is_understood(door: Door) -> None:
    """The way of analytics-next: `{protocol}://{apiHost}/{the call's first letter}`."""
    segment = (await settings(door))["integrations"]["Segment.io"]
    address = f"{segment['protocol']}://{segment['apiHost']}/t"
    call = {"event": "Viewed", "anonymousId": "a", "writeKey": segment["apiKey"]}
    answer = await door.post(address, call, auth=None, headers={"content-type": "text/plain"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "host", "protocol"),
    [
        ({"host": "events.shop.example"}, "events.shop.example/v1", "http"),
        ({"host": "127.0.0.1:8001"}, "127.0.0.1:8001/v1", "http"),
        ({"host": "[::1]:8001"}, "[::1]:8001/v1", "http"),
        ({"host": "events.shop.example", "x-forwarded-proto": "https"}, "events.shop.example/v1", "https"),
        ({"host": "events.shop.example", "x-forwarded-proto": "gopher"}, "events.shop.example/v1", "http"),
        ({"host": 'evil"><script>'}, "localhost/v1", "http"),
        ({"host": "evil.example/path?"}, "localhost/v1", "http"),
    ],
)
async def test_it_is_told_the_address_that_it_asked_at(door: Door, headers: Any, host: str, protocol: str) -> None:
    segment = (await settings(door, **headers))["integrations"]["Segment.io"]
    assert (segment["apiHost"], segment["protocol"]) == (host, protocol)


async def test_what_a_client_says_of_the_address_is_told_to_no_other(door: Door) -> None:
    """A cache that kept it would send everybody's events to whoever asked first, with a host of their own."""
    answer = await door.ask("GET", f"/v1/projects/{WRITE_KEY}/settings", auth=None, headers={"host": "evil.example"})
    assert "evil.example" in answer.text
    assert (answer.headers["cache-control"], answer.headers["vary"]) == (
        "no-store, max-age=0",
        "Host, X-Forwarded-Proto",
    )


@pytest.mark.parametrize("path", ["/sourceConfig", "/sourceConfig/", "/v1/sources", "/v1/track/", "/v1/sources/"])
async def test_no_other_answer_has_the_host_that_a_client_names(door: Door, path: str) -> None:
    told = {"host": "evil.example", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}
    answer = await door.ask("GET", path, headers=told)
    assert "evil" not in answer.text + str(answer.headers)


async def test_an_operator_can_say_the_address(servers: Servers) -> None:
    said = "https://events.shop.example/temas/"
    async with servers.installation() as mine, opened(await prepared(mine), public_url=said) as named:
        told = {"host": "elsewhere.example", "x-forwarded-proto": "gopher"}
        answer = await named.ask("GET", f"/v1/projects/{WRITE_KEY}/settings", auth=None, headers=told)
        segment = answer.json()["integrations"]["Segment.io"]
    assert answer.headers["cache-control"] == "public, max-age=120"
    assert (segment["apiHost"], segment["protocol"]) == ("events.shop.example/temas/v1", "https")


@pytest.mark.parametrize("key", ["wrong", SECRET_KEY, "x" * 500, "a%2Fb"])
async def test_of_other_keys_nothing_is_told(door: Door, key: str) -> None:
    answer = await door.ask("GET", f"/v1/projects/{key}/settings", auth=None)
    assert answer.status_code == 404
    assert SECRET_KEY not in answer.text


# --- RudderStack -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS)
@pytest.mark.parametrize(
    "rest",
    [
        {"auth": (WRITE_KEY, "")},
        {"auth": None, "params": {"writeKey": WRITE_KEY, "p": "cdn", "v": "3.0.0", "build": "modern"}},
        {"auth": (WRITE_KEY, ""), "params": {"writeKey": "another"}},
    ],
)
async def test_the_sdk_of_rudderstack_gets_a_source_that_it_accepts(door: Door, path: str, rest: Any) -> None:
    answer = await door.ask("GET", path, **rest)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    source = told["source"]
    # What rudder-sdk-js refuses to start without.
    assert source["id"]
    assert isinstance(source["config"], dict)
    assert source["destinations"] == []
    # What the SDKs for phones can't decode the answer without.
    assert (source["name"], source["writeKey"], source["enabled"]) == ("web", WRITE_KEY, True)
    assert source["workspaceId"]
    assert source["updatedAt"].endswith("Z")
    for kind in ("errors", "metrics"):  # nothing of it goes to RudderStack
        assert source["config"]["statsCollection"][kind] == {"enabled": False}
    assert told["consentManagementMetadata"] == {"providers": []}


@pytest.mark.parametrize("path", CONFIGS)
@pytest.mark.parametrize(
    "rest",
    [
        {"auth": None},
        {"auth": ("wrong", "")},
        {"auth": None, "params": {"writeKey": "wrong"}},
        {"auth": (SECRET_KEY, "")},
    ],
)
async def test_without_a_public_key_there_is_no_source(door: Door, path: str, rest: Any) -> None:
    answer = await door.ask("GET", path, **rest)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert SECRET_KEY not in answer.text


# --- browsers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"/v1/projects/{WRITE_KEY}/settings", "/v1/projects/wrong/settings", *CONFIGS])
async def test_a_script_from_elsewhere_can_read_every_answer(door: Door, path: str) -> None:
    for rest in ({"auth": None}, {"auth": (WRITE_KEY, "")}):
        answer = await door.ask("GET", path, headers={"origin": "https://shop.example"}, **rest)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["content-type"] == "application/json"
        assert ("max-age" in answer.headers.get("cache-control", "")) == (answer.status_code == 200)


@pytest.mark.parametrize("path", [f"/v1/projects/{WRITE_KEY}/settings", *CONFIGS])
async def test_a_preflight_lets_the_key_through(door: Door, path: str) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-headers": "authorization"}
    answer = await door.ask("OPTIONS", path, headers=asked, auth=None)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "authorization" in answer.headers["access-control-allow-headers"].split(", ")


async def test_the_documentation_names_them(door: Door) -> None:
    paths = (await door.client.get("/openapi.json", auth=(SECRET_KEY, ""))).json()["paths"]
    assert {"/v1/projects/{write_key}/settings", "/sourceConfig"} <= set(paths)
