"""What people send who mean harm, and programs that are broken: each is answered by name, nothing around it is lost,
and whoever comes next is served.
"""

from __future__ import annotations

import asyncio
import codecs
import gzip
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from services.ingest.domain.bounds import BATCH_CALLS, DEPTH, EVENT_BYTES, KEPT_BYTES, SHARED_BYTES
from services.ingest.domain.calls import NAME_LENGTH
from services.ingest.domain.pixel import FIELDS
from shared import topics
from shared.events import Rejected
from shared.protocol import HEAD_BYTES
from tests.builders import Json, page
from tests.ingest.desk import ask, everything
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Door, Place, read, served
from tests.ingest.packing import PACKERS
from tests.servers import free
from tests.waiting import in_time, until

LIMIT = 4_500_000
UNPACKED = 8_000_000
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}


@pytest.fixture(scope="module")
async def port(place: Place) -> AsyncIterator[int]:
    """Of the service behind a real HTTP server."""
    [port] = free(1)
    async with served(place, port):
        yield port


def told(answer: httpx.Response) -> tuple[int, str, str, str]:
    """Status and code, path and code of the first detail."""
    body = answer.json()
    first = body.get("details", [{}])[0]
    return answer.status_code, body["code"], first.get("path", ""), first.get("code", "")


async def goes_on(door: Door) -> None:
    answer = await door.post("/v1/page", page(user="u"))
    assert (answer.status_code, answer.json()) == (200, {"success": True})


async def among_others(door: Door, somebody: str, *calls: bytes, path: str = "/v1/batch") -> httpx.Response:
    """The answer to a batch of `calls` between two that are right, which the log then has."""
    right = [json.dumps(page(name, user=somebody)).encode() for name in ("before", "after")]
    answer = await door.client.post(path, content=b'{"batch": [' + b",".join([right[0], *calls, right[1]]) + b"]}")
    assert answer.status_code == 200, answer.text
    names = [each.data.name for each in await door.touchpoints(of=somebody)]
    assert [name for name in names if name in ("before", "after")] == ["before", "after"]
    await goes_on(door)
    return answer


async def kept(door: Door, body: bytes) -> Rejected:
    """The newest rejected event of these bytes."""
    found = await read(door.kafka, topics.REJECTED, Rejected)
    return [each for each in found if each.data.body == body][-1]


# --- calls that can't be used ----------------------------------------------------------------------------------------

ONES = "1" * 400
LONG = "x" * (NAME_LENGTH + 1)


def call(fields: str, kind: str = "page") -> bytes:
    return f'{{"type": "{kind}", "userId": "u", {fields}}}'.encode()


def filled(size: int) -> bytes:
    """A right call of so many bytes."""
    start, end = b'{"type": "page", "userId": "u", "properties": {"a": "', b'"}}'
    return start + b"x" * (size - len(start) - len(end)) + end


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    """A call that is nested so deeply."""
    inner = levels - 2
    return call(f'"properties": {{"a": {opening * inner}{closing * inner}}}')


BAD: dict[str, tuple[bytes, str, str]] = {
    "too many bytes": (filled(EVENT_BYTES + 1), "$", "too_large"),
    "a level too deep": (nested(DEPTH + 1), "$", "too_deep"),
    "objects a level too deep": (nested(DEPTH + 1, '{"a":', "}").replace(b":}", b":1}"), "$", "too_deep"),
    "900 levels": (nested(900), "$", "too_deep"),
    "deep behind a number too large": (call(f'"a": 1e999, "b": {"[" * 60 + "]" * 60}'), "$", "too_deep"),
    "deep in a field of the sdk's": (call(f'"sentAt": {"[" * 60 + "]" * 60}'), "$", "too_deep"),
    "a long user id": (call(f'"userId": "{LONG}"'), "$.userId", "too_long"),
    "a long anonymous id": (call(f'"anonymousId": "{LONG}"'), "$.anonymousId", "too_long"),
    "a long message id": (call(f'"messageId": "{LONG}"'), "$.messageId", "too_long"),
    "a long group id": (call(f'"groupId": "{LONG}"', "group"), "$.groupId", "too_long"),
    "a long event": (call(f'"event": "{LONG}"', "track"), "$.event", "too_long"),
    "a long name": (call(f'"name": "{LONG}"'), "$.name", "too_long"),
    "a long type": (call(f'"type": "{LONG}"'), "$.type", "too_long"),
    "an unknown type": (call('"type": "__proto__"'), "$.type", "unknown_type"),
    "NaN": (call('"properties": {"a": NaN}'), "$", "malformed_json"),
    "infinity": (call('"properties": {"a": -Infinity}'), "$", "malformed_json"),
    "NaN behind a number too large": (call('"properties": {"a": 1e999, "b": NaN}'), "$", "malformed_json"),
    "1e999 in properties": (call('"properties": {"a": 1e999}'), "$.properties.a", "number_out_of_range"),
    "1e999 in traits": (call('"traits": {"a": [{"b": -1e999}]}'), "$.traits.a", "number_out_of_range"),
    "1e999 as a timestamp": (call('"timestamp": 1e999'), "$.timestamp", "invalid_timestamp"),
    "1e999 as a name": (call('"name": 1e999'), "$.name", "wrong_type"),
    "1e999 as sentAt": (call('"sentAt": 1e999'), "$.sentAt", "number_out_of_range"),
    "1e999 as a channel": (call('"channel": 1e999'), "$.channel", "number_out_of_range"),
    "400 digits in context": (call(f'"context": {{"a": {ONES}}}'), "$.context.a", "number_out_of_range"),
    "400 digits as an id": (call(f'"userId": {ONES}'), "$.userId", "number_out_of_range"),
    "400 digits as a message id": (call(f'"messageId": -{ONES}'), "$.messageId", "number_out_of_range"),
    "400 digits in sentAt": (call(f'"sentAt": {ONES}'), "$.sentAt", "number_out_of_range"),
    "400 digits where nobody looks": (call(f'"anything": {ONES}'), "$.anything", "number_out_of_range"),
    "5,000 digits in sentAt": (call(f'"sentAt": {"1" * 5_000}'), "$.sentAt", "number_out_of_range"),
    "5,000 digits as a timestamp": (call(f'"timestamp": "{"9" * 5_000}"'), "$.timestamp", "invalid_timestamp"),
    "a control character as it is": (call('"name": "a\x01b"'), "$", "malformed_json"),
    "U+0000 as it is": (call('"name": "a\x00b"'), "$", "malformed_json"),
    "a byte that is not UTF-8": (call('"properties": {"a": "?"}').replace(b"?", b"\xff"), "$", "malformed_encoding"),
    "a surrogate in UTF-8": (call('"name": "?"').replace(b"?", b"\xed\xa0\x80"), "$", "malformed_encoding"),
    "an overlong encoding": (call('"name": "?"').replace(b"?", b"\xc0\xaf"), "$", "malformed_encoding"),
    "a field of its own for every value": (call('"properties": []'), "$.properties", "wrong_type"),
    "null": (b"null", "$", "not_an_object"),
    "a number": (b"-0", "$", "not_an_object"),
    "a text": (b'"a"', "$", "not_an_object"),
    "a batch in a batch": (b'[{"type": "page", "userId": "u"}]', "$", "not_an_object"),
    "nobody, under an old name": (b'{"type": "page", "user_id": "u", "__proto__": {}}', "$.userId", "missing"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_call_is_rejected_by_itself(door: Door, somebody: str, name: str) -> None:
    body, path, code = BAD[name]
    answer = await among_others(door, somebody, body)
    assert answer.headers["temas-rejected"] == "1"
    reasons = (await kept(door, body)).data.reasons
    assert (reasons[0].path, reasons[0].code) == (path, code)
    assert "tell us" not in reasons[0].message


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_call_alone_is_told(door: Door, name: str) -> None:
    body, path, code = BAD[name]
    answer = await door.client.post("/v1/batch", content=b'{"batch": [' + body + b"]}")
    assert told(answer) == (400, "invalid_request", path.replace("$", "$.batch[0]", 1), code)
    await goes_on(door)


async def test_a_name_of_32_kilobytes_is_told_at_a_length_that_people_read(door: Door) -> None:
    bad = call(f'"properties": {{"{"k" * 30_000}": 1e999}}')
    answer = await door.client.post("/v1/batch", content=b"[" + b",".join([bad] * 100) + b"]")
    assert told(answer)[3] == "number_out_of_range"
    assert len(answer.content) < 60_000
    assert all(len(each.path) <= 200 and len(each.message) < 400 for each in (await kept(door, bad)).data.reasons)


# --- calls that can be used, however odd -----------------------------------------------------------------------------

ODD: dict[str, tuple[str, Any]] = {
    "minus zero": ("-0", 0),
    "a number that is almost nothing": ("1e-20000", 0.0),
    "300 digits": ("1" * 300, int("1" * 300)),
    "20,000 zeros": (f"0.{'0' * 20_000}1", 0.0),
    "a name of 32 kilobytes": (f'{{"{"k" * 32_000}": 1}}', {"k" * 32_000: 1}),
    "2,000 names": (json.dumps({f"k{n}": n for n in range(2_000)}), {f"k{n}": n for n in range(2_000)}),
    "an empty name": ('{"": {"": 1}}', {"": {"": 1}}),
    "names of JavaScript's": (
        '{"__proto__": {"admin": true}, "constructor": 1}',
        {"__proto__": {"admin": True}, "constructor": 1},
    ),
    "U+0000": (r'"a\u0000b"', "a\ufffdb"),
    "U+0000 as a name": (r'{"\u0000": 1}', {"\ufffd": 1}),
    "half a pair": (r'"\ud800"', "\ufffd"),
    "the other half as a name": (r'{"\udfff": 1}', {"\ufffd": 1}),
    "a pair": (r'"\ud83d\ude00"', "😀"),
    "U+FFFE, U+FFFF and a change of direction": ('"\ufffe\uffff\u202e"', "\ufffe\uffff\u202e"),
    "a name twice": ('{"b": 1, "b": 2}', {"b": 2}),
    "as deep as may be": ("[" * (DEPTH - 2) + "]" * (DEPTH - 2), None),
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_value_is_taken_and_what_can_not_be_written_is_replaced(
    door: Door, somebody: str, name: str
) -> None:
    text, expected = ODD[name]
    odd = f'{{"type": "track", "event": "odd", "userId": "{somebody}", "properties": {{"a": {text}}}}}'
    answer = await among_others(door, somebody, odd.encode())
    assert "temas-rejected" not in answer.headers
    [held] = [each for each in await door.touchpoints(of=somebody) if each.data.name == "odd"]
    assert expected is None or held.properties() == {"a": expected}


async def test_of_a_field_that_is_there_twice_the_last_one_holds(door: Door, somebody: str) -> None:
    twice = f'{{"type": "track", "type": "page", "name": "a", "userId": "x", "userId": "{somebody}"}}'.encode()
    await among_others(door, somebody, twice)
    assert [each.data.type for each in await door.touchpoints(of=somebody)] == ["page"] * 3


async def test_calls_with_one_message_id_are_all_in_the_log_under_it(door: Door, somebody: str) -> None:
    """Which of them counts is decided where the log is read: the first that is applied."""
    same = [json.dumps(page(name, user=somebody, messageId="m-1")).encode() for name in "abc"]
    await among_others(door, somebody, *same)
    assert [each.id for each in await door.touchpoints(of=somebody)].count("m-1") == 3


async def test_a_call_of_exactly_32_kilobytes_is_taken(door: Door, somebody: str) -> None:
    assert "temas-rejected" not in (await among_others(door, somebody, filled(EVENT_BYTES))).headers


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track", "/events"])
async def test_a_bomb_is_413_and_nothing_of_it_is_kept(door: Door, coding: str, path: str) -> None:
    bomb = PACKERS[coding](b"0" * (10 * UNPACKED))
    assert len(bomb) < 10 * UNPACKED // 500
    answer = await door.client.post(path, content=bomb, headers={"content-encoding": coding})
    assert told(answer)[:2] == (413, "too_large")
    await goes_on(door)


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/track", "/events", "/v1/pixel/page"])
async def test_a_body_past_the_limit_is_413(door: Door, path: str) -> None:
    method = "GET" if "pixel" in path else "POST"
    answer = await door.ask(method, path, content=b" " * (LIMIT + 1))
    assert answer.status_code == 413
    await goes_on(door)


def bodies(mark: str) -> dict[str, tuple[bytes, str, str]]:
    """Bodies that hold `mark`, of which nothing can be used; path and code of why."""
    right = json.dumps(page(user=mark))
    shared = "x" * (SHARED_BYTES // 5_000)
    return {
        "100,000 brackets": (b'{"batch": [' + right.encode() + b"," + b"[" * 100_000, "$", "too_deep"),
        "100,000 brackets that are closed": (
            f'{{"batch": [{right}, {"[" * 100_000}{"]" * 100_000}]}}'.encode(),
            "$",
            "too_deep",
        ),
        "too many calls": (f'{{"batch": [{right}{", 0" * BATCH_CALLS}]}}'.encode(), "$.batch", "too_many"),
        "a batch of text": (f'{{"batch": "{mark}"}}'.encode(), "$.batch", "wrong_type"),
        "UTF-16": (right.encode("utf-16"), "$", "malformed_encoding"),
        "UTF-16 without its mark": (right.encode("utf-16-le"), "$", "malformed_encoding"),
        "UTF-32": (right.encode("utf-32"), "$", "malformed_encoding"),
        "a huge context for each": (
            f'{{"batch": [{", ".join([right] * 5_000)}], "context": {{"a": "{shared}"}}}}'.encode(),
            "$.context",
            "too_large",
        ),
        "a context larger than a call": (
            f'{{"batch": [{right}], "context": {{"a": "{"x" * EVENT_BYTES}"}}}}'.encode(),
            "$.context",
            "too_deep",
        ),
        "a context that is too deep": (
            f'{{"batch": [{right}], "context": {{"a": {"[" * DEPTH}{"]" * DEPTH}}}}}'.encode(),
            "$.context",
            "too_deep",
        ),
        "1e999 for each": (
            f'{{"batch": [{right}], "integrations": {{"a": 1e999}}}}'.encode(),
            "$.integrations",
            "wrong_type",
        ),
    }


@pytest.mark.parametrize("name", bodies(""))
async def test_a_body_of_which_nothing_can_be_used_is_told_and_kept(door: Door, somebody: str, name: str) -> None:
    body, path, code = bodies(somebody)[name]
    answer = await door.client.post("/v1/batch", content=body)
    assert told(answer) == (400, "invalid_request", path, code)
    await goes_on(door)
    assert await door.touchpoints(of=somebody) == []
    found = await kept(door, body[:KEPT_BYTES])
    assert (found.data.reasons[0].path, found.data.reasons[0].code) == (path, code)


@pytest.mark.parametrize("item", ["null", "0", "{}", "[]"])
async def test_a_batch_of_5000_times_nothing_is_told_in_a_few_words(door: Door, item: str) -> None:
    answer = await door.client.post("/v1/batch", content=f"[{','.join([item] * BATCH_CALLS)}]")
    assert told(answer)[:2] == (400, "invalid_request")
    assert len(answer.json()["details"]) == 100
    await goes_on(door)


@pytest.mark.parametrize("path", ["/v1/page", "/v1/batch"])
async def test_the_mark_of_windows_before_utf8_says_nothing(door: Door, somebody: str, path: str) -> None:
    body = json.dumps(page("Ana sayfa ş", user=somebody), ensure_ascii=False).encode()
    marked = codecs.BOM_UTF8 + (body if path == "/v1/page" else b'{"batch": [' + body + b"]}")
    for sent in (marked, gzip.compress(marked)):
        assert (await door.client.post(path, content=sent)).status_code == 200
    assert [each.data.name for each in await door.touchpoints(of=somebody)] == ["Ana sayfa ş"] * 2


@pytest.mark.parametrize("key", ["[]", "{}", "1e5", '"\\ud800"', '"\\u0000"', f'"{"k" * 1_000_000}"', "true"])
async def test_a_write_key_in_the_body_that_is_none_is_401(door: Door, key: str) -> None:
    for body in (f'{{"batch": [], "writeKey": {key}}}', f'[{{"writeKey": {key}}}]'):
        assert told(await door.ask("POST", "/v1/batch", content=body, auth=None))[0] == 401


# --- CloudEvents -----------------------------------------------------------------------------------------------------

EVENT = '{"specversion": "1.0", "id": "1", "source": "/a", "type": "T", "subject": "user_id:u"'
ATTRIBUTES: dict[str, tuple[str, str, str]] = {
    "an attribute twice, and a number of 5,000 digits": (f'"id": "2", "data": {"1" * 5_000}', "$.id", "repeated"),
    "an attribute twice, and a byte that is not UTF-8": ('"id": "2", "data": "\udcff"', "$.id", "repeated"),
    "an attribute twice, and 400 levels": (f'"id": "2", "data": {"[" * 400}{"]" * 400}', "$.id", "repeated"),
    "half a pair, and a byte that is not UTF-8": (r'"x": "\ud800", "data": "' + '\udcff"', "$.x", "invalid_text"),
    "half a pair as a name": (r'"\ud800": 1', "$.\x01", "invalid_name"),
    "U+0000 as a name": (r'"\u0000": 1', "$.\x01", "invalid_name"),
    "U+0000 as a value": (r'"x": "a\u0000"', "$.x", "invalid_text"),
    "an object as an attribute": ('"x": {}', "$.x", "wrong_type"),
    "5,000 digits as an attribute": (f'"x": {"1" * 5_000}', "$.x", "wrong_type"),
    "1e999 as an attribute": ('"x": 1e999', "$.x", "wrong_type"),
    "1e999 in the data": ('"data": {"a": 1e999}', "$.properties.a", "number_out_of_range"),
    "too large": (f'"data": "{"x" * EVENT_BYTES}"', "$", "too_large"),
    "too deep": (f'"data": {"[" * DEPTH}{"]" * DEPTH}', "$", "too_deep"),
    "NaN": ('"data": NaN', "$", "malformed_json"),
    "a control character as it is": ('"x": "\x01"', "$", "malformed_json"),
    "base64 that is none": ('"data_base64": "ş"', "$.data_base64", "wrong_type"),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
async def test_a_bad_event_is_told_and_does_not_take_its_batch_along(door: Door, somebody: str, name: str) -> None:
    more, path, code = ATTRIBUTES[name]
    bad = f"{EVENT}, {more}}}".encode("utf-8", "surrogateescape")
    right = f"{EVENT.replace(':u', f':{somebody}')}}}".encode()

    alone = await door.client.post("/events", content=bad, headers=STRUCTURED)
    assert told(alone)[:2] == (400, "invalid_request")
    assert told(alone)[2:] == (path, code)

    answer = await door.client.post("/events", content=b"[" + bad + b"," + right + b"]", headers=BATCHED)
    assert (answer.status_code, answer.headers["temas-rejected"]) == (200, "1")
    assert len(await door.touchpoints(of=somebody)) == 1
    await goes_on(door)


async def test_the_mark_of_windows_is_taken_before_an_event_too(door: Door, somebody: str) -> None:
    event = EVENT.replace(":u", f":{somebody}") + "}"
    for body, headers in ((event, STRUCTURED), (f"[{event}]", BATCHED)):
        sent = codecs.BOM_UTF8 + body.encode()
        assert (await door.client.post("/events", content=sent, headers=headers)).status_code == 200
    binary = {f"ce-{name}": str(value) for name, value in json.loads(event).items()}
    data = codecs.BOM_UTF8 + b'{"total": 1}'
    typed = {**binary, "content-type": "application/json"}
    assert (await door.client.post("/events", content=data, headers=typed)).status_code == 200
    assert [each.properties() for each in await door.touchpoints(of=somebody)] == [{}, {}, {"total": 1}]


# --- addresses -------------------------------------------------------------------------------------------------------


async def test_10000_parameters_do_not_matter_to_a_call_and_are_too_many_for_a_pixel(door: Door, somebody: str) -> None:
    many = "&".join(["a="] * 10_000)
    call = page(user=somebody)
    answer = await door.ask("POST", f"/v1/page?{many}&writeKey={WRITE_KEY}", json=call, auth=None)
    assert answer.status_code == 200
    few = "&".join(f"a{n}=" for n in range(FIELDS))
    for query, code in ((f"{few}&userId={somebody}", "too_many"), ("userId=" + "x" * 60_000, "too_large")):
        answer = await door.ask("GET", f"/v1/pixel/page?{query}")
        assert (answer.status_code, answer.headers["temas-error"]) == (400, "invalid_request")
        [found] = [
            each for each in await read(door.kafka, topics.REJECTED, Rejected) if each.data.body == query.encode()
        ]
        assert [each.code for each in found.data.reasons] == [code]
    await goes_on(door)


@pytest.mark.parametrize(
    "query", ["writeKey=%", "writeKey=%zz%ff%00", "writeKey=&writeKey=", "writeKey", "&=&&=%", "%"]
)
async def test_an_address_of_garbage_has_no_key(door: Door, query: str) -> None:
    for method, path in (("POST", "/v1/page"), ("GET", "/v1/pixel/page"), ("GET", "/sourceConfig")):
        url = httpx.URL("http://ingest").copy_with(raw_path=f"{path}?{query}".encode())
        answer = await door.client.request(method, url, content=b'{"userId": "u"}', auth=None)
        assert answer.status_code == 401
    await goes_on(door)


GARBAGE = [
    b"/v1/%ff", b"/v1/track%00", b"/v1/%2e%2e/track", b"//v1//track", b"/v1/track/../batch", b"/%",
    b"/v1/sources/%00", b"/v1/sources/%ff", b"/v1/sources/" + b"x" * 60_000, b"/v1/sources/a%2fb", b"/v1/sources/..",
    b"/v1/rejected/%00", b"/v1/rejected/%ff%fe", b"/v1/rejected/" + b"%F0%9F%98%80" * 600,
    b"/v1/plan/track/%00", b"/v1/plan/track/%ff", b"/v1/plan/track/" + b"%2F" * 600, b"/v1/plan/__proto__/x",
    b"/v1/plan/track/a/versions/99999999999999999999/restore", b"/v1/audit?object=%00", b"/v1/audit?cursor=%ff",
    b"/v1/audit?limit=99999999999999999999999", b"/v1/rejected?from=99999-01-01T00:00:00Z", b"/v1/rejected?reason=%00",
    b"/v1/projects/%00/settings", b"/v1/projects/" + b"x" * 5_000 + b"/settings", b"/v1/rejected?cursor=WyIiLCAiIl0",
]  # fmt: skip


@pytest.mark.parametrize("path", GARBAGE, ids=lambda path: repr(path[:50]))
async def test_an_address_of_garbage_is_a_refusal_in_json(door: Door, path: bytes) -> None:
    url = httpx.URL("http://ingest").copy_with(raw_path=path)
    secret = {"authorization": f"Bearer {SECRET_KEY}"}
    for method in ("GET", "PUT", "POST", "DELETE"):
        answer = await door.client.request(method, url, headers=secret, auth=None, json={}, follow_redirects=True)
        assert 400 <= answer.status_code < 500, answer.text
        assert {"code", "message"} <= answer.json().keys()
    await goes_on(door)


# --- the wire --------------------------------------------------------------------------------------------------------


async def spoken(port: int, request: bytes) -> bytes:
    """All that is answered to these bytes, until the connection ends or nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = piece = await in_time(reader.read(65_536))
    with suppress(TimeoutError):
        while piece:
            async with asyncio.timeout(2):
                answer += (piece := await reader.read(65_536))
    writer.close()
    return answer


KEY = b"Authorization: Bearer " + WRITE_KEY.encode() + b"\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"User-Agent: a\0b\r\n",
        b"traceparent: a\nb\r\n",
        b"X: a\r b\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 2, 2\r\n",
        b" folded: x\r\n",
        b"a b: x\r\n",
        b"\xff\xfe: x\r\n",
    ],
    ids=repr,
)
async def test_a_head_that_is_no_head_is_400_and_keeps_nothing(
    door: Door, port: int, somebody: str, head: bytes
) -> None:
    body = json.dumps(page(user=somebody)).encode()
    length = b"Content-Length: %d\r\n" % len(body)
    answer = await spoken(port, b"POST /v1/page HTTP/1.1\r\nHost: x\r\n" + KEY + length + head + b"\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert await door.touchpoints(of=somebody) == []
    assert b" 200 " in await spoken(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


async def test_what_a_header_says_does_not_come_back_in_one(port: int) -> None:
    sent = b"Origin: https://a%0d%0aX-Evil: 1\r\ntraceparent: 00-x%0d%0aX-Evil: 1\r\nHost: y%0d%0aX-Evil: 1\r\n"
    for line in (
        b"OPTIONS /v1/page HTTP/1.1\r\n",
        b"POST /v1/page?writeKey=%0d%0aX-Evil:%201 HTTP/1.1\r\nContent-Length: 0\r\n",
        b"GET /v1/pixel/page?writeKey=%0d%0aX-Evil:%201 HTTP/1.1\r\n",
        b"GET /v1/projects/%0d%0aX-Evil:%201/settings HTTP/1.1\r\n",
        b"GET /v1/sources/ HTTP/1.1\r\n",
    ):
        answer = await spoken(port, line + sent + b"Connection: close\r\n\r\n")
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert answer.startswith(b"HTTP/1.1 ")
        assert b"\r\nx-evil" not in head


async def test_a_head_of_60_kilobytes_is_read_and_one_that_is_larger_is_431(port: int) -> None:
    for size, status in ((60_000, b"401"), (10 * HEAD_BYTES, b"431")):
        line = b"POST /v1/page?writeKey=" + b"x" * size + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        assert (await spoken(port, line)).startswith(b"HTTP/1.1 " + status)


async def test_a_user_agent_of_control_characters_is_kept_with_what_was_rejected(door: Door, port: int) -> None:
    """And the queue of rejected events, in PostgreSQL, takes it."""
    name = f"odd {uuid.uuid4()}"
    body = json.dumps({"type": "track", "event": name}).encode()
    head = b"POST /v1/track HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff\xfe\x80 " + b"x" * 20_000 + b"\r\n"
    answer = await spoken(port, head + KEY + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.startswith(b"HTTP/1.1 400")
    [waiting] = await waits(door, event=name)
    whole = (await ask(door, "GET", f"rejected/{waiting['id']}")).json()
    assert whole["user_agent"] == "\xff\xfe\x80 " + "x" * (NAME_LENGTH - 4)


async def test_what_was_sent_above_waits_for_a_person(door: Door) -> None:
    """None of it is too odd for PostgreSQL, nor for the list that a person asks for."""
    last = f"last {uuid.uuid4()}"
    assert (await door.post("/v1/track", {"event": last})).status_code == 400
    await waits(door, event=last)
    seen = await everything(door, "rejected", "rejected", limit=500)
    assert {code for _, _, code in BAD.values()} <= {each["code"] for each in seen}
    one_of_each = {(each["code"], each["path"], each["event"]): each["id"] for each in seen}
    for id in one_of_each.values():
        assert (await ask(door, "GET", f"rejected/{id}")).status_code == 200


async def waits(door: Door, **which: str) -> list[Json]:
    """The rejected events that wait for a person, once there are any."""

    async def look() -> list[Json]:
        found: list[Json] = (await ask(door, "GET", "rejected", params=which)).json()["rejected"]
        return found

    return await until(look)
