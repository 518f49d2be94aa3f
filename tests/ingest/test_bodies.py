"""From a request's bytes to its calls."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.bodies import BATCH, CALL, Parcel, Reader, cleaned, single, write_key
from services.ingest.domain.bounds import BATCH_CALLS, SHARED_BYTES
from services.ingest.domain.encodings import inflated
from services.ingest.domain.steps import at_once
from shared.events import Reason

LIMIT = 1_000_000


def code(found: object) -> str:
    assert isinstance(found, Reason)
    return found.code


def batch(body: bytes) -> Parcel | Reason:
    return at_once(BATCH.steps(body))


def test_gzip_shows_by_itself_whatever_the_header_says() -> None:
    for encoding in ("", "gzip", "identity"):
        assert inflated(gzip.compress(b'{"batch": []}'), encoding, LIMIT) == b'{"batch": []}'
    assert inflated(b'{"batch": []}', "gzip", LIMIT) == b'{"batch": []}'  # somebody on the way unpacked it
    assert inflated(zlib.compress(b"{}"), "deflate", LIMIT) == b"{}"


def test_a_bomb_is_refused_before_it_is_large() -> None:
    bomb = gzip.compress(b"0" * 100 * LIMIT)
    assert len(bomb) < LIMIT
    assert code(inflated(bomb, "gzip", LIMIT)) == "too_large"
    assert inflated(gzip.compress(b"0" * LIMIT), "gzip", LIMIT) == b"0" * LIMIT


def test_what_only_looks_like_gzip_is_told() -> None:
    whole = gzip.compress(b'{"batch": []}')
    assert code(inflated(whole[:-9], "gzip", LIMIT)) == "malformed_encoding"
    assert code(inflated(b"\x1f\x8b nonsense", "gzip", LIMIT)) == "malformed_encoding"
    assert code(inflated(b"{}", "deflate", LIMIT)) == "malformed_encoding"


def test_a_batch_comes_as_an_object_or_as_the_bare_array() -> None:
    for body in (b'{"batch": [{"a": 1}, 2]}', b'[{"a": 1}, 2]', b'\n{"batch":[{"a": 1},2],"more":{}}'):
        found = batch(body)
        assert isinstance(found, Parcel)
        assert [found.original(place) for place in range(2)] == [b'{"a": 1}', b"2"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "malformed_json"),
        (b'{"batch": [', "malformed_json"),
        (b"data=%7B%7D", "malformed_json"),
        (b"{}", "wrong_type"),
        (b'{"batch": {}}', "wrong_type"),
        (b'{"batch": null}', "wrong_type"),
        (b'{"batch": [], "context": []}', "wrong_type"),
        (b'{"batch": [], "integrations": {"n": 1e999}}', "wrong_type"),
        (b'{"batch": [], "context": ' + b'{"a":' * 40 + b"1" + b"}" * 41, "too_deep"),
        (
            b'{"batch": [' + b"{}," * 999 + b'{}], "context": {"a": "' + b"x" * (SHARED_BYTES // 1000) + b'"}}',
            "too_large",
        ),
        (b"17", "wrong_type"),
        (b"[" * 10_000, "too_deep"),
        (b'{"batch": [' + b"0," * BATCH_CALLS + b"0]}", "too_many"),
    ],
)
def test_a_batch_that_is_none_is_told(body: bytes, expected: str) -> None:
    assert code(batch(body)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"", "malformed_json"), (b"[]", "not_an_object"), (b'"a"', "not_an_object"), (b'{"a": "\xff', "malformed_json")],
)
def test_a_call_that_is_none_is_told(body: bytes, expected: str) -> None:
    assert code(single(body)) == expected


def test_the_write_key_is_found_in_the_body() -> None:
    for body, read in (
        (b'{"writeKey": "k", "batch": [{}]}', batch),
        (b'{"batch": [{"writeKey": "k"}, {}]}', batch),
        (b'[{"writeKey": "k"}]', batch),
        (b'{"event": "x", "writeKey": "k"}', single),
    ):
        found = read(body)
        assert isinstance(found, Parcel)
        assert write_key(found) == "k"


@pytest.mark.parametrize("body", [b'{"batch": []}', b'{"batch": [7, {"writeKey": "k"}]}', b'{"batch": [{}]}'])
def test_no_write_key_is_none(body: bytes) -> None:
    found = batch(body)
    assert isinstance(found, Parcel)
    assert write_key(found) is None


@pytest.mark.parametrize(
    ("written", "left"),
    [
        (r'"a\u0000b"', "a\ufffdb"),
        (r'"\ud800"', "\ufffd"),
        (r'"\udc00x"', "\ufffdx"),
        (r'"\ud83dx\ude00"', "\ufffdx\ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\\u0000 \\ud800"', r"\u0000 \ud800"),
        (r'"\\\u0000"', "\\\ufffd"),
        (r'"\"\\\\\udfff"', '"\\\\\ufffd'),
        (r'"\n\t\u0130"', "\n\tİ"),
    ],
)
def test_what_can_not_be_written_is_replaced_and_nothing_else(written: str, left: str) -> None:
    assert json.loads(cleaned(written.encode())) == left


def test_half_a_surrogate_does_not_take_its_batch_along() -> None:
    found = batch(rb'{"batch": [{"event": "\ud800"}, {"event": "fine"}]}')
    assert isinstance(found, Parcel)
    assert [found.original(place) for place in range(2)] == [rb'{"event": "\ud800"}', b'{"event": "fine"}']


SPOILT = (b'{"a": NaN}', b'{"a": [-Infinity, "]"]}', b'{"a": "\x00\n"}', rb'{"a": "\ud800"}', b'"\xff\x01"')


@pytest.mark.parametrize("bad", SPOILT)
@pytest.mark.parametrize(
    "form", [b"[%b]", b' {"sentAt": 1, "batch" :[%b] , "context": {"b": [1, "]"]}} ', b"\n [ %b ]"]
)
def test_a_call_that_is_no_json_does_not_take_its_batch_along(bad: bytes, form: bytes) -> None:
    calls = [b'{"event": "\xc3\xa7"}', bad, b"17", b'{"batch": ["}"]}']
    found = batch(form % b" , ".join(calls))
    assert isinstance(found, Parcel)
    assert [found.original(place) for place in range(4)] == calls
    if b"sentAt" in form:
        assert (found.sent_at, bytes(found.context)) == (1, b'{"b": [1, "]"]}')


@pytest.mark.parametrize(
    "body",
    [
        b'{"batch": [NaN]', b'{"batch": [NaN] "a": 1}', b'{"batch": [NaN,]}', b'{"batch": [NaN 1]}',
        b'{"batch": [NaN]} 1',
        b"[NaN, 1", b"[NaN] x", b'{"batch": NaN}', b'{"a": NaN}', b'{"batch" [NaN]}', b'{batch: [NaN]}', b"NaN",
        b'{"batch": [], "context": {"a": NaN}}', b"[NaN" + b",0" * BATCH_CALLS + b"]", b"[NaN," + b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_batch_that_ends_in_its_middle_is_told_whole(body: bytes) -> None:
    assert code(batch(body)) == "malformed_json"


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([b"NaN", b'"\x01"', b"[", b"]", b"{", b"}", b",", b":", b'"batch"', b'"', b"\\", b" ", b"1"])
    )
)
def test_no_torn_batch_raises(pieces: list[bytes]) -> None:
    for body in (b"".join(pieces), b"[NaN," + b"".join(pieces) + b"]", b'{"batch":[NaN],' + b"".join(pieces) + b"}"):
        assert isinstance(batch(body), Parcel | Reason)


@settings(max_examples=100)
@given(st.text(st.sampled_from('\\u0dD8cF"ae9\ud83d\ude00\x00'), max_size=30))
def test_cleaning_changes_only_what_can_not_be_written(text: str) -> None:
    written = json.dumps(text).encode()
    left = json.loads(cleaned(written))
    surrogates = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert left == surrogates.replace("\x00", "\ufffd")


@settings(max_examples=100)
@given(st.binary(max_size=200), st.sampled_from(["", "gzip", "deflate"]), st.sampled_from([BATCH, CALL]))
def test_no_bytes_whatever_raise(body: bytes, encoding: str, reader: Reader) -> None:
    text = inflated(body, encoding, LIMIT)
    if isinstance(text, bytes):
        assert isinstance(found := at_once(reader.steps(text)), Parcel | Reason)
        assert reader.quick(text) in (found, None)
