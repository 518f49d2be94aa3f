"""A real client: Segment's own SDK for Python, told only another address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from segment.analytics.client import Client

from tests.e2e.temas import Temas, connected, identifiers, unique
from tests.servers import Stack
from tests.waiting import until


@pytest.fixture
async def temas(stack: Stack) -> AsyncIterator[Temas]:
    async with connected(stack) as temas:
        yield temas


class Sdk:
    """The SDK, and what it complained of."""

    def __init__(self, stack: Stack, **options: Any) -> None:
        self.complaints: list[object] = []
        self.client = Client(
            stack.environment["TEMAS_SECRET_KEY"],  # a public key joins no users
            host=stack.url("ingest"),
            on_error=lambda error, batch: self.complaints.append(error),
            **options,
        )

    async def sent(self) -> None:
        """Return once all that was said has been answered."""
        await asyncio.to_thread(self.client.flush)
        await asyncio.to_thread(self.client.join)
        assert self.complaints == []


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_what_the_sdk_sends_arrives_whole(temas: Temas, gzip: bool) -> None:
    sdk, user, visitor = Sdk(temas.stack, gzip=gzip), unique("ayse"), unique("visitor")
    at = datetime(2026, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC)
    sdk.client.page(anonymous_id=visitor, category="Shop", name="Home", properties={"path": "/"}, timestamp=at)
    sdk.client.identify(user, {"plan": "pro", "şehir": "İzmir"}, anonymous_id=visitor)
    sdk.client.track(user, "Order Completed", {"order_id": unique("o"), "total": 99.5}, message_id=unique("m"))
    sdk.client.screen(user, name="Basket")
    sdk.client.group(user, "company-7", {"name": "Example Ltd"})
    old = unique("old")
    sdk.client.track(old, "Product Viewed", {"sku": "7"})
    sdk.client.alias(old, user)
    await sdk.sent()

    async def complete() -> bool:
        return bool((await temas.profile(f"user_id:{user}"))["touchpoints"]["count"] == 7)

    await until(complete)
    view = await temas.profile(f"user_id:{user}")
    assert {f"user_id:{user}", f"user_id:{old}", f"anonymous_id:{visitor}"} <= identifiers(view)
    assert [view["traits"][name]["value"] for name in ("plan", "şehir")] == ["pro", "İzmir"]
    assert (view["computed"]["order_count"], view["computed"]["order_value"]) == (1, 99.5)
    timeline = await temas.timeline(f"user_id:{user}")
    assert {each["type"] for each in timeline} == {"page", "identify", "track", "screen", "group", "alias"}
    [home] = [each for each in timeline if each["type"] == "page"]
    assert (home["name"], home["properties"]["path"]) == ("Home", "/")
    assert home["at"] == "2026-03-01T10:00:00.123Z"


async def test_many_events_in_the_sdks_own_batches_all_arrive_once(temas: Temas) -> None:
    sdk, user = Sdk(temas.stack, thread=2), unique("busy")
    for number in range(1_000):
        sdk.client.track(user, "Product Viewed", {"number": number})
    await sdk.sent()

    async def complete() -> bool:
        return bool((await temas.profile(f"user_id:{user}"))["touchpoints"]["count"] >= 1_000)

    await until(complete)
    numbers = [each["properties"]["number"] for each in await temas.timeline(f"user_id:{user}")]
    assert sorted(numbers) == list(range(1_000))


async def test_an_event_sent_twice_under_one_message_id_counts_once(temas: Temas) -> None:
    user, message = unique("twice"), unique("m")
    for _ in range(2):
        sdk = Sdk(temas.stack)
        sdk.client.track(user, "Order Completed", {"order_id": "o", "total": 10}, message_id=message)
        await sdk.sent()
    await temas.settled()
    view = await temas.profile(f"user_id:{user}")
    assert (view["touchpoints"]["count"], view["computed"]["order_count"]) == (1, 1)
