"""Fixes: what they make of an event, and what they can't make worse."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.bounds import EVENT_BYTES
from services.ingest.domain.fixes import fixed
from services.ingest.domain.judgement import Accepted
from services.ingest.domain.plan import NO_PLAN
from services.ingest.domain.replays import Attempt, Terms, attempt, digest
from services.ingest.domain.sources import Source
from shared.events import Reason, Refusal
from shared.fixes import Fix, Patch, Replacement, Setting, steps
from shared.rules import compile_expression
from tests.builders import START, Json, after

ORDER: Json = {
    "type": "track",
    "event": "Order Completed",
    "userId": "u-1",
    "messageId": "m-1",
    "properties": {"total": "12.50", "lines": [{"sku": "a"}, {"sku": "b"}], "order.id": "o-1"},
}


def written(body: Any) -> bytes:
    return json.dumps(body).encode()


def patch(*operations: Json) -> Patch:
    return Patch(operations)


def setting(**fields: str) -> Setting:
    return settings_of(fields)


def settings_of(fields: dict[str, str]) -> Setting:
    return Setting({name: compile_expression(text) for name, text in fields.items()})


def mended(fix: Fix | None, body: Any = ORDER) -> Any:
    """What `fix` makes of `body`, or its reasons."""
    made = fixed(body if isinstance(body, bytes) else written(body), fix)
    return json.loads(made) if isinstance(made, bytes) else made


def codes(reasons: Any) -> list[tuple[str, str]]:
    assert isinstance(reasons, tuple), reasons
    return [(each.path, each.code) for each in reasons]


# --- patches ---------------------------------------------------------------------------------------------------------


def test_without_a_fix_the_very_bytes_are_judged() -> None:
    assert fixed(b' {"a" : 1e400} ', None) == b' {"a" : 1e400} '


def test_a_patch_changes_what_it_names_and_nothing_else() -> None:
    fix = patch(
        {"op": "test", "path": "/type", "value": "track"},
        {"op": "replace", "path": "/properties/total", "value": 12.5},
        {"op": "remove", "path": "/properties/lines/0"},
        {"op": "move", "from": "/properties/order.id", "path": "/properties/order_id"},
    )
    properties = {"total": 12.5, "lines": [{"sku": "b"}], "order_id": "o-1"}
    assert mended(fix) == {**ORDER, "properties": properties}


def test_one_event_does_not_show_in_the_next() -> None:
    fix = patch(
        {"op": "add", "path": "/properties/tags", "value": []}, {"op": "add", "path": "/properties/tags/-", "value": 1}
    )
    assert [mended(fix)["properties"]["tags"] for _ in range(3)] == [[1]] * 3


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        (
            {"op": "test", "path": "/type", "value": "page"},
            "operation 0 of the patch: /type is not what the test expects",
        ),
        ({"op": "remove", "path": "/properties/nothing"}, "operation 0"),
        ({"op": "add", "path": "/properties/lines/9", "value": 1}, "operation 0"),
        ({"op": "add", "path": "/type/0", "value": 1}, "operation 0"),
        ({"op": "replace", "path": "/properties/lines/x", "value": 1}, "operation 0"),
        ({"op": "move", "from": "/properties", "path": "/properties/inside"}, "operation 0"),
        ({"op": "copy", "from": "/nothing", "path": "/a"}, "operation 0"),
        ({"op": "add", "path": "/bad~escape", "value": 1}, "operation 0"),
    ],
)
def test_a_patch_that_does_not_fit_says_which_operation(operation: Json, says: str) -> None:
    [reason] = mended(patch(operation))
    assert reason.code == "patch_failed"
    assert says in reason.message


def test_a_hundred_copies_of_everything_do_not_fill_the_memory() -> None:
    fix = patch(*({"op": "copy", "from": "", "path": f"/copy{number}"} for number in range(100)))
    [reason] = mended(fix)
    assert f"more than {EVENT_BYTES} bytes" in reason.message


# --- expressions -----------------------------------------------------------------------------------------------------


def test_fields_are_calculated_from_the_event() -> None:
    fix = settings_of(
        {
            "properties.total": "double(event.properties.total)",
            "$.properties.currency": "'EUR'",
            "/properties/order.id": "event.messageId",
            "properties.lines.1.sku": "event.properties.lines[0].sku",
            "context.app.name": "event.type + '!'",
        }
    )
    assert mended(fix) == {
        **ORDER,
        "properties": {
            "total": 12.5,
            "currency": "EUR",
            "order.id": "m-1",
            "lines": [{"sku": "a"}, {"sku": "a"}],
        },
        "context": {"app": {"name": "track!"}},
    }


def test_all_expressions_read_the_event_as_it_was_received() -> None:
    assert mended(setting(userId="event.messageId", messageId="event.userId"))["messageId"] == "u-1"


def test_null_on_the_way_counts_as_nothing() -> None:
    assert mended(settings_of({"context.ip": "'x'"}), {**ORDER, "context": None})["context"] == {"ip": "x"}


def test_every_expression_that_can_not_be_calculated_is_told_by_its_field() -> None:
    made = mended(settings_of({"properties.total": "double(event.properties.sum)", "userId": "event.type + 1"}))
    assert codes(made) == [("$.properties.total", "expression_failed"), ("$.userId", "expression_failed")]
    assert made[0].message == 'Key not found in map : "sum"'


@pytest.mark.parametrize(
    "field", ["type.name", "properties.lines.2.sku", "properties.lines.first", "properties.lines.-1"]
)
def test_a_place_that_is_not_there_is_told(field: str) -> None:
    assert codes(mended(settings_of({field: "1"}))) == [(f"$.{field}", "no_such_place")]


@pytest.mark.parametrize("field", ["", ".", "a..b", "/", "/a//b", "$.", "/~2"])
def test_a_field_must_be_named(field: str) -> None:
    with pytest.raises(ValueError):
        steps(field)


def test_what_comes_out_without_bounds_is_refused() -> None:
    many = {**ORDER, "properties": {"many": list(range(90))}}
    fix = setting(properties="{'a': event.properties.many.map(x, event.properties.many.map(y, event))}")
    assert codes(mended(fix, many)) == [("$.properties", "expression_failed")]


# --- what can't be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fix", [patch({"op": "add", "path": "/a", "value": 1}), setting(a="1")])
@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"a": NaN}', b"1" * 5_000])
def test_what_is_no_json_can_only_be_written_anew(body: bytes, fix: Fix) -> None:
    [reason] = mended(fix, body)
    assert reason.code == "unreadable"
    assert "fix.body" in reason.message
    assert mended(Replacement(b'{"a": 1}'), body) == {"a": 1}


@pytest.mark.parametrize("fix", [patch({"op": "add", "path": "/a", "value": 1}), setting(a="1")])
def test_what_is_nested_without_end_is_told_so(fix: Fix) -> None:
    for depth in (2_000, 200_000):
        [reason] = mended(fix, b'{"a":' * depth + b"1" + b"}" * depth)
        assert reason.code == "too_deep"


def test_a_list_has_no_fields() -> None:
    assert codes(mended(setting(a="1"), [1])) == [("$", "not_an_object")]


def test_a_number_that_no_double_holds_can_be_mended_and_stays_a_fault_otherwise() -> None:
    body = b'{"properties": {"total": 1e999, "count": 1}}'
    assert mended(settings_of({"properties.total": "1.0"}), body) == {"properties": {"total": 1.0, "count": 1}}
    assert codes(mended(settings_of({"properties.count": "2"}), body)) == [("$", "number_out_of_range")]


def test_what_postgresql_can_not_write_is_cleaned_on_the_way() -> None:
    assert mended(setting(a="1"), b'{"b": "x\\u0000\\ud800y"}') == {"b": "x\ufffd\ufffdy", "a": 1}


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
WHOLE = st.integers(-(2**63), 2**63 - 1)  # a larger one would come back from an expression as a decimal
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
POINTER = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~0", "~1", ""]), max_size=3).map(
    lambda names: "".join(f"/{name}" for name in names)
)
OPERATION = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": POINTER, "value": JSON}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": POINTER, "from": POINTER}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": POINTER}),
)
DOCUMENT = st.dictionaries(st.sampled_from("ab01"), JSON, max_size=3) | JSON


@settings(max_examples=60, deadline=None)
@given(DOCUMENT, st.lists(OPERATION, min_size=1, max_size=5))
def test_no_patch_whatever_raises_and_each_gives_json_or_reasons(document: Any, operations: list[Json]) -> None:
    first, second = (mended(patch(*operations), document) for _ in range(2))
    assert first == second


@settings(max_examples=60, deadline=None)
@given(DOCUMENT, st.sampled_from(["a", "a.b", "a.0", "b.b.b", "/0/1", "1"]), JSON)
def test_a_field_that_was_set_is_there(document: Any, field: str, value: Any) -> None:
    made = mended(
        settings_of({field: "event.it"}), {**document, "it": value} if isinstance(document, dict) else document
    )
    if isinstance(made, tuple):
        assert all(isinstance(each, Reason) for each in made)
        return
    inner: Any = made
    for name in steps(field):
        inner = inner[int(name)] if isinstance(inner, list) else inner[name]
    assert inner == value


# --- judged anew -----------------------------------------------------------------------------------------------------

TOTAL = settings_of({"properties.total": "double(event.properties.total)"})


def refusal(body: Any = ORDER, **rest: Any) -> Refusal:
    sent = body if isinstance(body, bytes) else written(body)
    told = {"message_id": body.get("messageId") if isinstance(body, dict) else None, "received_at": START, **rest}
    return Refusal(reasons=(Reason("$", "wrong", "it was wrong"),), body=sent, **told)


def judged(refusal: Refusal, fix: Fix | None = None, *, days: float = 1) -> Attempt:
    now = after(days=days)
    source = Source(name="web", usual="store")
    return attempt("r-1", refusal, Terms(fix, source, NO_PLAN, now, remembered=now - timedelta(days=30)))


def accepted(attempt: Attempt) -> Accepted:
    assert isinstance(attempt.verdict, Accepted), attempt.verdict
    return attempt.verdict


def test_a_touchpoint_has_what_its_request_said() -> None:
    sent = refusal(
        {"event": "Order Completed", "userId": "u-1", "timestamp": "2026-03-01T08:00:00Z"},
        call="track",
        sent_at=after(minutes=-60),
        context={"ip": "1.2.3.4"},
        integrations={"All": True},
    )
    touchpoint = accepted(judged(sent)).touchpoint
    assert (touchpoint.source, touchpoint.data.type, touchpoint.data.channel) == ("web", "track", "store")
    assert touchpoint.at == after(minutes=-60)  # its client's clock was an hour late when it sent this
    assert json.loads(bytes(touchpoint.data.context)) == {"ip": "1.2.3.4", "integrations": {"All": True}}


def test_it_keeps_its_clients_message_id_or_has_that_of_the_rejected_event() -> None:
    assert accepted(judged(refusal(), TOTAL)).touchpoint.id == "m-1"
    nameless = {name: value for name, value in ORDER.items() if name != "messageId"}
    assert accepted(judged(refusal(nameless))).touchpoint.id == "r-1"
    assert accepted(judged(refusal(), patch({"op": "remove", "path": "/messageId"}))).touchpoint.id == "m-1"


@pytest.mark.parametrize("message_id", ["m-1", None])
def test_a_fix_may_not_give_it_another_id(message_id: str | None) -> None:
    sent = refusal({**ORDER, "messageId": message_id})
    assert codes(judged(sent, setting(messageId="'all the same'")).verdict) == [("$.messageId", "other_message_id")]


def test_a_message_id_that_was_none_is_removed() -> None:
    sent = refusal({**ORDER, "messageId": {"a": 1}}, message_id=None)
    assert codes(judged(sent).verdict) == [("$.messageId", "wrong_type")]
    assert accepted(judged(sent, patch({"op": "remove", "path": "/messageId"}))).touchpoint.id == "r-1"


def test_a_message_id_that_was_cut_is_not_taken_for_one() -> None:
    sent = refusal({**ORDER, "messageId": "x" * 600}, message_id="x" * 512)
    assert accepted(judged(sent, patch({"op": "remove", "path": "/messageId"}))).touchpoint.id == "r-1"


def test_a_call_written_anew_brings_its_own_id() -> None:
    assert accepted(judged(refusal(b"{"), Replacement(written(ORDER)))).touchpoint.id == "m-1"
    other = Replacement(written({**ORDER, "messageId": "m-2"}))
    assert codes(judged(refusal(), other).verdict) == [("$.messageId", "other_message_id")]


EVENT = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "Viewed", "userid": "u-1"}


def test_a_cloudevent_is_mended_as_one_and_keeps_its_id_where_it_has_one() -> None:
    late = refusal({**EVENT, "time": "yesterday"}, form="cloudevent", message_id="/shop#e-1")
    assert codes(judged(late).verdict) == [("$.time", "invalid_timestamp")]
    timeless = patch({"op": "remove", "path": "/time"})
    assert accepted(judged(late, timeless)).touchpoint.id == "/shop#e-1"
    renamed = patch({"op": "remove", "path": "/time"}, {"op": "replace", "path": "/id", "value": "e-2"})
    assert codes(judged(late, renamed).verdict) == [("$.messageId", "other_message_id")]

    nameless = refusal({**EVENT, "id": None}, form="cloudevent", message_id=None)
    assert accepted(judged(nameless, setting(id="'all the same'"))).touchpoint.id == "r-1"


@pytest.mark.parametrize(("days", "kept"), [(0, True), (30, True), (30.01, False), (400, False)])
def test_what_consumers_no_longer_remember_is_received_now_and_happened_then(days: float, kept: bool) -> None:
    touchpoint = accepted(judged(refusal(sent_at=START), TOTAL, days=days)).touchpoint
    assert touchpoint.data.received_at == (START if kept else after(days=days))
    assert touchpoint.at == START


def test_a_fix_that_does_not_help_says_what_is_still_wrong() -> None:
    tried = judged(refusal({**ORDER, "userId": None}), TOTAL)
    assert codes(tried.verdict) == [("$.userId", "missing")]
    assert json.loads(tried.body or b"")["properties"]["total"] == 12.5
    assert judged(refusal(b"{"), TOTAL).body is None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | JSON.map(written), st.sampled_from([None, TOTAL, setting(userId="'u'", event="'e'")]))
def test_whatever_was_rejected_is_judged_the_same_each_time(body: bytes, fix: Fix | None) -> None:
    sent = refusal(body, call="track", message_id=None)
    assert judged(sent, fix) == judged(sent, fix)


def test_the_same_call_sent_again_is_known_where_it_says_its_id() -> None:
    first, again = refusal(), refusal(received_at=after(days=1), sent_at=after(minutes=3))
    assert digest("web", first) == digest("web", again) is not None
    others = [
        digest("server", first),
        digest("web", refusal({**ORDER, "userId": "u-2"})),
        digest("web", refusal(call="track")),
        digest("web", refusal(context={"ip": "x"})),
    ]
    assert len({digest("web", first), *others}) == 5
    assert digest("web", refusal(message_id=None)) is None
