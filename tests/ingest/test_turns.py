"""Whatever is sent, and by whomever: others are answered meanwhile, and who has no key is refused before any work.

Nothing here goes by the clock. What the process works, in its own CPU time, between two turns of its loop is compared
with what a batch of 100 usual calls takes there, measured just before: however slow the machine, and whatever else runs
on it, the one is so many times the other.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import json
import time
import uuid
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import brotli
import pytest

from services.ingest.domain.binding import reader
from services.ingest.domain.bodies import BATCH, CALL, KEY_BYTES, Reader, cleaned, keys
from services.ingest.domain.bounds import BATCH_CALLS, EVENT_BYTES
from services.ingest.domain.encodings import PARTS, PIECE, Unpacking
from services.ingest.domain.pixel import PIXEL
from services.ingest.domain.plan import NO_PLAN
from services.ingest.domain.sources import Key, Source
from services.ingest.errors import TooLarge, TooManyCalls
from services.ingest.service import opening
from services.ingest.service.counts import Counts
from services.ingest.service.opening import Sending
from services.ingest.service.registry import Snapshot
from services.ingest.service.taking import Ingest, Receipt
from services.ingest.service.turns import WAITING, Pace, Turns
from shared.errors import TemasError
from shared.health import Health
from shared.kafka import Appended, Log, Position, Record
from shared.scopes import digest
from tests.bench.events import event
from tests.ingest.packing import PACKERS, zstd

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNPACKED = 8_000_000

MOST = 60
"""What one slice may take, in batches of 100 usual calls: the largest body that is taken, looked over once by msgspec,
takes ten to thirty of them, and nothing can interrupt that. What was mended here took a thousand."""


class Kept:
    """A log that keeps what it is given, at once."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def put(self, records: Sequence[Record]) -> Appended:
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        first = len(self.records)
        self.records += records
        return Appended(done, lambda: [Position(0, first + index) for index in range(len(records))])

    async def append(self, records: Sequence[Record]) -> list[Position]:
        return self.put(records).positions()


SHOP = Source(name="shop")
LISTED = Source(name="listed", origins=frozenset({"https://shop.example"}))
SPENT = Source(name="spent", quota=0)
KEYS = {
    "wk": Key(id="wk", source=SHOP, scopes=frozenset({"write"})),
    "wk-other": Key(id="wk-other", source=Source(name="other"), scopes=frozenset({"write"})),
    "wk-ended": Key(id="wk-ended", source=SHOP, scopes=frozenset({"write"}), ends_at=NOW - timedelta(seconds=1)),
    "wk-listed": Key(id="wk-listed", source=LISTED, scopes=frozenset({"write"})),
    "wk-spent": Key(id="wk-spent", source=SPENT, scopes=frozenset({"write"})),
    "sk": Key(id="sk", source=SHOP, scopes=frozenset({"read"})),
}


class Door:
    """The use case by itself: what it takes, and how long it holds the loop."""

    def __init__(self) -> None:
        self.touchpoints, self.rejected = Kept(), Kept()
        known = Snapshot(revision=0, sources={}, keys={digest(text): key for text, key in KEYS.items()}, plan=NO_PLAN)
        self.counts = Counts(cast(Any, None), lambda: NOW, Health())
        self.ingest = Ingest(
            cast(Any, SimpleNamespace(unpacked_limit=UNPACKED, kafka=SimpleNamespace(waiting_limit=64_000_000))),
            registry=cast(Any, SimpleNamespace(current=known)),
            counts=self.counts,
            touchpoints=cast(Log, self.touchpoints),
            rejected=cast(Log, self.rejected),
            clock=lambda: NOW,
            fresh_id=lambda: str(uuid.uuid4()),
        )

    async def send(self, body: bytes, key: str | None = "wk", read: Reader = BATCH, **rest: Any) -> Receipt:
        """Give what became of a request. Raises what its client is told."""
        authorization = f"Bearer {key}" if key else ""
        taken = self.ingest.take(Sending(reader=read, body=body, authorization=authorization, **rest))
        await asyncio.wait([taken.future])
        return taken.receipt()

    async def told(self, body: bytes, key: str | None = "wk", read: Reader = BATCH, **rest: Any) -> str:
        try:
            await self.send(body, key, read, **rest)
        except TemasError as error:
            return error.code
        return "taken"

    @property
    def owed(self) -> tuple[int, int, int]:
        """Give what is still held of anybody: bytes, turns that are waited for, and calls that no record stands for."""
        calls = sum(self.counts.quotas.unwritten.values())
        kept = len(self.touchpoints.records) + len(self.rejected.records)
        return self.ingest.shares.waiting, self.ingest.turns.entered.total(), calls - kept


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Collect garbage as a process that serves does: else all that the tests hold is looked through, time and again."""
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()


@pytest.fixture
async def door() -> Door:
    return Door()


class Held:
    """The longest that the loop was held, in CPU seconds of its thread; `turns` that it made."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.turns = 0


@asynccontextmanager
async def watched() -> AsyncIterator[Held]:
    held, over = Held(), False

    async def watch() -> None:
        before = time.thread_time()
        while not over:
            await asyncio.sleep(0)
            now = time.thread_time()
            held.longest, held.turns, before = max(held.longest, now - before), held.turns + 1, now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        yield held
    finally:
        over = True
        await watching


USUAL = b'{"batch":[' + b",".join(event(f"u-{n}", f"m-{n}") for n in range(100)) + b"]}"


async def unit(door: Door) -> float:
    """CPU seconds for which a batch of 100 usual calls holds the loop."""
    took = []
    for _ in range(5):
        async with watched() as held:
            await door.send(USUAL)
        took.append(held.longest)
    return sorted(took)[2]


# --- the attack ------------------------------------------------------------------------------------------------------


def escapes(start: str, count: int = 1_300_000) -> bytes:
    return start.encode() + rb"\ud800" * count


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    **PACKERS,
    "br": lambda body: brotli.compress(body, quality=5),  # bodies of megabytes, which its usual 11 takes seconds for
    "gzip, gzip": lambda body: gzip.compress(gzip.compress(body)),
    "deflate, zstd": lambda body: zstd(zlib.compress(body)),
    "": lambda body: b"".join(gzip.compress(body[at : at + 200_000]) for at in range(0, len(body), 200_000)),
}
ATTACK = escapes('{"userId":"a","event":"')
PACKED = {coding: pack(ATTACK) for coding, pack in CODINGS.items()}


@pytest.mark.parametrize(("coding", "at_once"), [*((coding, 6) for coding in CODINGS), ("gzip", 1), ("gzip", 50)])
async def test_without_a_key_nothing_is_worked_on(door: Door, coding: str, at_once: int) -> None:
    assert len(PACKED[coding]) < 60_000
    usual = await unit(door)
    for key in (None, "wk-unknown", "wk-ended", "sk"):
        async with watched() as held:
            said = await asyncio.gather(
                *(door.told(PACKED[coding], key, CALL, encoding=coding) for _ in range(at_once))
            )
        assert set(said) == {"forbidden" if key == "sk" else "unauthorized"}
        assert held.longest < MOST * usual
    assert door.owed == (0, 0, 0)


@pytest.mark.parametrize(("coding", "at_once"), [*((coding, 1) for coding in CODINGS), ("gzip", 6)])
@pytest.mark.parametrize("beside", [True, False])
async def test_with_a_public_key_others_are_answered_meanwhile(
    door: Door, coding: str, at_once: int, beside: bool
) -> None:
    usual = await unit(door)
    start = '{"userId":"a","event":"' if beside else '{"writeKey":"wk","userId":"a","event":"'
    packed = CODINGS[coding](escapes(start))
    async with watched() as held:
        said = await asyncio.gather(
            *(door.told(packed, "wk" if beside else None, CALL, encoding=coding) for _ in range(at_once))
        )
    refused = "unauthorized" if not beside else "invalid_request"
    assert set(said) <= {refused, "unauthorized" if "br" in coding else refused, "invalid_request"}
    assert held.longest < MOST * usual, f"{held.longest / usual:.0f} times a batch of 100"
    assert held.turns > 5 or not beside
    assert door.owed == (0, 0, 0)


def counted_pieces(body: bytes, coding: str, limit: int = 2 * UNPACKED) -> int:
    unpacking = Unpacking(body, coding, limit)
    while unpacking.more():
        assert len(unpacking.pieces[-1]) <= 17 * PIECE  # brotli may give as much as its window is filled by
    return len(unpacking.pieces)


@pytest.mark.parametrize("coding", [*CODINGS])
def test_unpacking_takes_twice_the_steps_for_twice_the_bytes(coding: str) -> None:
    one, two, four = (counted_pieces(CODINGS[coding](escapes("", n)), coding) for n in (300_000, 600_000, 1_200_000))
    assert one * 1.5 < two < one * 2.5
    assert two * 1.5 < four < two * 2.5


async def test_without_a_key_only_the_first_bytes_are_unpacked(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Unpacking] = []

    def noted(*arguments: Any) -> Unpacking:
        made.append(Unpacking(*arguments))
        return made[-1]

    monkeypatch.setattr(opening, "Unpacking", noted)
    for coding, packed in PACKED.items():
        assert await door.told(packed, None, CALL, encoding=coding) == "unauthorized"
        assert made[-1].size <= KEY_BYTES + PIECE
        assert await door.told(packed, "wk-ended", CALL, encoding=coding) == "unauthorized"
        assert await door.told(packed, "wk-listed", CALL, encoding=coding, origin="https://evil.example") == (
            "wrong_origin"
        )
    assert len(made) == len(PACKED)
    size = sum(each.size for each in made)
    with pytest.raises(TooManyCalls):
        await door.send(PACKED["gzip"], "wk-spent", CALL, encoding="gzip")
    assert sum(each.size for each in made) <= size + opening.SMALL_BYTES + PIECE


# --- where the key is ------------------------------------------------------------------------------------------------


def phones(size: int, **fields: Any) -> bytes:
    """A batch as SDKs of phones send it: packed, without a header, their key behind the calls."""
    calls = [{"type": "track", "event": "e", "userId": "u", "properties": {"a": "x" * 800}}] * (size // 860)
    return json.dumps({"batch": calls, "sentAt": NOW.isoformat(), **fields}).encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zlib.compress, zstd])
async def test_a_key_behind_the_largest_batch_of_a_phone_is_found(door: Door, pack: Callable[[bytes], bytes]) -> None:
    body = phones(500_000, writeKey="wk")
    coding = "deflate" if pack is zlib.compress else ""
    assert (await door.send(pack(body), None, encoding=coding)).rejected == 0
    assert len(door.touchpoints.records) == 500_000 // 860


async def test_a_key_far_behind_is_not_sought(door: Door) -> None:
    assert await door.told(phones(2 * KEY_BYTES, writeKey="wk"), None) == "unauthorized"
    assert await door.told(phones(2 * KEY_BYTES, writeKey="wk"), "wk") == "taken"


@pytest.mark.parametrize(
    "body",
    [
        rb'{"batch":[{"type":"page","userId":"u","writeKey":"wk"}]}',
        rb'[{"type":"page","userId":"u","properties":{"writeKey":"nobody"},"writeKey" : "\u0077k"}]',
        rb'{"writeKey":"wk","batch":[{"type":"page","userId":"u","properties":{"writeKey":"wk-other"}}]}',
        rb'{"batch":[{"type":"page","userId":"u","name":"\ud800"}],"writeKey":"wk"}',
    ],
)
@pytest.mark.parametrize("filler", [0, 200_000])
async def test_the_key_in_a_body_is_the_one_that_its_place_says(door: Door, body: bytes, filler: int) -> None:
    await door.send(body + b" " * filler, None)
    assert Counter(json.loads(value)["source"] for _, value in door.touchpoints.records) == {"shop": 1}


async def test_a_key_that_only_stands_somewhere_in_a_body_is_none(door: Door) -> None:
    body = b'{"batch":[{"type":"page","userId":"u","properties":{"writeKey":"wk"}}]}'
    for filler in (0, 200_000):
        assert await door.told(body + b" " * filler, None) == "unauthorized"
    assert door.owed == (0, 0, 0)


def test_seeking_a_key_reads_no_more_of_a_body_that_is_full_of_them() -> None:
    for one in (b'"writeKey"', b'"writeKey":"', b'"writeKey":"k",', b'"writeKey":"\\', b'"writeKe', b'"writeKey"    '):
        assert len(list(keys(one * (KEY_BYTES // len(one))))) <= 8


# --- whatever a body holds -------------------------------------------------------------------------------------------


def batched(*items: bytes) -> bytes:
    return b'{"batch":[' + b",".join(items) + b"]}"


def call(properties: bytes, user: bytes = b'"u"') -> bytes:
    return b'{"type":"page","userId":' + user + b',"properties":' + properties + b"}"


def filled(item: bytes, size: int = 7_900_000, more: bytes = b"") -> bytes:
    """A batch of so many bytes, all of this item."""
    return batched(*[more] * bool(more), *[item] * (size // (len(item) + 1)))


SEVERAL = EVENT_BYTES - 200
LISTS = b'{"a":[' + b",".join([b"[]"] * (SEVERAL // 3)) + b"]}"
NUMBERS = b'{"a":[' + b",".join([b"1" * 300] * (SEVERAL // 301)) + b"]}"
BAD_NUMBERS = b"{" + b",".join(b'"%05d":1e999' % n for n in range(SEVERAL // 14)) + b"}"
REPAIRED = b'{"a":"' + rb"\ud800" * (SEVERAL // 6) + b'"}'

HOSTILE: dict[str, Callable[[], bytes]] = {  # made when they are sent: together they are 200 MB
    "5,000 usual calls": lambda: batched(*(event(f"u-{n}", f"m-{n}") for n in range(BATCH_CALLS))),
    "5,000 that can't be used": lambda: batched(*[b'{"type":"track"}'] * BATCH_CALLS),
    "5,000 numbers": lambda: batched(*[b"0"] * BATCH_CALLS),
    "2,500 that need repair": lambda: batched(*[call(rb'{"a":"\ud800","b":"\u0000"}')] * 2_500),
    "2,500 that need repair, beside NaN": lambda: batched(b"NaN", *[call(rb'{"a":"\ud800","b":"\u0000"}')] * 2_500),
    "240 that are full of escapes": lambda: filled(call(REPAIRED)),
    "240 that are full of lists": lambda: filled(call(LISTS)),
    "240 that are full of numbers": lambda: filled(call(NUMBERS)),
    "240 that are full of numbers too large": lambda: filled(call(BAD_NUMBERS)),
    "240 that are somebody's lists": lambda: filled(call(LISTS, user=b"[]")),
    "millions of numbers": lambda: filled(b"0"),
    "millions of lists": lambda: filled(b"[]"),
    "millions of lists, torn": lambda: filled(b"[]", more=b"NaN"),
    "one list of millions, torn": lambda: batched(b"NaN", b"[" + b",".join([b"1"] * 3_900_000) + b"]", call(b"{}")),
    "one list of millions of lists, torn": lambda: batched(
        b"NaN", b"[" + b",".join([b"[]"] * 2_600_000) + b"]", call(b"{}")
    ),
    "one text of escapes, torn": lambda: batched(b"NaN", b'"' + rb"\n" * 3_900_000 + b'"', call(b"{}")),
    "nothing but brackets": lambda: b"[" * 7_900_000,
    "nothing but brackets, torn": lambda: b"[NaN," + b"[" * 7_900_000,
    "nothing but quotes": lambda: b'"' * 7_900_000,
    "nothing but escapes": lambda: escapes('{"batch":["'),
    "a million names": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(600_000)) + b',"batch":[]}',
    "a million names in a call": lambda: batched(b"{" + b",".join(b'"%d":1' % n for n in range(600_000)) + b"}"),
    "a number of 100,000 digits": lambda: batched(call(b'{"a":' + b"1" * 100_000 + b"}"), call(b"{}")),
    "a number of 7 million digits": lambda: b'{"sentAt":' + b"1" * 7_900_000 + b',"batch":[]}',
    "sentAt of millions of lists": lambda: b'{"sentAt":[' + b",".join([b"[]"] * 2_600_000) + b'],"batch":[]}',
    "a key of millions of lists": lambda: b'{"writeKey":[' + b",".join([b"[]"] * 2_600_000) + b'],"batch":[]}',
    "a context of millions of lists": lambda: b'{"context":[' + b",".join([b"[]"] * 2_600_000) + b'],"batch":[]}',
    "a context of escapes": lambda: b'{"context":{"a":"' + rb"\ud800" * 1_300_000 + b'"},"batch":[1]}',
    "spaces": lambda: b"[NaN," + b" " * 7_900_000 + b"1]",
    "commas": lambda: b"," * 7_900_000,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_whatever_a_batch_holds_others_are_answered_meanwhile(door: Door, name: str) -> None:
    usual = await unit(door)
    before, body = len(door.touchpoints.records), HOSTILE[name]()
    async with watched() as held:
        said = await door.told(body)
    assert said in ("taken", "invalid_request")
    assert held.longest < MOST * usual, f"{held.longest / usual:.0f} times a batch of 100"
    if name.startswith(("5,000 usual", "2,500", "240 that are full of escapes")):
        assert said == "taken"
        assert len(door.touchpoints.records) - before >= 240
    assert door.owed == (0, 0, 0)


async def test_a_call_too_large_to_be_used_takes_no_others_along_however_broken_the_batch(door: Door) -> None:
    for name in ("one list of millions, torn", "one text of escapes, torn"):
        assert (await door.send(HOSTILE[name]())).rejected == 2
    assert len(door.touchpoints.records) == 2


EVENT = b'{"specversion":"1.0","id":"1","source":"/a","type":"T","subject":"user_id:u","data":'
BATCHED = [(b"content-type", b"application/cloudevents-batch+json")]
PLAIN = [(b"ce-id", b"1"), (b"ce-source", b"/a"), (b"ce-type", b"T"), (b"ce-specversion", b"1.0"), (b"ce-userid", b"u")]
EVENTS: dict[str, tuple[list[tuple[bytes, bytes]], bytes]] = {
    "5,000": (BATCHED, b"[" + b",".join([EVENT + b'{"a":1}}'] * BATCH_CALLS) + b"]"),
    "240 in base64": (
        BATCHED,
        b"[" + b",".join([EVENT[:-7] + b',"data_base64":"' + base64.b64encode(LISTS[:20_000]) + b'"}'] * 240) + b"]",
    ),
    "240 of names": (
        BATCHED,
        b"[" + b",".join([EVENT + b"1," + b",".join([b'"a":1'] * (SEVERAL // 6)) + b"}"] * 240) + b"]",
    ),
    "one of 8 MB": (PLAIN, b"[" + b",".join([b"[]"] * 2_600_000) + b"]"),
    "one of 8 MB of escapes": (PLAIN, b'"' + rb"\ud800" * 1_300_000 + b'"'),
    "a header of quotes": ([*PLAIN, (b"ce-x", b'"' + rb"\"" * 30_000)], b"{}"),
    "a header of escapes": ([*PLAIN, (b"ce-x", b'"' + b"\\" * 60_001)], b"{}"),
}


@pytest.mark.parametrize("name", EVENTS)
async def test_whatever_an_event_holds_others_are_answered_meanwhile(door: Door, name: str) -> None:
    usual = await unit(door)
    headers, body = EVENTS[name]
    async with watched() as held:
        assert await door.told(body, read=reader(headers)) in ("taken", "invalid_request")
    assert held.longest < MOST * usual, f"{held.longest / usual:.0f} times a batch of 100"
    assert await door.told(body, None, reader(headers)) == "unauthorized"
    assert door.owed == (0, 0, 0)


@pytest.mark.parametrize(
    "query",
    [
        b"data=" + base64.b64encode(b'{"userId":"u","event":"' + rb"\ud800" * 5_000 + b'"}'),
        b"data=" + base64.b64encode(b'{"userId":' + b"[" * 30_000),
        b"&".join(b"properties.%d.%d=1" % (n, n) for n in range(500)),
        b"properties." + b"a." * 20_000 + b"=1",
        b"%" * 48_000,
    ],
    ids=["escapes", "brackets", "fields", "a long way", "percents"],
)
async def test_whatever_a_pixel_holds_others_are_answered_meanwhile(door: Door, query: bytes) -> None:
    usual = await unit(door)
    for key in ("wk", None):
        async with watched() as held:
            said = await door.told(query, key, PIXEL, call="page")
        assert said in (("taken", "invalid_request") if key else ("unauthorized",))
        assert held.longest < MOST * usual


@pytest.mark.parametrize("text", [rb"\ud800", rb"\u0000", rb"\\", rb"\ud83d\ude00", rb"\\\ud800", rb"\"", b"\\"])
def test_cleaning_takes_twice_the_time_for_twice_the_text(text: bytes) -> None:
    """In CPU time of this thread, the best of several: a square would make it four times as much, and sixteen."""

    def took(size: int) -> float:
        def once() -> float:
            began = time.thread_time()
            cleaned(rb"\u0000" + text * (size // len(text)))
            return time.thread_time() - began

        return min(once() for _ in range(5))

    one, four = took(400_000), took(1_600_000)
    assert four < 10 * one + 0.001


# --- turns -----------------------------------------------------------------------------------------------------------

LARGE = batched(*(event(f"u-{n}", f"m-{n}") for n in range(300)))


async def test_one_large_request_is_worked_on_at_a_time_source_by_source(door: Door) -> None:
    order: list[str] = []

    async def send(key: str, number: int) -> None:
        await door.send(LARGE, key)
        order.append(f"{key}{number}")

    await asyncio.gather(*(send("wk", n) for n in range(6)), *(send("wk-other", n) for n in range(2)))
    assert order == ["wk0", "wk1", "wk-other0", "wk2", "wk-other1", "wk3", "wk4", "wk5"] or order == [
        "wk0", "wk-other0", "wk1", "wk-other1", "wk2", "wk3", "wk4", "wk5",
    ]  # fmt: skip
    assert door.owed == (0, 0, 0)


async def test_small_requests_do_not_wait_for_large_ones(door: Door) -> None:
    large = [asyncio.create_task(door.send(LARGE)) for _ in range(5)]
    await asyncio.sleep(0)
    await door.send(event("u", "m"), read=CALL, call="track")
    assert not any(each.done() for each in large)
    await asyncio.gather(*large)


async def test_who_sends_too_many_large_ones_is_told_to_come_back(door: Door) -> None:
    sent = [asyncio.create_task(door.told(batched(*[b"0"] * 200))) for _ in range(WAITING + 5)]
    said = Counter(await asyncio.gather(*sent))
    assert said["busy"] >= 3
    assert said["busy"] + said["invalid_request"] == WAITING + 5
    assert door.owed == (0, 0, 0)


async def test_what_nobody_waits_for_any_more_is_not_worked_on_and_costs_its_source_nothing(door: Door) -> None:
    sending = Sending(reader=BATCH, body=LARGE, authorization="Bearer wk")
    all_of_them = [door.ingest.take(sending) for _ in range(3)]
    await asyncio.sleep(0)
    for each in all_of_them:
        each.abandon()
    await asyncio.wait([each.future for each in all_of_them])
    for each in all_of_them:
        with pytest.raises(TemasError, match="gone"):
            each.receipt()
    assert door.touchpoints.records == []
    assert door.owed == (0, 0, 0)
    await door.send(LARGE)
    assert len(door.touchpoints.records) == 300


async def test_a_turn_that_is_cancelled_is_passed_on() -> None:
    turns, order = Turns(), list[int]()

    async def work(number: int) -> None:
        async with turns.turn("a", Pace()):
            order.append(number)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await asyncio.sleep(0)
    for number in (0, 1, 3):
        tasks[number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 4]
    assert not turns.taken
    assert not turns.waiting


async def test_what_a_large_batch_holds_is_kept_in_order_and_counted_as_that_of_a_small_one(door: Door) -> None:
    calls = [event("u", f"m-{n}") if n % 3 else b'{"type":"track","userId":"u"}' for n in range(600)]
    large = await door.send(batched(*calls))
    kept, refused = door.touchpoints.records, door.rejected.records
    door.touchpoints.records, door.rejected.records = [], []
    rejected = 0
    for start in range(0, 600, 100):
        rejected += (await door.send(batched(*calls[start : start + 100]))).rejected
    assert large.rejected == rejected == len(refused) == 200
    assert kept == door.touchpoints.records
    assert [json.loads(value)["id"] for _, value in kept] == [f"m-m-{n}" for n in range(600) if n % 3]


async def test_parts_without_end_are_refused(door: Door) -> None:
    for pack in (gzip.compress, zstd):
        usual = await unit(door)
        async with watched() as held:
            assert await door.told(pack(b"") * (4_500_000 // len(pack(b"")))) == "invalid_request"
        assert held.longest < MOST * usual
        assert await door.told(pack(b" ") * PARTS) == "invalid_request"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
async def test_what_is_too_large_when_unpacked_is_told_and_not_kept(door: Door, coding: str) -> None:
    with pytest.raises(TooLarge):
        await door.send(CODINGS[coding](b"0" * (UNPACKED + 1)), encoding=coding)
    assert door.owed == (0, 0, 0)
