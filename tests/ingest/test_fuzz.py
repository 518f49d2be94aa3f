"""Anything at all at the door: every answer is one that the documentation knows, every call is in one of the two
topics, and what is in the log can be read by everybody who reads it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import brotli
import httpx
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import Counter
from sqlalchemy import text

from services.ingest import metrics
from services.ingest.api.documentation import ANSWERS
from services.ingest.domain.encodings import GZIP, ZSTD
from shared import topics
from shared.events import Rejected, Touchpoint, encode
from tests.builders import Json, after, alias, call, identify, order, page, track
from tests.ingest.door import Door, read

# The fixture of a test holds for all its examples: what they did is held against the topics once, at the end.
fuzzed = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

CODES = {"invalid_request", "unauthorized", "too_large", "unknown_encoding"}
"""Of what can be wrong with what these tests send."""


# --- what must hold --------------------------------------------------------------------------------------------------


def total(counter: Counter) -> int:
    return int(sum(each.value for each in next(iter(counter.collect())).samples if each.name.endswith("_total")))


def counts() -> tuple[int, int]:
    """Calls accepted and rejected so far."""
    return total(metrics.ACCEPTED), total(metrics.REJECTED)


@pytest.fixture
async def accounted(door: Door) -> AsyncIterator[Door]:
    """The door. After the test: whatever it said to have kept is in the topics, and can be read and stored."""
    log, rejects = (topics.TOUCHPOINTS, Touchpoint), (topics.REJECTED, Rejected)
    held, before = (len(await read(door.kafka, *log)), len(await read(door.kafka, *rejects))), counts()
    yield door
    accepted, rejected = (now - then for now, then in zip(counts(), before, strict=True))
    touchpoints, refusals = await read(door.kafka, *log), await read(door.kafka, *rejects)
    assert (len(touchpoints), len(refusals)) == (held[0] + accepted, held[1] + rejected)
    assert accepted + rejected > 0, "nothing was kept, so nothing was tested"
    assert all(each.data.reasons for each in refusals)
    assert "unusable" not in {reason.code for each in refusals for reason in each.data.reasons}
    for each in touchpoints:
        assert each.id.strip()
        assert (each.data.user_id or each.data.anonymous_id or "").strip()
        readable(each.properties())
        readable(json.loads(bytes(each.data.context)))
        readable(each.data.traits)
    await storable(door, touchpoints)


def readable(value: object) -> None:
    """Without what UTF-8 and PostgreSQL's jsonb can't hold, and without numbers that nobody can calculate with."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in written.replace("\\\\", "")
    written.encode()


async def storable(door: Door, touchpoints: list[Touchpoint]) -> None:
    """PostgreSQL takes all of them, as json and as text."""
    texts = [field for each in touchpoints for field in (each.id, each.data.user_id, each.data.name, each.data.channel)]
    rows = {
        "events": [encode(each).decode() for each in touchpoints],
        "texts": [each for each in texts if each is not None],
    }
    statement = text("""
        SELECT count(CAST(event AS json))
        FROM unnest(CAST(:events AS text[]), CAST(:texts AS text[])) AS held (event, name)
    """)
    async with door.app.state.desk.database.begin() as work:
        assert (await work.execute(statement, rows)).scalar_one() == len(touchpoints)


def checked(answer: httpx.Response) -> None:
    """It is one of the documented answers, in their form."""
    assert str(answer.status_code) in ANSWERS, answer.text
    if answer.status_code == 200:
        assert answer.content == b'{"success": true}'
    else:
        body = answer.json()
        assert body["code"] in CODES
        assert body["message"]
        assert body.keys() <= {"code", "message", "details"}
        assert all({"path", "code", "message"} == each.keys() for each in body.get("details", ()))


async def sent(door: Door, method: str, path: str | httpx.URL, **rest: Any) -> tuple[httpx.Response, int, int]:
    """The answer, and how many calls were accepted and rejected for it."""
    before = counts()
    answer = await door.client.request(method, path, **rest)
    accepted, rejected = (now - then for now, then in zip(counts(), before, strict=True))
    assert rejected == int(answer.headers.get("temas-rejected", 0)) or answer.status_code == 400
    assert accepted == 0 or answer.status_code == 200
    assert rejected == 0 or answer.status_code in (200, 400)
    assert ("temas-position" in answer.headers) == (accepted > 0)
    return answer, accepted, rejected


# --- any bytes -------------------------------------------------------------------------------------------------------

PATHS = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch", "/v1/track", "/v1/i", "/v1/alias", "/events")
ENCODINGS = ("", "gzip", "deflate", "zstd", "br", "identity", "gzip, br", "x-gzip", "bzip2", "\xff")
PACKS = (bytes, gzip.compress, zlib.compress, zstd.compress, brotli.compress)
json_like = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b":", b",", b'"batch"', b'"userId"', b'"a"', b"1e999", b"NaN", b"null", b'"']
    ),
    max_size=30,
).map(b"".join)
BEGINNINGS = (GZIP, ZSTD, b"\xef\xbb\xbf", b"\xff\xfe", b'{"batch":[')
anything = st.one_of(
    st.binary(max_size=400),
    json_like,
    st.builds(bytes.__add__, st.sampled_from(BEGINNINGS), st.binary(max_size=99)),
)  # fmt: skip


@fuzzed
@given(
    path=st.sampled_from(PATHS),
    body=anything,
    pack=st.sampled_from(PACKS),
    encoding=st.sampled_from(ENCODINGS),
    type=st.sampled_from(
        ["", "application/json", "application/cloudevents+json", "application/cloudevents-batch+json"]
    ),
    keyed=st.booleans(),
)
async def test_any_bytes_are_answered(
    accounted: Door, path: str, body: bytes, pack: Any, encoding: str, type: str, keyed: bool
) -> None:
    headers = {"content-encoding": encoding.encode("latin-1"), "content-type": type.encode()}
    key = {} if keyed else {"auth": None}
    answer, accepted, rejected = await sent(accounted, "POST", path, content=pack(body), headers=headers, **key)
    checked(answer)
    assert keyed or accepted + rejected == 0
    if keyed and answer.status_code == 400:
        assert rejected > 0


# --- almost right batches --------------------------------------------------------------------------------------------

RIGHT = (
    track("Viewed", {"price": 1.5, "list": [1, {"a": None}]}, user="u-fuzz"),
    order(19.9, id="o-1", user="u-fuzz", anonymous="a-fuzz", timestamp=after()),
    identify("u-fuzz", {"email": "ayse@example.com", "plan": "pro"}),
    page("Ana sayfa ş 😀", anonymous="a-fuzz", context={"library": {"name": "analytics.js"}, "traits": {"a": 1}}),
    call("screen", anonymous="a-fuzz", category="Shop", name="Basket", integrations={"All": True}),
    call("group", user="u-fuzz", groupId="g-1", traits={"name": "Example"}),
    alias("old", "u-fuzz", sentAt="2026-03-01T10:00:00Z"),
)
FIELDS = (
    "type", "messageId", "userId", "anonymousId", "previousId", "groupId", "event", "name", "category", "properties",
    "traits", "context", "integrations", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "channel",
    "writeKey", "__proto__", "", "user_id", "\ud800", "\0", "x" * 600,
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, "", " ", "\0", "\ud800", "\udc00x", "😀", "x" * 513, "null", "2026-03-01T10:00:00Z", "99999-01-01",
    "1e999", 0, -0.0, 10**17, 10**308, 10**400, -(2**63) - 1, 2**64, 1e308, float("nan"), float("inf"), 1e-320, [], {},
    [None], [{}], {"a": float("nan")}, {"\0": "\ud800"}, {"channel": "\ud800"}, {"channel": " - "},
    {"traits": []}, {"library": []},
    {"externalIds": [{"type": "email", "id": "\0"}, {"type": "user_id", "id": "x"}, 7, {"type": [], "id": {}}]},
    {"externalIds": [{"type": "phone", "id": "9" * 5_000}]}, {"userAgent": 1}, {"a": 2**70},
)  # fmt: skip
deep = st.integers(1, 45).map(lambda levels: json.loads("[" * levels + "]" * levels))
plain = st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.dictionaries(st.text(max_size=5), st.integers()))
NUMBERS = {"huge": b"1e999", "tiny": b"-1e-20000", "long": b"1" * 5_000, "none": b"NaN"}
"""What JSON's writers don't write, by what stands for it until a call is bytes."""
odd = st.one_of(st.sampled_from(sorted(NUMBERS)), st.sampled_from(ODD), deep, plain)


@st.composite
def almost(draw: st.DrawFn, right: st.SearchStrategy[Json], fields: tuple[str, ...]) -> Json:
    """Something right, of which some fields are dropped, renamed or replaced, and to which others are added."""
    made = dict(draw(right))
    for change in draw(st.lists(st.sampled_from(["add", "add", "replace", "drop", "rename", "swap"]), max_size=4)):
        field = draw(st.sampled_from(sorted(made) or ["type"]))
        if change == "drop":
            made.pop(field, None)
        elif change == "rename":
            made[draw(st.sampled_from(fields))] = made.pop(field, None)
        elif change == "swap":
            made[field] = made[draw(st.sampled_from(sorted(made) or [field]))] if made else None
        else:
            made[field if change == "replace" else draw(st.sampled_from(fields))] = draw(odd)
    return made


def spoilt(body: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """As it is; or cut, with a part of it twice, or with other bytes in it."""

    @st.composite
    def spoil(draw: st.DrawFn) -> bytes:
        text = draw(body)
        way = draw(st.sampled_from(["whole", "whole", "whole", "cut", "twice", "put"]))
        at = draw(st.integers(0, max(0, len(text))))
        if way == "cut":
            return text[:at]
        if way == "twice":
            return text[:at] + text[max(0, at - draw(st.integers(1, 40))) :]
        if way == "put":
            strange = st.sampled_from(
                [b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"\\", b"\\ud800", b"\x01", b",", b"[", b"NaN"]
            )
            return text[:at] + draw(strange) + text[at:]
        return text

    return spoil()


def written(value: object) -> bytes:
    text = json.dumps(value).encode()
    for name, number in NUMBERS.items():
        text = text.replace(b'"%b"' % name.encode(), number)
    return text


calls = spoilt(almost(st.sampled_from(RIGHT), FIELDS).map(written))
shared = st.dictionaries(
    st.sampled_from(["context", "integrations", "sentAt", "writeKey", "more", "batch "]), odd, max_size=2
)


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    items = b"[" + b", ".join(draw(st.lists(calls, min_size=1, max_size=8))) + b"]"
    if draw(st.booleans()):
        return items
    more = [written(name) + b":" + written(value) for name, value in draw(shared).items()]
    return b"{" + b",".join([*more, b'"batch": ' + items]) + b"}"


def expected(body: bytes) -> int | None:
    """How many calls there are in it, where it can be read at all."""
    try:
        held = json.loads(body.decode("latin-1"), strict=False, parse_int=str)
    except ValueError:
        return None
    items = held.get("batch") if isinstance(held, Mapping) else held
    return len(items) if isinstance(items, list) else None


@fuzzed
@given(body=spoilt(batches()), pack=st.sampled_from([bytes, gzip.compress]))
async def test_an_almost_right_batch_is_taken_call_by_call(accounted: Door, body: bytes, pack: Any) -> None:
    answer, accepted, rejected = await sent(accounted, "POST", "/v1/batch", content=pack(body))
    checked(answer)
    if answer.status_code == 200 and (number := expected(body)) is not None:
        assert accepted + rejected == number
    if answer.status_code == 400:
        assert (accepted, rejected > 0) == (0, True)


@fuzzed
@given(body=calls, path=st.sampled_from(["/v1/track", "/v1/i", "/v1/page", "/v1/group", "/v1/a"]))
async def test_an_almost_right_call_is_kept_one_way_or_the_other(accounted: Door, body: bytes, path: str) -> None:
    answer, accepted, rejected = await sent(accounted, "POST", path, content=body)
    checked(answer)
    assert accepted + rejected == 1


# --- almost right events ---------------------------------------------------------------------------------------------

EVENTS: tuple[Json, ...] = (
    {"specversion": "1.0", "id": "1", "source": "/shop", "type": "Viewed", "subject": "user_id:u-fuzz",
     "data": {"a": 1}},
    {"specversion": "1.0", "id": "2", "source": "https://shop.example/#x", "type": "temas.identify", "userid": "u-fuzz",
     "time": "2026-03-01T23:59:60Z", "data": {"traits": {"plan": "pro"}, "context": {"a": 1}}},
    {"specversion": "1.0", "id": "3", "source": "/shop", "type": "Seen", "anonymousid": "a-fuzz",
     "data_base64": "eyJhIjoxfQ==", "datacontenttype": "application/json", "channel": "store",
     "comexample": "x", "dataschema": "https://shop.example/s"},
    {"specversion": "1.0", "id": "4", "source": "/shop", "type": "Read", "subject": "email:ayse@example.com",
     "userid": "u-fuzz", "datacontenttype": "text/plain", "data": "ş"},
)  # fmt: skip
ATTRIBUTES = (
    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "userid", "anonymousid",
    "channel", "data", "data_base64", "UPPER", "", "\ud800", "\0", "n" * 300,
)  # fmt: skip
almost_events = almost(st.sampled_from(EVENTS), ATTRIBUTES)
one_event = spoilt(almost_events.map(written))


@fuzzed
@given(body=one_event)
async def test_an_almost_right_event_is_kept_one_way_or_the_other(accounted: Door, body: bytes) -> None:
    headers = {"content-type": "application/cloudevents+json"}
    answer, accepted, rejected = await sent(accounted, "POST", "/events", content=body, headers=headers)
    checked(answer)
    assert accepted + rejected == 1


@fuzzed
@given(body=spoilt(st.lists(one_event, max_size=5).map(lambda events: b"[" + b",".join(events) + b"]")))
async def test_an_almost_right_batch_of_events_is_taken_event_by_event(accounted: Door, body: bytes) -> None:
    headers = {"content-type": "application/cloudevents-batch+json"}
    answer, accepted, rejected = await sent(accounted, "POST", "/events", content=body, headers=headers)
    checked(answer)
    if answer.status_code == 200 and (number := expected(body)) is not None:
        assert accepted + rejected == number
    if answer.status_code == 400:
        assert (accepted, rejected > 0) == (0, True)


def as_header(name: str, value: object) -> tuple[bytes, bytes]:
    shown = value if isinstance(value, str) else json.dumps(value)
    return f"ce-{name}".encode("ascii", "ignore"), quote(shown, errors="replace").encode()


@fuzzed
@given(
    event=almost_events,
    body=st.one_of(st.binary(max_size=60), calls),
    type=st.sampled_from(
        [b"", b"application/json", b"text/plain; charset=iso-8859-1", b"\xff", b"application/xml", b"a/b;c"]
    ),
    more=st.lists(
        st.tuples(st.sampled_from([b"ce-x", b"ce-id", b"ce-", b"ce-data"]), st.binary(max_size=20)), max_size=2
    ),
)
async def test_an_almost_right_event_in_headers_is_kept_one_way_or_the_other(
    accounted: Door, event: Json, body: bytes, type: bytes, more: list[tuple[bytes, bytes]]
) -> None:
    attributes = [as_header(name, value) for name, value in event.items() if name not in ("data", "data_base64")]
    headers = [(b"content-type", type), *attributes, *more]
    answer, accepted, rejected = await sent(accounted, "POST", "/events", content=body, headers=headers)
    checked(answer)
    assert accepted + rejected == 1


# --- almost right addresses ------------------------------------------------------------------------------------------

NAMES = (
    *FIELDS,
    "data",
    "properties.a",
    "properties.a.b",
    "traits.email",
    "context.channel",
    "properties.",
    ".",
    "a.b.c",
)
TEXTS = ("u-fuzz", "{}", '{"a": 1e999}', '{"a": NaN}', '"', "\0", "eyJ1c2VySWQiOiAidSJ9", "%", "====")
texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=20), odd.map(json.dumps))
pairs = st.lists(st.tuples(st.sampled_from(NAMES), texts), max_size=6)
queries = st.one_of(
    pairs.map(lambda given: urlencode([("userId", "u-fuzz"), *given], errors="replace")),
    pairs.map(lambda given: urlencode(given, errors="replace")),
    st.text(st.sampled_from("&=%.+;aF0{}[]\"'userIdtaE9"), max_size=60),
)


@fuzzed
@given(query=queries, kind=st.sampled_from(["track", "identify", "page", "screen", "group", "alias"]))
async def test_an_almost_right_pixel_is_kept_one_way_or_the_other(accounted: Door, query: str, kind: str) -> None:
    url = httpx.URL("http://ingest").copy_with(raw_path=f"/v1/pixel/{kind}?{query}".encode())
    answer, accepted, rejected = await sent(accounted, "GET", url)
    assert (answer.status_code, answer.headers["content-type"]) in ((200, "image/gif"), (400, "image/gif"))
    assert answer.headers.get("temas-error", "invalid_request") == "invalid_request"
    assert accepted + rejected == 1
