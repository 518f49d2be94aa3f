"""Whatever clients send, and however much of it is new: memory, caches and metrics stay as large as they are."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psutil
from prometheus_client import REGISTRY

from services.ingest.domain.bounds import BATCH_CALLS
from services.ingest.domain.sources import Key, Source
from services.ingest.service.registry import LONGEST, REMEMBERED, Snapshot
from shared.scopes import digest
from tests.builders import batch, page, track
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door, Place, process
from tests.ingest.packing import PACKERS
from tests.waiting import PATIENCE

UNPACKED = 8_000_000


# --- memory ----------------------------------------------------------------------------------------------------------


class Peak:
    """The most memory that a process had while the block lasted, and what it had before."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.before = self.most = process.memory_info().rss

    @property
    def growth(self) -> int:
        return self.most - self.before

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            self.most = max(self.most, self.process.memory_info().rss)
            await asyncio.sleep(0.002)


async def test_bombs_cost_no_more_than_the_largest_body_that_is_taken(place: Place) -> None:
    """In memory, and in time: each is unpacked up to the limit and no further."""
    largest = json.dumps(batch(*(track("Viewed", {"a": "x" * 1_400}, user="u") for _ in range(2_500)))).encode()
    bomb = b"0" * (50 * UNPACKED)
    bombs = {coding: pack(bomb) for coding, pack in PACKERS.items()}
    assert all(len(each) * 900 < len(bomb) for each in bombs.values())

    async with process(place) as (address, running), httpx.AsyncClient(base_url=address, timeout=PATIENCE) as client:
        client.auth = httpx.BasicAuth(WRITE_KEY, "")

        async def took(body: bytes, status: int, **headers: str) -> float:
            began = time.perf_counter()
            answer = await client.post("/v1/batch", content=body, headers=headers)
            assert answer.status_code == status, answer.text
            return time.perf_counter() - began

        usual = max([await took(largest, 200) for _ in range(3)])
        peak = Peak(running)
        async with peak.watched():
            for coding, body in bombs.items():
                fastest = min([await took(body, 413, **{"content-encoding": coding}) for _ in range(5)])
                assert fastest < usual, f"{coding} took {fastest:.3f} s, a batch {usual:.3f} s"
            await asyncio.gather(*(took(bombs["gzip"], 413) for _ in range(20)))
        assert peak.growth < 4 * UNPACKED


async def test_a_context_that_goes_to_thousands_of_calls_is_held_within_bounds(place: Place) -> None:
    """What a batch says for all its calls may come to 16 MB, twice: context and integrations."""
    calls = [{"type": "page", "userId": "u"}] * BATCH_CALLS
    shared = {"a": "x" * 3_000}
    body = json.dumps(batch(*calls, context=shared, integrations=shared)).encode()
    async with process(place) as (address, running), httpx.AsyncClient(base_url=address, timeout=PATIENCE) as client:
        client.auth = httpx.BasicAuth(WRITE_KEY, "")
        assert (await client.post("/v1/page", json=page(user="u"))).status_code == 200
        peak = Peak(running)
        async with peak.watched():
            for _ in range(5):
                assert (await client.post("/v1/batch", content=body)).status_code in (200, 503)
        assert running.memory_info().rss < 350_000_000
        assert peak.growth < 220_000_000


# --- metrics ---------------------------------------------------------------------------------------------------------


def series() -> int:
    return sum(len(family.samples) for family in REGISTRY.collect())


async def strange(door: Door, number: int) -> None:
    """Requests that nobody has sent before, in everything that anybody can choose."""
    new = f"new-{number}"
    headers = {"user-agent": f"{new}/1.0", "origin": f"https://{new}.example", "traceparent": new, "x-new": new}
    for method, path, key, body in (
        ("POST", "/v1/batch", WRITE_KEY, [{"type": new, "userId": new}, {"type": "page", "userId": new, "name": new}]),
        ("POST", "/v1/track", WRITE_KEY, {"userId": new, "event": new, "context": {"channel": new, "library": new}}),
        ("POST", "/v1/track", WRITE_KEY, {"userId": new, new: new, "properties": new}),
        ("POST", f"/v1/track?writeKey={new}&{new}={new}", "", {"userId": new}),
        ("POST", "/v1/page", new, {"userId": new}),
        ("POST", "/events", WRITE_KEY, {"specversion": "1.0", "id": new, "source": new, "type": new}),
        ("GET", f"/v1/pixel/page?userId={new}&name={new}", WRITE_KEY, None),
        ("GET", f"/v1/projects/{new}/settings", "", None),
        ("GET", f"/{new}", "", None),
        (new.upper(), "/v1/track", WRITE_KEY, None),
        ("GET", f"/v1/sources/{new}", WRITE_KEY, None),
    ):
        await door.client.request(method, path, json=body, auth=(key, ""), headers=headers)


async def test_what_clients_make_up_is_no_label_of_any_metric(door: Door) -> None:
    await strange(door, 0)
    before = series()
    for number in range(1, 40):
        await strange(door, number)
    for start in range(0, 5_000, 500):
        names = (track(f"Event {number}", user=f"u-{number}") for number in range(start, start + 500))
        assert (await door.post("/v1/batch", batch(*names))).status_code == 200
    assert series() == before
    assert "new-" not in (await door.client.get("/metrics", auth=(SECRET_KEY, ""))).text.lower()


# --- what is remembered ----------------------------------------------------------------------------------------------


def caches() -> dict[str, functools._lru_cache_wrapper[object]]:
    """All functions of ours that remember what they said."""
    found = (each for each in gc.get_objects() if isinstance(each, functools._lru_cache_wrapper))
    return {f"{each.__module__}.{each.__qualname__}": each for each in found if _ours(each.__module__)}


def _ours(module: str) -> bool:
    return module.startswith(("services.ingest", "shared", "prometheus_client"))


async def test_caches_have_an_end(door: Door) -> None:
    await strange(door, 0)
    before = {name: each.cache_info().currsize for name, each in caches().items()}
    assert len(before) >= 4
    for number in range(100, 140):
        await strange(door, number)
    for name, each in caches().items():
        told = each.cache_info()
        assert told.maxsize is not None or told.currsize == before[name], f"{name} remembers what anybody can make up"


def snapshot() -> Snapshot:
    return Snapshot(
        revision=0,
        sources={},
        keys={digest(WRITE_KEY): Key(id="k", source=Source(name="web"), scopes=frozenset({"write"}))},
        plan=None,  # type: ignore[arg-type]  # nothing here looks at it
    )


def test_authorization_headers_are_remembered_up_to_a_number_and_a_length() -> None:
    """Basic has room for any password beside a key that anybody may read in a page."""
    known = snapshot()
    for number in range(REMEMBERED + 10):
        key = known.by_header("Basic " + httpx.BasicAuth(WRITE_KEY, f"{number}")._auth_header.partition(" ")[2])
        assert key is not None
        assert len(known._by_header) <= REMEMBERED
    for header in ("Bearer " + " " * LONGEST + WRITE_KEY, f"Bearer wrong-{number}"):
        known.by_header(header)
        assert header not in known._by_header
    assert known.by_header("Bearer " + " " * LONGEST + WRITE_KEY) is not None
