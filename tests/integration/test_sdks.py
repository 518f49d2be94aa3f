"""What the SDKs of Segment and RudderStack put on the wire, and two of them at work while Kafka goes away.

The requests are put together by hand, as each SDK's sources put them together: address, headers, and the oddities of
the body. The two clients for Python are the real ones.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import rudderstack.analytics.client as rudderstack
import segment.analytics.client as segment

from shared import topics
from shared.clock import rfc3339, system_clock
from shared.events import Touchpoint
from shared.settings import KafkaSettings
from tests.builders import Json, track
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Place, prepared, read, served
from tests.servers import Servers, free
from tests.waiting import PATIENCE

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"
BASIC = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
AT = datetime(2026, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC)


@pytest.fixture(scope="module")
async def place(servers: Servers) -> AsyncIterator[Place]:
    async with servers.installation() as mine:
        yield await prepared(mine)


@pytest.fixture(scope="module")
async def client(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served(place, free(1)[0]) as address,
        httpx.AsyncClient(base_url=address, timeout=PATIENCE, headers={"user-agent": BROWSER}) as client,
    ):
        yield client


@pytest.fixture
def visitor() -> str:
    return str(uuid.uuid4())


async def logged(kafka: KafkaSettings, person: str) -> list[Touchpoint]:
    found = await read(kafka, topics.TOUCHPOINTS, Touchpoint)
    return [each for each in found if person in (each.data.user_id, each.data.anonymous_id)]


async def send(
    client: httpx.AsyncClient, path: str, body: object, headers: Mapping[str, str], *, packed: bool = False
) -> None:
    """Send as an SDK does, which takes exactly this for a success."""
    content = json.dumps(body, separators=(",", ":")).encode()
    if packed:
        content, headers = gzip.compress(content), {**headers, "content-encoding": "gzip"}
    answer = await client.post(path, content=content, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.text
    assert "temas-rejected" not in answer.headers


# --- Segment ---------------------------------------------------------------------------------------------------------


def analytics_next(kind: str, visitor: str, **fields: Any) -> Json:
    """A call as analytics-next writes it: users that are not known are null, and `integrations` is there and empty."""
    return {
        "timestamp": rfc3339(AT),
        "integrations": {},
        "userId": None,
        "anonymousId": visitor,
        "type": kind,
        "context": {
            "page": {"path": "/", "referrer": "", "search": "", "title": "Home", "url": "https://shop.example/"},
            "userAgent": BROWSER,
            "userAgentData": {
                "brands": [{"brand": "Chromium", "version": "120"}],
                "mobile": False,
                "platform": "Linux",
            },
            "locale": "tr-TR",
            "library": {"name": "analytics.js", "version": "npm:next-1.70.0"},
            "timezone": "Europe/Istanbul",
        },
        "messageId": f"ajs-next-{AT.timestamp():.0f}-{visitor}-{kind}",
        "writeKey": WRITE_KEY,
        "_metadata": {"bundled": ["Segment.io"], "unbundled": [], "bundledIds": [], "retryCount": 0},
        **fields,
    }


async def test_analytics_next_sends_each_call_as_text(client: httpx.AsyncClient, place: Place, visitor: str) -> None:
    sent_at = rfc3339(system_clock())
    calls = {
        "p": analytics_next("page", visitor, name=None, category=None, properties={"path": "/"}, sentAt=sent_at),
        "t": analytics_next("track", visitor, event="Product Viewed", properties={"sku": "7"}, sentAt=sent_at),
        "i": analytics_next("identify", visitor, userId="ayse", traits={"plan": "pro"}, sentAt=sent_at),
        "g": analytics_next("group", visitor, groupId="g-1", traits={"name": "Example"}, sentAt=sent_at),
        "a": analytics_next("alias", visitor, userId="ayse", previousId=visitor, sentAt=sent_at),
    }
    for path, call in calls.items():
        await send(client, f"/v1/{path}", call, {"content-type": "text/plain", "origin": "https://shop.example"})

    found = await logged(place.kafka, visitor)
    assert [each.data.type for each in found] == ["page", "track", "identify", "group", "alias"]
    assert {(each.at, each.data.channel) for each in found} == {(AT, "web")}
    assert [each.data.user_id for each in found] == [None, None, "ayse", None, "ayse"]
    assert found[2].data.traits == {"plan": "pro"}


async def test_analytics_next_sends_batches_when_a_page_closes(
    client: httpx.AsyncClient, place: Place, visitor: str
) -> None:
    calls = [
        analytics_next("track", visitor, event="Viewed", messageId=f"m-{n}", properties={"n": n}) for n in range(40)
    ]
    batch = {"writeKey": WRITE_KEY, "batch": calls, "sentAt": rfc3339(system_clock())}
    await send(client, "/v1/b", batch, {"content-type": "text/plain"})
    assert [each.properties()["n"] for each in await logged(place.kafka, visitor)] == list(range(40))


def phone(visitor: str, library: str, **fields: Any) -> Json:
    """A call as the SDKs for phones write it."""
    return {
        "type": "track",
        "event": "Application Opened",
        "messageId": str(uuid.uuid4()).upper(),
        "anonymousId": visitor,
        "timestamp": rfc3339(AT),
        "properties": {"version": "1.0", "from_background": False, "referring_application": None, "url": None},
        "integrations": {},
        "context": {
            "app": {"name": "Shop", "version": "1.0", "build": "7", "namespace": "example.shop"},
            "device": {
                "manufacturer": "Apple",
                "type": "ios",
                "model": "iPhone16,1",
                "id": "0" * 8,
                "adTrackingEnabled": False,
            },
            "os": {"name": "iOS", "version": "19.1"},
            "network": {"cellular": False, "wifi": True, "bluetooth": False, "carrier": None},
            "screen": {"width": 393, "height": 852, "density": 3.0},
            "library": {"name": library, "version": "4.1.8"},
            "traits": {"plan": "pro"},
            "ip": "0.0.0.0",
        },
        **fields,
    }


@pytest.mark.parametrize(
    ("library", "path", "headers"),
    [
        ("analytics-ios", "/v1/batch", {"authorization": BASIC, "content-type": "application/json"}),
        ("analytics-swift", "/v1/b", {"authorization": BASIC, "content-type": "application/json; charset=utf-8"}),
        ("analytics-kotlin", "/v1/b", {"content-type": "text/plain"}),
        ("analytics-android", "/v1/import", {"authorization": BASIC, "content-type": "application/json"}),
        ("@segment/analytics-react-native", "/v1/b", {"content-type": "text/plain; charset=utf-8"}),
    ],
)
async def test_the_sdks_for_phones_send_packed_batches(
    client: httpx.AsyncClient, place: Place, visitor: str, library: str, path: str, headers: dict[str, str]
) -> None:
    batch = {
        "batch": [phone(visitor, library), phone(visitor, library, type="identify", userId="ayse", traits={})],
        "sentAt": rfc3339(system_clock()),
        "writeKey": WRITE_KEY,
    }
    if "authorization" in headers:
        del batch["writeKey"]
    agent = {"analytics-android": "analytics-android/4.11.3", "analytics-kotlin": "analytics-kotlin/1.19.0"}
    headers = {**headers, "user-agent": agent.get(library, "Shop/1 CFNetwork/1410")}
    await send(client, path, batch, headers, packed=True)

    opened, identified = await logged(place.kafka, visitor)
    assert (opened.at, opened.data.channel) == (AT, "mobile")
    assert opened.data.traits == identified.data.traits == {"plan": "pro"}  # only in the context
    assert identified.data.user_id == "ayse"


# --- RudderStack -----------------------------------------------------------------------------------------------------


def rudder(kind: str, visitor: str, **fields: Any) -> Json:
    """A call as rudder-sdk-js writes it: an unknown user is an empty text, and times have other names."""
    return {
        "type": kind,
        "channel": "web",
        "anonymousId": visitor,
        "userId": "",
        "messageId": str(uuid.uuid4()),
        "originalTimestamp": rfc3339(AT),
        "sentAt": rfc3339(AT),
        "integrations": {"All": True},
        "properties": {"name": None, "path": "/", "tab_url": "https://shop.example/"},
        "context": {
            "traits": {},
            "sessionId": 1772359200123,
            "sessionStart": True,
            "consentManagement": {"deniedConsentIds": []},
            "app": {
                "installType": "cdn",
                "name": "RudderLabs JavaScript SDK",
                "namespace": "com.rudderlabs.javascript",
            },
            "library": {"name": "RudderLabs JavaScript SDK", "version": "3.7.0", "snippetVersion": "3.0.60"},
            "userAgent": BROWSER,
            "os": {"name": "", "version": ""},
            "campaign": {},
        },
        **fields,
    }


async def test_rudder_sdk_js_sends_with_its_own_headers(client: httpx.AsyncClient, place: Place, visitor: str) -> None:
    own = {
        "authorization": BASIC,
        "anonymousid": base64.b64encode(visitor.encode()).decode(),
        "sentat": rfc3339(AT),
        "rsa-retry-attempt": "1",
        "rsa-retry-reason": "server-503",
        "content-type": "application/json;charset=UTF-8",
        "accept": "application/json",
    }
    await send(client, "/v1/page", rudder("page", visitor, name=None), own)
    traits = {"email": "ayse@example.com", "plan": "pro"}
    context = {**rudder("identify", visitor)["context"], "traits": traits}
    await send(client, "/v1/identify", rudder("identify", visitor, userId="ayse", context=context), own)
    calls = [rudder("track", visitor, event="Viewed", userId=None), rudder("group", visitor, groupId=7, traits=None)]
    await send(client, "/v1/batch", {"batch": calls, "sentAt": rfc3339(AT)}, own)

    found = await logged(place.kafka, visitor)
    assert [each.data.type for each in found] == ["page", "identify", "track", "group"]
    assert [each.data.user_id for each in found] == [None, "ayse", None, None]
    assert found[1].data.traits == traits
    assert found[3].data.group_id == "7"
    assert {each.data.channel for each in found} == {"web"}


async def test_the_clock_of_a_page_is_corrected_by_original_timestamp_and_sent_at(
    client: httpx.AsyncClient, place: Place, visitor: str
) -> None:
    wrong = system_clock() - timedelta(days=365)
    call = rudder("page", visitor, originalTimestamp=rfc3339(wrong - timedelta(hours=1)), sentAt=rfc3339(wrong))
    await send(client, "/v1/page", call, {"authorization": BASIC})
    [found] = await logged(place.kafka, visitor)
    assert abs(found.at - (system_clock() - timedelta(hours=1))) < timedelta(seconds=30)


async def test_a_beacon_has_no_headers_and_its_key_in_the_address(
    client: httpx.AsyncClient, place: Place, visitor: str
) -> None:
    batch = {"batch": [rudder("page", visitor), rudder("track", visitor, event="Left")]}
    await send(client, f"/beacon/v1/batch?writeKey={WRITE_KEY}", batch, {"content-type": "text/plain;charset=UTF-8"})
    assert [each.data.type for each in await logged(place.kafka, visitor)] == ["page", "track"]


async def test_the_largest_batch_of_either_is_taken_packed_or_not(
    client: httpx.AsyncClient, place: Place, visitor: str
) -> None:
    calls = [track("Viewed", {"n": n, "filler": "x" * 1_480}, anonymous=visitor) for n in range(2_500)]
    batch = {"batch": calls}
    assert 4_000_000 < len(json.dumps(batch, separators=(",", ":"))) < 4_500_000
    for packed in (False, True):
        await send(client, "/v1/batch", batch, {"authorization": BASIC}, packed=packed)
    counts = Counter(each.properties()["n"] for each in await logged(place.kafka, visitor))
    assert counts == dict.fromkeys(range(2_500), 2)


# --- the clients themselves ------------------------------------------------------------------------------------------

Talk = Callable[[Any], Any]
CLIENTS = {"segment": segment.Client, "rudderstack": rudderstack.Client}


async def talked(which: str, address: str, talk: Talk, *, key: str = WRITE_KEY, **options: Any) -> list[str]:
    """Let a real client say what `talk` makes it say, to its end; the errors that it reports."""
    errors: list[str] = []

    def run() -> None:
        noted = lambda error, _: errors.append(repr(error))  # noqa: E731
        client = CLIENTS[which](key, host=address, on_error=noted, **options)
        talk(client)
        client.flush()
        client.join()

    await asyncio.to_thread(run)
    return errors


@pytest.mark.parametrize("packed", [False, True])
async def test_the_client_of_rudderstack_is_understood(
    client: httpx.AsyncClient, place: Place, visitor: str, packed: bool
) -> None:
    def talk(sdk: Any) -> None:
        sdk.identify(visitor, {"plan": "pro"}, anonymous_id=visitor)
        sdk.track(visitor, "Order Completed", {"total": 19.9, "note": "İzmir 😀"}, timestamp=AT)
        sdk.page(visitor, "Shop", "Basket", {"path": "/basket"})
        sdk.screen(visitor, "Shop", "Basket")
        sdk.group(visitor, "g-1", {"name": "Example Ltd"})
        sdk.alias("old", visitor)
        for n in range(250):
            sdk.track(visitor, "Viewed", {"n": n}, message_id=f"m-{n}")

    # With a server's key: a public one joins no users.
    assert await talked("rudderstack", str(client.base_url), talk, key=SECRET_KEY, gzip=packed) == []

    found = await logged(place.kafka, visitor)
    assert Counter(each.data.type for each in found) == {
        "track": 251, "identify": 1, "page": 1, "screen": 1, "group": 1, "alias": 1,
    }  # fmt: skip
    first, order, *_ = found
    assert first.data.traits["plan"] == "pro"  # which it sends in the context only
    assert (order.at, order.properties()) == (AT, {"total": 19.9, "note": "İzmir 😀"})
    assert {each.data.channel for each in found} == {"server"}
    assert [each.id for each in found if each.data.name == "Viewed"] == [f"m-{n}" for n in range(250)]


async def test_while_kafka_is_away_for_twenty_seconds_both_clients_wait_and_everything_arrives(
    breakable_servers: Servers,
) -> None:
    async with breakable_servers.installation() as mine:
        place = await prepared(mine)
        quick = Place(place.kafka.model_copy(update={"deadline": 2.0}), place.database)
        async with served(quick, free(1)[0]) as address:
            people = {which: f"{which}-{uuid.uuid4()}" for which in CLIENTS}

            def life(which: str) -> Talk:
                def talk(sdk: Any) -> None:
                    for n in range(300):
                        sdk.track(people[which], "Viewed", {"n": n}, message_id=f"{which}-{n}")

                return talk

            await breakable_servers.kafka.stop()
            began = asyncio.get_running_loop().time()
            talking = {
                which: asyncio.create_task(talked(which, address, life(which), max_retries=20)) for which in CLIENTS
            }
            await asyncio.sleep(20)
            assert not any(task.done() for task in talking.values())
            await breakable_servers.kafka.start()

            for which, task in talking.items():
                assert await task == []
                ids = {each.id for each in await logged(place.kafka, people[which])}
                assert ids == {f"{which}-{n}" for n in range(300)}
            assert asyncio.get_running_loop().time() - began > 20
