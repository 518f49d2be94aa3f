"""The judgement over one call: what the log gets, and what is wrong with what it does not get."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from services.ingest.domain.bounds import DEPTH, EVENT_BYTES, KEPT_BYTES, KEPT_REASONS
from services.ingest.domain.calls import CALL_TYPES, NAME_LENGTH
from services.ingest.domain.grants import GRANTS
from services.ingest.domain.judgement import Accepted, Arrival, Refused, judge, rejection
from services.ingest.domain.sources import Source
from shared.events import Rejected, Touchpoint, encode
from shared.identifiers import Identifier
from tests.builders import alias, identify, page, track

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEB = Source(name="web", trust="server", may=GRANTS)
ARRIVAL = Arrival(source=WEB, received_at=NOW)


def judged(call: object, arrival: Arrival = ARRIVAL) -> Accepted | Refused:
    body = call if isinstance(call, bytes) else json.dumps(call).encode()
    return judge(Raw(body), arrival, lambda: "made")


def taken(call: object, arrival: Arrival = ARRIVAL) -> Touchpoint:
    """The touchpoint as a consumer reads it."""
    verdict = judged(call, arrival)
    assert isinstance(verdict, Accepted), verdict
    return msgspec.json.decode(encode(verdict.touchpoint), type=Touchpoint)


def reasons(call: object, arrival: Arrival = ARRIVAL) -> dict[str, str]:
    """The code of each bad field."""
    verdict = judged(call, arrival)
    assert isinstance(verdict, Refused), verdict
    assert all(reason.message for reason in verdict.reasons)
    return {reason.path: reason.code for reason in verdict.reasons}


# --- what the log gets -----------------------------------------------------------------------------------------------


def test_a_track_call_becomes_a_touchpoint() -> None:
    call = track(
        "Product Viewed", {"price": 19.90}, user="u-1", anonymous="a-1", id="x", timestamp="2026-03-01T10:00:00Z"
    )
    touchpoint = taken({**call, "messageId": "m-1", "context": {"page": {"path": "/"}, "channel": "Store"}})

    assert (touchpoint.id, touchpoint.source, touchpoint.subject) == ("m-1", "web", "user_id:u-1")
    assert touchpoint.at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    data = touchpoint.data
    assert (data.type, data.name, data.user_id, data.anonymous_id) == ("track", "Product Viewed", "u-1", "a-1")
    assert (data.received_at, data.channel) == (NOW, "store")
    assert touchpoint.properties() == {"price": 19.9}
    assert msgspec.json.decode(data.context) == {"page": {"path": "/"}, "channel": "Store"}


def test_properties_keep_the_digits_that_were_sent() -> None:
    body = (
        b'{"type": "track", "event": "e", "userId": "u", "properties": {"total": 19.90, "id": 12345678901234567890123}}'
    )
    assert bytes(taken(body).data.properties) == b'{"total": 19.90, "id": 12345678901234567890123}'


def test_the_address_names_the_kind_of_a_single_call() -> None:
    arrival = Arrival(source=WEB, received_at=NOW, call="identify")
    assert taken({"userId": "u"}, arrival).data.type == "identify"
    assert taken({"userId": "u", "type": "track"}, arrival).data.type == "identify"


def test_empty_null_and_blank_are_as_good_as_missing() -> None:
    nulls = dict.fromkeys(("properties", "traits", "context", "integrations", "timestamp", "name", "previousId"))
    data = taken({**nulls, "type": "page", "userId": "", "anonymousId": "a-1", "groupId": " "}).data
    assert (data.user_id, data.anonymous_id, data.group_id, data.previous_id, data.name) == (
        None,
        "a-1",
        None,
        None,
        None,
    )
    assert bytes(data.properties) == bytes(data.context) == b"{}"


def test_ids_may_be_numbers() -> None:
    touchpoint = taken({"type": "identify", "userId": 0, "anonymousId": 17, "messageId": 99})
    assert (touchpoint.data.user_id, touchpoint.data.anonymous_id, touchpoint.id) == ("0", "17", "99")


def test_a_missing_message_id_is_made() -> None:
    assert taken({"type": "page", "userId": "u"}).id == "made"
    assert taken({"type": "page", "userId": "u", "messageId": ""}).id == "made"


def test_traits_of_the_call_go_over_those_of_its_context() -> None:
    context = {"traits": {"plan": "free", "email": "a@example.com"}}
    assert taken(track("e", user="u", context=context)).data.traits == context["traits"]
    assert taken(identify("u", {"plan": "pro"}, context=context)).data.traits == {
        "plan": "pro",
        "email": "a@example.com",
    }


def test_traits_of_a_group_are_not_the_persons() -> None:
    call = {
        "type": "group",
        "userId": "u",
        "groupId": "g",
        "traits": {"name": "Example Ltd"},
        "context": {"traits": {"a": 1}},
    }
    touchpoint = taken(call)
    assert touchpoint.data.traits == {"a": 1}
    assert touchpoint.properties() == {"name": "Example Ltd"}
    assert touchpoint.data.group_id == "g"


def test_a_page_has_its_name_and_keeps_its_category() -> None:
    assert taken(page("Basket", user="u")).data.name == "Basket"
    assert taken({"type": "page", "userId": "u", "category": "Shop"}).data.name == "Shop"
    both = taken({"type": "page", "userId": "u", "category": "Shop", "name": "Basket", "properties": {"a": 1}})
    assert (both.data.name, both.properties()) == ("Basket", {"category": "Shop", "a": 1})


def test_an_alias_joins_two_ids() -> None:
    data = taken(alias("old", "new")).data
    assert (data.previous_id, data.user_id) == ("old", "new")
    assert taken({"type": "alias", "userId": "new", "anonymousId": "a"}).data.anonymous_id == "a"


def test_context_and_integrations_of_the_batch_hold_for_its_calls() -> None:
    arrival = Arrival(
        source=WEB,
        received_at=NOW,
        context={"ip": "1.2.3.4", "library": {"name": "analytics-python"}, "traits": {"plan": "free"}},
        integrations={"All": False, "A": True},
    )
    call = track("e", user="u", context={"ip": "5.6.7.8"}, integrations={"All": True})
    touchpoint = taken(call, arrival)
    context = msgspec.json.decode(touchpoint.data.context)
    assert context["ip"] == "5.6.7.8"
    assert context["library"] == {"name": "analytics-python"}
    assert context["integrations"] == {"All": True, "A": True}
    assert touchpoint.data.channel == "server"
    assert touchpoint.data.traits == {"plan": "free"}


def test_external_ids_name_the_person_but_never_with_our_own_kinds() -> None:
    ids = [
        {"id": "ga-1", "type": "ga_client_id", "collection": "users", "encoding": "none"},
        {"id": "victim", "type": "user_id"},
        {"id": "a:b", "type": "with:colon"},
        {"id": "", "type": "empty"},
        {"id": 17, "type": "number"},
        "odd",
    ]
    assert taken(page(user="u", context={"externalIds": ids})).data.external_ids == (
        Identifier("ga_client_id", "ga-1"),
    )
    assert taken(page(user="u", context={"externalIds": {"id": "x"}})).data.external_ids == ()


def test_the_key_is_the_anonymous_id_where_there_is_one() -> None:
    for call, key in ((page(user="u"), b"u"), (page(anonymous="a"), b"a"), (page(user="u", anonymous="a"), b"a")):
        verdict = judged(call)
        assert isinstance(verdict, Accepted)
        assert verdict.key == key


def test_a_call_from_the_future_is_cut_and_says_so() -> None:
    verdict = judged(page(user="u", timestamp="2036-03-01T12:00:00Z"))
    assert isinstance(verdict, Accepted)
    assert verdict.cut
    assert verdict.touchpoint.at == datetime(2026, 3, 1, 12, 5, tzinfo=UTC)


def test_the_ends_of_our_calendar_are_no_fault() -> None:
    hour_behind = Arrival(source=WEB, received_at=NOW, sent_at=NOW - timedelta(hours=1))
    assert taken(page(user="u", timestamp="9999-12-31T23:59:59Z"), hour_behind).at == NOW + timedelta(minutes=5)
    hour_ahead = Arrival(source=WEB, received_at=NOW, sent_at=NOW + timedelta(hours=1))
    assert taken(page(user="u", timestamp="0001-01-01T00:00:00Z"), hour_ahead).at.year == 1


def test_what_postgresql_can_not_keep_is_replaced_everywhere() -> None:
    body = rb'{"type":"track","event":"a\u0000b","userId":"u\ud800","properties":{"k\u0000":"\udfff\ud83d\ude00"}}'
    touchpoint = taken(body)
    assert (touchpoint.data.name, touchpoint.data.user_id) == ("a\ufffdb", "u\ufffd")
    assert touchpoint.properties() == {"k\ufffd": "\ufffd😀"}
    assert b"u0000" not in encode(touchpoint)


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"userId": "u"}, {"$.type": "unknown_type"}),
        ({"userId": "u", "type": "Track"}, {"$.type": "unknown_type"}),
        ({"type": "track", "userId": "u"}, {"$.event": "missing"}),
        ({"type": "track", "userId": "u", "event": ""}, {"$.event": "missing"}),
        ({"type": "track", "event": "e"}, {"$.userId": "missing"}),
        ({"type": "track", "event": "e", "userId": "", "anonymousId": None}, {"$.userId": "missing"}),
        ({"type": "group", "userId": "u"}, {"$.groupId": "missing"}),
        ({"type": "alias", "userId": "u"}, {"$.previousId": "missing"}),
        ({"type": "alias", "anonymousId": "a", "previousId": "b"}, {"$.userId": "missing"}),
        ({"type": "page", "userId": True}, {"$.userId": "wrong_type"}),
        ({"type": "page", "userId": 1.5}, {"$.userId": "wrong_type"}),
        ({"type": "page", "userId": {"id": 1}}, {"$.userId": "wrong_type"}),
        ({"type": "page", "userId": "u", "name": 7}, {"$.name": "wrong_type"}),
        ({"type": "page", "userId": "u", "properties": []}, {"$.properties": "wrong_type"}),
        ({"type": "page", "userId": "u", "context": "x"}, {"$.context": "wrong_type"}),
        ({"type": "identify", "userId": "u", "traits": 1}, {"$.traits": "wrong_type"}),
        ({"type": "page", "userId": "u" * (NAME_LENGTH + 1)}, {"$.userId": "too_long"}),
        ({"type": "track", "userId": "u", "event": "e" * (NAME_LENGTH + 1)}, {"$.event": "too_long"}),
        ({"type": "page", "userId": "u", "timestamp": "soon"}, {"$.timestamp": "invalid_timestamp"}),
        ({"type": "page", "userId": "u", "timestamp": {}}, {"$.timestamp": "invalid_timestamp"}),
        ({"type": "page", "userId": "u", "originalTimestamp": "x"}, {"$.originalTimestamp": "invalid_timestamp"}),
        ({"type": "page", "userId": "u", "properties": {"n": 10**400}}, {"$.properties.n": "number_out_of_range"}),
        (
            {"type": "page", "userId": "u", "context": {"a": [{"n": -(10**309)}]}},
            {"$.context.a": "number_out_of_range"},
        ),
        ([], {"$": "not_an_object"}),
        ("call", {"$": "not_an_object"}),
        (
            b'{"type": "page", "userId": "u", "properties": {"a": 1, "n": 1e999}}',
            {"$.properties.n": "number_out_of_range"},
        ),
        (b'{"type": "page", "userId": "u", "properties": {"a": "\xff"}}', {"$": "malformed_encoding"}),
        (b'{"type": "page", "userId": "\xff"}', {"$": "malformed_encoding"}),
        (b'{"type": "page"', {"$": "malformed_json"}),
    ],
)
def test_a_bad_field_is_named(call: object, expected: dict[str, str]) -> None:
    assert reasons(call) == expected


def test_every_bad_field_is_named() -> None:
    call = {"type": "track", "properties": [], "timestamp": "x", "messageId": {}, "context": {"n": 10**400}}
    assert reasons(call) == {
        "$.properties": "wrong_type",
        "$.timestamp": "invalid_timestamp",
        "$.messageId": "wrong_type",
        "$.context.n": "number_out_of_range",
        "$.userId": "missing",
        "$.event": "missing",
    }


def test_a_thousand_bad_fields_are_not_all_named() -> None:
    numbers = b", ".join(b'"n%d": 1e999' % n for n in range(1_000))
    assert len(reasons(b'{"type": "page", "userId": "u", "properties": {' + numbers + b"}}")) == KEPT_REASONS


def nested(levels: int) -> Any:
    return {"deeper": nested(levels - 1)} if levels else 1


@pytest.mark.parametrize("box", [lambda inner: {"p": inner}, lambda inner: {"p": [inner]}])
def test_depth_is_bounded_and_many_brackets_are_not_deep(box: Any) -> None:
    outside = 2 if isinstance(box(0)["p"], int) else 3  # the call, its properties, and the list
    assert taken({"type": "page", "userId": "u", "properties": box(nested(DEPTH - outside))})
    assert reasons({"type": "page", "userId": "u", "properties": box(nested(DEPTH - outside + 1))}) == {"$": "too_deep"}
    assert taken({"type": "page", "userId": "u", "properties": {"products": [{"sku": str(n)} for n in range(100)]}})


def test_long_digits_are_fine_as_text() -> None:
    assert taken({"type": "page", "userId": "u", "properties": {"signature": "7" * 5_000}})


def test_a_call_may_have_32_kilobytes() -> None:
    call = {"type": "page", "userId": "u", "messageId": "m", "properties": {"a": ""}}
    room = EVENT_BYTES - len(json.dumps(call))
    assert taken({**call, "properties": {"a": "x" * room}})
    assert reasons({**call, "properties": {"a": "x" * (room + 1)}}) == {"$": "too_large"}


# --- what is kept of it ----------------------------------------------------------------------------------------------


def test_a_rejection_keeps_the_bytes_as_received() -> None:
    body = b'{"type": "track", "messageId": 7, "event": "\\u0000",   "odd": [1,2]}'
    refused = judged(body)
    assert isinstance(refused, Refused)
    kept = msgspec.json.decode(encode(rejection(refused, ARRIVAL, "r-1")), type=Rejected)
    assert (kept.id, kept.source, kept.time) == ("r-1", "web", NOW)
    assert kept.data.body == body
    assert kept.data.message_id == "7"
    assert [reason.path for reason in kept.data.reasons] == ["$.userId"]


def test_a_rejection_fits_into_a_record_and_says_what_was_cut() -> None:
    huge = json.dumps({"type": "page", "messageId": "m" * 10_000, "properties": {"a": "x" * 4_000_000}}).encode()
    refused = judged(huge)
    assert isinstance(refused, Refused)
    kept = rejection(refused, ARRIVAL, "r-1")
    assert kept.data.body == huge[:KEPT_BYTES]
    assert [reason.code for reason in kept.data.reasons] == ["too_large", "cut"]
    assert len(encode(kept)) < 1_000_000


# --- whatever comes --------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "type", "event", "userId", "anonymousId", "name", "category", "messageId", "previousId", "groupId", "properties",
    "traits", "context", "integrations", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "channel",
)  # fmt: skip
ALMOST = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(CALL_TYPES)), "userId": st.just("u"), "event": st.just("e")},
    optional=dict.fromkeys(FIELDS[3:], JSON),
)


def check(body: bytes) -> None:
    verdict = judge(Raw(body), ARRIVAL, lambda: "made")
    if isinstance(verdict, Refused):
        assert verdict.body == body
        assert verdict.reasons
        assert "unusable" not in {reason.code for reason in verdict.reasons}
        msgspec.json.decode(encode(rejection(verdict, ARRIVAL, "r")), type=Rejected)
    else:
        read = msgspec.json.decode(encode(verdict.touchpoint), type=Touchpoint)
        read.properties()
        assert read.owner.value
        assert read.id


@settings(max_examples=100)
@given(st.binary(max_size=100))
def test_any_bytes_get_a_verdict(body: bytes) -> None:
    check(body)


@settings(max_examples=100)
@given(JSON | st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json_gets_a_verdict(call: Any) -> None:
    check(json.dumps(call).encode())


@settings(max_examples=100)
@given(ALMOST)
def test_almost_a_call_gets_a_verdict(call: Any) -> None:
    check(json.dumps(call).encode())
