"""CloudEvents: what stands where in a call, and what is refused by name.

Every rule of the specification that concerns a receiver of the JSON format has its example here, and those of the HTTP
binding in test_binding.py: what CloudEvents' own conformance suite asks, and more.
"""

from __future__ import annotations

import base64
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from services.ingest.domain.bounds import EVENT_BYTES
from services.ingest.domain.cloudevents import outlined, translated
from services.ingest.domain.grants import GRANTS
from services.ingest.domain.judgement import Accepted, Arrival, judge
from services.ingest.domain.sources import Source
from shared.events import Reason, Touchpoint

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
Json = dict[str, Any]


def event(**attributes: Any) -> Json:
    """An event of user `ayse`; what is None is left out."""
    said = {
        "specversion": "1.0",
        "id": "A234-1234-1234",
        "source": "https://shop.example/orders",
        "type": "com.example.order.placed",
        "subject": "user_id:ayse",
        **attributes,
    }
    return {name: value for name, value in said.items() if value is not None}


def call(said: Json | bytes) -> Json:
    """The call that an event becomes."""
    found = translated(said if isinstance(said, bytes) else json.dumps(said).encode())
    assert isinstance(found, Raw), found
    return dict(msgspec.json.decode(found))


def wrong(said: Json | bytes) -> list[tuple[str, str]]:
    """Path and code of all that is wrong with an event."""
    found = translated(said if isinstance(said, bytes) else json.dumps(said).encode())
    assert not isinstance(found, Raw), bytes(found)
    return [(reason.path, reason.code) for reason in found]


def touchpoint(said: Json) -> Touchpoint:
    """What the log would hold of it."""
    found = translated(json.dumps(said).encode())
    assert isinstance(found, Raw), found
    judged = judge(found, Arrival(source=Source(name="web", may=GRANTS), received_at=NOW), lambda: "never needed")
    assert isinstance(judged, Accepted), judged
    return judged.touchpoint


# --- what stands where -----------------------------------------------------------------------------------------------


def test_an_event_is_a_touchpoint() -> None:
    found = touchpoint(event(time="2026-03-01T09:00:00Z", data={"order_id": "o-1", "total": 120.5}))
    assert found.id == "https://shop.example/orders#A234-1234-1234"
    assert found.time == datetime(2026, 3, 1, 9, tzinfo=UTC)
    assert (found.data.type, found.data.name, found.data.user_id) == ("track", "com.example.order.placed", "ayse")
    assert found.properties() == {"order_id": "o-1", "total": 120.5}
    assert json.loads(bytes(found.data.context)) == {
        "cloudevent": {
            "id": "A234-1234-1234",
            "source": "https://shop.example/orders",
            "type": "com.example.order.placed",
            "subject": "user_id:ayse",
        }
    }


def test_an_event_without_time_has_the_time_of_its_arrival() -> None:
    assert touchpoint(event()).time == NOW


@pytest.mark.parametrize("prefix", ["", "temas."])
@pytest.mark.parametrize(
    ("kind", "data", "of_call"),
    [
        ("identify", {"traits": {"plan": "pro"}}, {"traits": {"plan": "pro"}}),
        ("track", {"event": "Viewed", "properties": {"sku": "7"}}, {"name": "Viewed"}),
        ("page", {"name": "Home", "category": "Shop"}, {"name": "Home"}),
        ("screen", {"name": "Basket"}, {"name": "Basket"}),
        ("group", {"groupId": "g-1", "traits": {"name": "Example"}}, {"group_id": "g-1", "traits": {}}),
        ("alias", {"previousId": "old"}, {"previous_id": "old"}),
        ("page", None, {"name": None}),
    ],
)
def test_the_six_calls_have_their_own_fields_in_data(prefix: str, kind: str, data: Json | None, of_call: Json) -> None:
    found = touchpoint(event(type=prefix + kind, data=data)).data
    assert (found.type, found.user_id) == (kind, "ayse")
    assert {name: getattr(found, name) for name in of_call} == of_call


@pytest.mark.parametrize("type", ["com.example.identify", "Identify", "temas.touchpoint.v1", "temas.", "temas"])
def test_a_type_that_only_looks_like_a_call_is_the_name_of_an_event(type: str) -> None:
    assert (call(event(type=type))["type"], call(event(type=type))["event"]) == ("track", type)


def test_a_field_that_no_call_has_is_not_lost_in_silence() -> None:
    assert wrong(event(type="identify", data={"email": "a@example.com", "messageId": "m", "traits": {}})) == [
        ("$.data.email", "unknown_field"),
        ("$.data.messageId", "unknown_field"),
    ]
    assert wrong(event(type="identify", data="ayse")) == [("$.data", "wrong_type")]
    assert wrong(event(type="identify", data_base64="TWE=")) == [("$.data", "wrong_type")]
    assert wrong(event(type="page", data={"context": "web"})) == [("$.data.context", "wrong_type")]


# --- which event, and whose ------------------------------------------------------------------------------------------


def test_source_and_id_together_name_an_event() -> None:
    pairs = [
        ("a", "b"),
        ("a", "b#c"),
        ("a#b", "c"),
        ("a#", "b"),
        ("a", "#b"),
        ("/" + "x" * 600, "1"),
        ("/" + "x" * 600, "2"),
    ]
    names = [call(event(source=source, id=id))["messageId"] for source, id in pairs]
    assert len(set(names)) == len(pairs)
    assert all(len(name) <= 512 for name in names)
    assert names[0] == "a#b"
    assert uuid.UUID(names[-1]).version == 5
    assert names == [call(event(source=source, id=id, data=1))["messageId"] for source, id in pairs]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"subject": "user_id:ayse"}, {"userId": "ayse"}),
        ({"subject": "anonymous_id:a-1"}, {"anonymousId": "a-1"}),
        ({"subject": "user_id:a:b c"}, {"userId": "a:b c"}),
        ({"subject": "user_id:ayse", "anonymousid": "a-1"}, {"userId": "ayse", "anonymousId": "a-1"}),
        ({"subject": "basket/17", "userid": "ayse"}, {"userId": "ayse"}),
        ({"subject": "basket:17", "userid": "ayse"}, {"userId": "ayse"}),
        ({"subject": None, "userid": 17}, {"userId": "17"}),
        ({"subject": "user_id:ayse", "userid": "ayse"}, {"userId": "ayse"}),
        ({"subject": None, "type": "page", "data": {"userId": "ayse"}}, {"userId": "ayse"}),
        ({"subject": "user_id:7", "type": "page", "data": {"userId": 7, "anonymousId": ""}}, {"userId": "7"}),
    ],
)
def test_whose_it_is(told: Json, expected: Json) -> None:
    found = call(event(**told))
    assert {name: found.get(name) or None for name in ("userId", "anonymousId")} == {
        "userId": None,
        "anonymousId": None,
        **expected,
    }
    assert "externalIds" not in found["context"]


@pytest.mark.parametrize("subject", ["email:ayse@example.com", "phone:+90 555 000 00 00"])
def test_an_email_or_phone_is_an_external_id_beside_another(subject: str) -> None:
    kind, _, value = subject.partition(":")
    [held] = touchpoint(event(subject=subject, anonymousid="a-1")).data.external_ids
    assert (held.kind, held.value) == (kind, value)
    given = {"externalIds": [{"id": "7", "type": "crm"}]}
    both = touchpoint(event(subject=subject, userid="u", type="page", data={"context": given})).data.external_ids
    assert [each.kind for each in both] == ["crm", kind]


def test_a_subject_that_is_something_else_is_kept() -> None:
    assert call(event(subject="order:17", userid="ayse"))["context"]["cloudevent"]["subject"] == "order:17"


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        (None, "missing"),
        ("order/17", "nobody"),
        ("email:ayse@example.com", "nobody"),
        ("profile_id:0b6c", "nobody"),
        ("user_id:", "nobody"),
        ("user_id: ", "nobody"),
        ("ayse", "nobody"),
    ],
)
def test_an_event_that_is_nobodys_is_refused(subject: str | None, code: str) -> None:
    assert wrong(event(subject=subject)) == [("$.subject", code)]


def test_ids_that_differ_are_refused() -> None:
    assert wrong(event(userid="mert")) == [("$.subject", "contradiction")]
    assert wrong(event(type="page", data={"userId": "mert"})) == [("$.subject", "contradiction")]
    assert wrong(event(subject=None, userid="a", type="page", data={"userId": "b"})) == [("$.userid", "contradiction")]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"subject": "user_id:" + "x" * 513}, ("$.subject", "too_long")),
        ({"userid": True}, ("$.userid", "wrong_type")),
        ({"type": "page", "data": {"userId": ["ayse"]}}, ("$.data.userId", "wrong_type")),
        ({"type": "x" * 513}, ("$.type", "too_long")),
    ],
)
def test_ids_and_names_are_bounded(told: Json, expected: tuple[str, str]) -> None:
    assert wrong(event(**told)) == [expected]


# --- data ------------------------------------------------------------------------------------------------------------


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("content", "properties"),
    [
        ({}, {}),
        ({"data": {"a": 1}}, {"a": 1}),
        ({"data": {"a": 1}, "datacontenttype": "application/vnd.example+json; charset=utf-8"}, {"a": 1}),
        ({"data": "I'm just a string"}, {"data": "I'm just a string"}),
        ({"data": '{"a": 1}', "datacontenttype": "application/json"}, {"data": '{"a": 1}'}),
        ({"data": [1, 2]}, {"data": [1, 2]}),
        ({"data": 17}, {"data": 17}),
        ({"data": False}, {"data": False}),
        ({"data": "<wow/>", "datacontenttype": "text/xml"}, {"data": "<wow/>"}),
        ({"data_base64": packed(b'{"a": 1}'), "datacontenttype": "application/json"}, {"a": 1}),
        ({"data_base64": packed(b' {"a": 1}\n')}, {"a": 1}),
        ({"data_base64": packed(b"[1]")}, {"data": [1]}),
        ({"data_base64": packed(b"\xff\x00")}, {"data_base64": packed(b"\xff\x00")}),
        ({"data_base64": "TWE=", "datacontenttype": "text/plain"}, {"data_base64": "TWE="}),
        ({"data_base64": packed(b'{"a": 1}'), "datacontenttype": "image/gif"}, {"data_base64": packed(b'{"a": 1}')}),
        ({"data_base64": "", "datacontenttype": "image/gif"}, {"data_base64": ""}),
        ({"data": {"a": 1}, "data_base64": None}, {"a": 1}),
        ({"data": None, "data_base64": "TWE="}, {"data_base64": "TWE="}),
    ],
)
def test_data_become_properties(content: Json, properties: Json) -> None:
    said = json.dumps({**event(), **content})
    assert call(said.encode())["properties"] == properties


def test_an_explicit_null_is_kept() -> None:
    assert call(json.dumps({**event(), "data": None}).encode())["properties"] == {"data": None}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"data": "text", "data_base64": "TWE="}, ("$.data_base64", "contradiction")),
        ({"data_base64": "not base64!"}, ("$.data_base64", "wrong_type")),
        ({"data_base64": "TWE"}, ("$.data_base64", "wrong_type")),
        ({"data_base64": {"a": 1}}, ("$.data_base64", "wrong_type")),
        ({"data_base64": "TWE=", "datacontenttype": "application/json"}, ("$.data", "malformed_json")),
    ],
)
def test_data_that_can_not_be_read_are_refused(content: Json, expected: tuple[str, str]) -> None:
    assert wrong(event(**content)) == [expected]


# --- attributes ------------------------------------------------------------------------------------------------------

OPTIONAL = ("datacontenttype", "dataschema", "time", "comexample")


def test_what_is_null_is_not_there() -> None:
    said = {**event(), **dict.fromkeys(OPTIONAL)}
    assert call(said) == call(event())
    assert wrong({**event(), "id": None}) == [("$.id", "missing")]


def test_extensions_of_every_type_are_kept() -> None:
    extensions = {
        "extinteger": 10,
        "extlowest": -(2**31),
        "extboolean": True,
        "extstring": "çok güzel 😀",
        "exturi": "https://example.com",
        "exturiref": "//authority/path",
        "exttimestamp": "2023-03-31T15:12:00Z",
        "extbinary": "TWE=",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "dataschema": "https://example.com/schema",
        "averylongnamethatisdiscouragedbutallowed": "x",
    }
    held = call(event(**extensions))["context"]["cloudevent"]
    assert {name: held[name] for name in extensions} == extensions


def test_the_channel_of_an_event_is_an_extension() -> None:
    assert touchpoint(event(channel="Call Centre")).data.channel == "call_centre"
    assert touchpoint(event()).data.channel == "unknown"
    assert "channel" not in call(event(channel="store"))["context"]["cloudevent"]


@pytest.mark.parametrize(
    "time",
    [
        "2018-04-05T17:31:00Z",
        "2018-04-05T17:31:00.000000000Z",
        "2018-04-05t17:31:00z",
        "2018-04-05T18:31:00+01:00",
        "2018-04-05T16:31:00.0-01:00",
        "2018-04-05T17:31:00-00:00",
    ],
)
def test_one_moment_is_written_in_many_ways(time: str) -> None:
    assert touchpoint(event(time=time)).time == datetime(2018, 4, 5, 17, 31, tzinfo=UTC)


def test_a_leap_second_is_the_end_of_the_one_before() -> None:
    assert touchpoint(event(time="2016-12-31T23:59:60Z")).time == datetime(2016, 12, 31, 23, 59, 59, 999_000, UTC)
    assert touchpoint(event(time="2016-12-31T23:59:60.5+00:00")).time.second == 59


INVALID: list[tuple[Json, str, str]] = [
    ({"specversion": None}, "$.specversion", "missing"),
    ({"id": None}, "$.id", "missing"),
    ({"type": None}, "$.type", "missing"),
    ({"source": None}, "$.source", "missing"),
    ({"specversion": ""}, "$.specversion", "empty"),
    ({"id": ""}, "$.id", "empty"),
    ({"type": ""}, "$.type", "empty"),
    ({"source": ""}, "$.source", "empty"),
    ({"subject": "", "userid": "ayse"}, "$.subject", "empty"),
    ({"dataschema": ""}, "$.dataschema", "empty"),
    ({"datacontenttype": ""}, "$.datacontenttype", "empty"),
    ({"specversion": "0.3"}, "$.specversion", "unknown_version"),
    ({"specversion": "1.0.2"}, "$.specversion", "unknown_version"),
    ({"specversion": 1.0}, "$.specversion", "wrong_type"),
    ({"time": "lunchtime"}, "$.time", "invalid_timestamp"),
    ({"time": "2018-04-05T18:31Z"}, "$.time", "invalid_timestamp"),
    ({"time": "2018-04-05T18:31:00X"}, "$.time", "invalid_timestamp"),
    ({"time": "2018-04-05T18:31:00"}, "$.time", "invalid_timestamp"),
    ({"time": "2018-04-05 18:31:00Z"}, "$.time", "invalid_timestamp"),
    ({"time": "2018-04-05T18:31:00+25:00"}, "$.time", "invalid_timestamp"),
    ({"time": "2018-04-05T18:31:00+xx:00"}, "$.time", "invalid_timestamp"),
    ({"time": "2018-04-05T18:31:00+05"}, "$.time", "invalid_timestamp"),
    ({"time": "2018-02-30T18:31:00Z"}, "$.time", "invalid_timestamp"),
    ({"time": 1522952400}, "$.time", "wrong_type"),
    ({"datacontenttype": "xyz"}, "$.datacontenttype", "invalid_media_type"),
    ({"datacontenttype": "text/plain; charset"}, "$.datacontenttype", "invalid_media_type"),
    ({"dataschema": "/relative"}, "$.dataschema", "invalid_uri"),
    ({"source": "my context"}, "$.source", "invalid_uri"),
    ({"source": "/a#b#c"}, "$.source", "invalid_uri"),
    ({"source": "/%zz"}, "$.source", "invalid_uri"),
    ({"source": "/İzmir"}, "$.source", "invalid_uri"),
    ({"id": 25}, "$.id", "wrong_type"),
    ({"id": {"xyz": "abc"}}, "$.id", "wrong_type"),
    ({"id": True}, "$.id", "wrong_type"),
    ({"id": "a\nb"}, "$.id", "invalid_text"),
    ({"id": "a\u0000"}, "$.id", "invalid_text"),
    ({"id": "a\ud800"}, "$.id", "invalid_text"),
    ({"comexample": "a\u0085"}, "$.comexample", "invalid_text"),
    ({"comexample": "a\ufdd0"}, "$.comexample", "invalid_text"),
    ({"comexample": "a\U0001ffff"}, "$.comexample", "invalid_text"),
    ({"MyExtension": "bad"}, "$.MyExtension", "invalid_name"),
    ({"my.extension": "bad"}, "$.my.extension", "invalid_name"),
    ({"my_extension": 1.5}, "$.my_extension", "invalid_name"),
    ({"şehir": "İzmir"}, "$.şehir", "invalid_name"),
    ({"": "bad"}, "$.", "invalid_name"),
    ({"comexample": 1.5}, "$.comexample", "wrong_type"),
    ({"comexample": 2**31}, "$.comexample", "number_out_of_range"),
    ({"comexample": ["a"]}, "$.comexample", "wrong_type"),
    ({"comexample": {"a": 1}}, "$.comexample", "wrong_type"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "path", "code"), INVALID)
def test_what_the_specification_forbids_is_refused_by_name(told: Json, path: str, code: str) -> None:
    assert wrong(event(**told)) == [(path, code)]


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = wrong(event(id=None, time="lunchtime", Bad=1, data=1, data_base64="?"))
    assert found == [
        ("$.id", "missing"),
        ("$.time", "invalid_timestamp"),
        ("$.Bad", "invalid_name"),
        ("$.data_base64", "contradiction"),
    ]


def test_an_attribute_that_is_there_twice_is_refused() -> None:
    said = json.dumps(event(data={"id": 1, "items": [{"id": 2}]})).encode()
    assert call(said)["properties"]["id"] == 1
    assert wrong(said[:-1] + b', "id": "another"}') == [("$.id", "repeated")]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "malformed_json"),
        (b'{"specversion": "1.0"', "malformed_json"),
        (b"[]", "not_an_object"),
        (b'"event"', "not_an_object"),
        (b'{"id": "\xff"}', "malformed_encoding"),
        (b'{"a":' * 3_000 + b"1" + b"}" * 3_000, "too_deep"),
        (b'{"data": "' + b"x" * EVENT_BYTES + b'"}', "too_large"),
    ],
)
def test_what_is_no_event_is_told(said: bytes, code: str) -> None:
    assert wrong(said) == [("$", code)]


def test_half_a_surrogate_in_data_is_replaced_as_everywhere() -> None:
    said = json.dumps(event(data={"name": "a\ud800", "nul": "\x00"})).encode()
    assert call(said)["properties"] == {"name": "a\ufffd", "nul": "\ufffd"}


@pytest.mark.parametrize(
    ("said", "outline"),
    [
        (
            json.dumps(event(time="lunchtime")).encode(),
            {"type": "track", "event": "com.example.order.placed", "messageId": call(event())["messageId"]},
        ),
        (b'{"type": "temas.identify", "id": "1"}', {"type": "identify"}),
        (b'{"type": 7, "id": "1", "source": ["a"]}', {}),
        (b"not json", {}),
        (b'{"id": "\xff"}', {}),
    ],
)
def test_of_an_event_that_can_not_be_used_is_told_what_can_be_read(said: bytes, outline: Json) -> None:
    assert json.loads(outlined(said)) == outline


# --- whatever comes --------------------------------------------------------------------------------------------------

MINIMAL = {
    "specversion": "1.0",
    "id": "minimal",
    "type": "com.example.test",
    "source": "https://example.com",
    "userid": "u",
}

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda each: st.lists(each, max_size=2)
)


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from([*MINIMAL, "data", "data_base64", "time", "subject", "x"]), _json),
    st.sampled_from([*MINIMAL, "x"]),
)
def test_no_event_whatever_raises_and_none_is_accepted_without_its_ids(changes: Json, left_out: str) -> None:
    said = {**MINIMAL, **changes}
    said.pop(left_out, None)
    found = translated(json.dumps(said).encode())
    if isinstance(found, Raw):
        made = msgspec.json.decode(found)
        assert made["messageId"]
        assert made.get("userId") or made.get("anonymousId")
        assert left_out in ("userid", "x")
    else:
        assert found
        assert all(isinstance(reason, Reason) for reason in found)
