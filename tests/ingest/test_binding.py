"""CloudEvents over HTTP: the three modes, headers, and what a body is."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from services.ingest.domain.binding import binary, reader, structured
from services.ingest.domain.bodies import Parcel, Reader
from services.ingest.domain.bounds import BATCH_CALLS
from services.ingest.domain.cloudevents import call
from services.ingest.domain.steps import at_once
from shared.events import Reason

Json = dict[str, Any]

MINIMAL = {
    "specversion": "1.0",
    "id": "minimal",
    "type": "com.example.test",
    "source": "https://example.com",
    "userid": "u",
}


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def request(text: str, body: bytes) -> Parcel:
    """A request as it is sent: header lines, and a body."""
    lines = [line.strip().partition(":") for line in text.strip().splitlines()]
    headers = [(name.lower().encode(), value.strip().encode("utf-8")) for name, _, value in lines]
    return parcel_of(reader(headers), body)


def parcel_of(reader: Reader, body: bytes) -> Parcel:
    parcel = at_once(reader.steps(body))
    assert isinstance(parcel, Parcel)
    assert parcel.form == "cloudevent"
    assert reader.quick(body) in (parcel, None)
    return parcel


def batched(body: bytes) -> Parcel:
    return parcel_of(reader([(b"content-type", b"application/cloudevents-batch+json")]), body)


def calls(parcel: Parcel) -> list[Raw | tuple[Reason, ...]]:
    return [call(parcel, place) for place in range(len(parcel.batch))]


def originals(parcel: Parcel) -> list[bytes]:
    return [parcel.original(place) for place in range(len(parcel.batch))]


def only(parcel: Parcel) -> Json:
    """The one call that a request is."""
    [found] = calls(parcel)
    assert isinstance(found, Raw), found
    return dict(msgspec.json.decode(found))


def refused(parcel: Parcel) -> list[tuple[str, str]]:
    [found] = calls(parcel)
    assert isinstance(found, tuple), found
    return [(reason.path, reason.code) for reason in found]


HEADERS = """
    ce-specversion: 1.0
    ce-type: com.example.order.placed
    ce-time: 2018-04-05T03:56:24Z
    ce-id: 1234-1234-1234
    CE-Source: /mycontext/subcontext
    ce-subject: user_id:ayse
"""


@pytest.mark.parametrize("declared", ["application/json", "application/json; charset=utf-8", "Application/LD+JSON"])
def test_in_binary_mode_attributes_are_headers_and_data_the_body(declared: str) -> None:
    found = only(request(f"{HEADERS}    Content-Type: {declared}", b'{\n  "message": "Hello World!"\n}\n'))
    assert found["properties"] == {"message": "Hello World!"}
    assert found["messageId"] == "/mycontext/subcontext#1234-1234-1234"
    assert found["timestamp"] == "2018-04-05T03:56:24Z"
    assert found["userId"] == "ayse"
    assert found["context"]["cloudevent"]["datacontenttype"] == declared


@pytest.mark.parametrize("declared", ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8"])
def test_in_structured_mode_the_body_is_all(declared: str) -> None:
    body = json.dumps({**MINIMAL, "data": {"message": "Hello World!"}}).encode()
    parcel = request(f"ce-id: ignored\nContent-Type: {declared}", body)
    assert only(parcel)["properties"] == {"message": "Hello World!"}
    assert only(parcel)["messageId"] == "https://example.com#minimal"
    assert originals(parcel) == [body]


@pytest.mark.parametrize(
    ("batch", "codes"),
    [
        ([], []),
        ([MINIMAL], [None]),
        ([MINIMAL, MINIMAL], [None, None]),
        ([MINIMAL, {**MINIMAL, "specversion": "0.9"}], [None, "unknown_version"]),
        ([{**MINIMAL, "id": None}, MINIMAL], ["missing", None]),
        (["not an object", MINIMAL], ["not_an_object", None]),
        ([None], ["not_an_object"]),
    ],
)
def test_in_batched_mode_each_event_is_judged_by_itself(batch: list[Any], codes: list[str | None]) -> None:
    body = json.dumps(batch).encode()
    parcel = request("Content-Type: application/cloudevents-batch+json; charset=utf-8", body)
    assert [None if isinstance(each, Raw) else each[0].code for each in calls(parcel)] == codes
    assert [json.loads(each) for each in originals(parcel)] == batch


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b'{"specversion": "1.0"}', "wrong_type"),
        (b"[{}", "malformed_json"),
        (b"[" + b"{}," * BATCH_CALLS + b"{}]", "too_many"),
    ],
)
def test_a_batch_that_is_none_is_told(body: bytes, code: str) -> None:
    parcel = batched(body)
    assert refused(parcel) == [("$", code)]
    assert originals(parcel) == [body]


@pytest.mark.parametrize(
    "declared", ["application/cloudevents+avro", "application/cloudevents", "application/cloudevents-batch+xml"]
)
def test_a_format_that_is_not_read_is_told(declared: str) -> None:
    assert refused(request(f"Content-Type: {declared}", b"\x00\x01")) == [("$", "unknown_format")]


def test_an_event_without_any_attribute_is_told_what_it_lacks() -> None:
    parcel = request("Content-Type: application/json", json.dumps(MINIMAL).encode())
    assert refused(parcel) == [("$", "missing")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("euro%20%e2%82%ac", "euro €"),
        ("%41%42", "AB"),
        ("100%2541", "100%41"),
        ("50% off", "50% off"),
        ('"a \\"quoted\\" word"', 'a "quoted" word'),
        ('"with%20both \\\\"', "with both \\"),
        ("Euro €", "Euro €"),
        ("  spaced  ", "spaced"),
        ("5", "5"),
        ("true", "true"),
    ],
)
def test_header_values_are_unquoted_and_then_percent_decoded_once(written: str, read: str) -> None:
    found = only(request(f"{HEADERS}    ce-comexample: {written}", b""))
    assert found["context"]["cloudevent"]["comexample"] == read


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("ce-comexample: %C0%A0", ("$.comexample", "malformed_encoding")),
        ("ce-comexample: %ED%A0%80", ("$.comexample", "malformed_encoding")),
        ("ce-comexample: %0A", ("$.comexample", "invalid_text")),
        ("ce-my-extension: a", ("$.my-extension", "invalid_name")),
        ("ce-datacontenttype: text/plain", ("$.datacontenttype", "invalid_name")),
        ("ce-data: a", ("$.data", "invalid_name")),
        ("ce-id: again", ("$.id", "repeated")),
        ("ce-dataschema:", ("$.dataschema", "empty")),
        ("Content-Type: nonsense", ("$.datacontenttype", "invalid_media_type")),
    ],
)
def test_headers_that_can_not_be_read_are_refused_by_name(header: str, expected: tuple[str, str]) -> None:
    assert refused(request(f"{HEADERS}    {header}", b"")) == [expected]


@pytest.mark.parametrize(
    ("declared", "body", "properties"),
    [
        ("application/json", b'"just text"', {"data": "just text"}),
        ("application/json", b"null", {"data": None}),
        ("text/plain", "güzel".encode(), {"data": "güzel"}),
        ("text/plain; charset=iso-8859-1", "güzel".encode("latin-1"), {"data": "güzel"}),
        ("text/plain; charset=punycode", b"g-k", {"data_base64": packed(b"g-k")}),
        ("text/plain", b"\xff", {"data_base64": packed(b"\xff")}),
        ("application/xml", b"<wow/>", {"data": "<wow/>"}),
        ("application/vnd.apache.thrift.binary", b"\x00\x01", {"data_base64": packed(b"\x00\x01")}),
        ("", b'{"a": 1}', {"a": 1}),
        ("", b"\x00\x01", {"data_base64": packed(b"\x00\x01")}),
        ("application/json", b"", {}),
    ],
)
def test_the_body_is_what_its_type_says(declared: str, body: bytes, properties: Json) -> None:
    headers = [(b"content-type", declared.encode())] if declared else []
    attributes = [(f"ce-{name}".encode(), str(value).encode()) for name, value in MINIMAL.items()]
    assert only(binary([*headers, *attributes], body))["properties"] == properties


def test_a_body_that_is_not_the_json_it_should_be_is_refused_and_kept() -> None:
    parcel = request(f"{HEADERS}    Content-Type: application/json", b'{"message": ')
    assert refused(parcel) == [("$.data", "malformed_json")]
    assert base64.b64decode(json.loads(parcel.original(0))["data_base64"]) == b'{"message": '


def test_an_event_in_binary_mode_is_kept_in_the_structured_format() -> None:
    parcel = request(f"{HEADERS}    ce-comexample: 5\n    Content-Type: text/xml", b"<wow/>")
    [original] = originals(parcel)
    assert calls(structured(original)) == calls(parcel)
    assert json.loads(original) == {
        "specversion": "1.0",
        "type": "com.example.order.placed",
        "time": "2018-04-05T03:56:24Z",
        "id": "1234-1234-1234",
        "source": "/mycontext/subcontext",
        "subject": "user_id:ayse",
        "comexample": "5",
        "datacontenttype": "text/xml",
        "data": "<wow/>",
    }


@settings(max_examples=60)
@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.sampled_from([b"ce-id", b"ce-x", b"content-type"]), st.binary(max_size=9))),
)
def test_no_bytes_whatever_raise(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    for found in (parcel_of(reader(headers), body), binary(headers, body), structured(body), batched(body)):
        assert isinstance(found, Parcel)
