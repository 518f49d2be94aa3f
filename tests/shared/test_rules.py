"""Rules as the person who writes them, and the one whose data they read, would notice them."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.rule_values import LARGEST
from shared.rules import (
    DECISION_VARIABLES,
    PROFILE_VARIABLES,
    RuleRefused,
    Unknown,
    compile_expression,
    compile_rule,
    first_holding,
    holding,
    ladder,
    results,
)

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)

FACTS: dict[str, Any] = {
    "traits": {
        "plan": "pro",
        "age": 31,
        "weight": 70.5,
        "vip": True,
        "nickname": None,
        "born": "1995-03-01",
        "renews_at": "2026-02-20T00:00:00.000Z",
        "tags": ["a", "b"],
        "address": {"city": "İzmir"},
        "account": 2**70,
        "enormous": 10**400,
        "seen": datetime(2026, 1, 31, 12, tzinfo=UTC),
    },
    "computed": {"order_count": 3, "order_value": 120.0, "last_order_at": "2026-01-01T10:00:00.000Z"},
    "scores": {"ltv": None, "engagement": 61.2},
    "stage": "maintain",
    "segments": ["big-spenders"],
    "consent": {"marketing": {"email": {"granted": True}}},
    "channels": {"web": 40, "store": 2},
    "now": NOW,
    "context": {"basket": 30},
    "channel": "web",
    "placement": "home_hero",
}


def answer(rule: str, facts: dict[str, Any] = FACTS) -> bool | None:
    return holding({"it": compile_rule(rule, variables=DECISION_VARIABLES)}, facts)["it"]


@pytest.mark.parametrize(
    "rule",
    [
        "computed.order_count >= 1",
        "computed.order_count >= 1.0",
        "computed.order_value > 100",
        "computed.order_value > 100.0",
        "computed.order_value == 120",
        "traits.age in [31, 32]",
        "traits.age in [31.0]",
        "traits.weight > traits.age",
        "traits.account > traits.age",
        "traits.enormous > traits.account",
        "computed.order_value / computed.order_count == 40.0",
        "computed.order_count * traits.weight - 1 > 200",
        "traits.age + 0.5 > 31.4",
    ],
)
def test_numbers_compare_and_calculate_whatever_their_kind(rule: str) -> None:
    assert answer(rule) is True


@pytest.mark.parametrize(
    "rule",
    [
        'now - duration("720h") > computed.last_order_at',
        'computed.last_order_at < now - duration("720h")',
        'now - computed.last_order_at >= duration("720h")',
        'traits.renews_at - now < duration("480h")',
        'computed.last_order_at + duration("240h") <= now',
        'traits.renews_at - duration("480h") < now',
        "traits.seen < now",
        "traits.born < now",
        'computed.last_order_at == "2026-01-01T10:00:00.000Z"',
        'timestamp(computed.last_order_at) < timestamp("2026-01-02T00:00:00Z")',
        "timestamp(computed.last_order_at).getFullYear() == 2026",
        'now.getHours("Europe/Istanbul") == 15',
    ],
)
def test_moments_compare_whether_they_are_text_or_not(rule: str) -> None:
    assert answer(rule) is True


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('traits.plan == "pro"', True),
        ('traits["plan"] != "pro"', False),
        ('traits.address.city.startsWith("İz")', True),
        ("traits.vip", True),
        ('stage == "maintain" && "big-spenders" in segments', True),
        ('segments.exists(one, one.startsWith("big"))', True),
        ("consent.marketing.email.granted", True),
        ("channels.web >= 40 && size(channels) == 2", True),
        ('channel == "web" && placement == "home_hero" && context.basket < 50', True),
        ('has(traits.phone) || !has(traits.plan) || traits.tags.all(tag, tag != "c")', True),
        ("traits.tags.map(tag, size(tag)) == [1, 1]", True),
        ("traits.tags.exists(tag, double(size(tag)) + double(traits.age) == 32.0)", True),
        ("scores.ltv == null", True),
    ],
)
def test_what_a_rule_can_say(rule: str, expected: bool) -> None:
    assert answer(rule) is expected


@pytest.mark.parametrize(
    "rule",
    [
        "traits.missing == 1",
        "!(traits.missing == 1)",
        "traits.missing.deeper == 1",
        "traits.plan > 3",
        "traits.plan < now",
        "traits.nickname < now",
        "scores.ltv > 10.0",
        "traits.plan",  # known only now to be no boolean
        "traits.age / 0 == 1",
        'traits.plan.matches("[")',
        "traits.tags[7] == 'a'",
        "computed.order_count + 9223372036854775807 > 0",
    ],
)
def test_what_is_not_known_is_unknown_and_no_exception(rule: str) -> None:
    assert answer(rule) is None


@pytest.mark.parametrize(
    "rule", ["traits.missing == 1 || stage == 'maintain'", "stage == 'maintain' || traits.missing"]
)
def test_what_is_not_known_does_not_matter_where_the_rest_decides(rule: str) -> None:
    assert answer(rule) is True


def test_a_missing_variable_is_unknown() -> None:
    assert answer('stage == "maintain"', {"now": NOW}) is None
    assert answer("traits.a == 1", {"traits": None, "now": NOW}) is None


def test_one_odd_value_does_not_spoil_its_neighbours() -> None:
    traits = {"odd": object(), "pair": (1, 2), "plan": "pro"}
    assert answer('traits.plan == "pro" && traits.pair == [1, 2]', {"traits": traits}) is True


@pytest.mark.parametrize(
    ("rule", "line", "column", "says"),
    [
        ("traits.plan ==", 1, 15, "expecting"),
        ("", 1, 1, "expecting"),
        ('stage == "a" &&\n  segmentz == 2', 2, 3, "undeclared reference to 'segmentz'"),
        ("stage == 1", 1, 7, "no matching overload"),
        ("traits.plan = 'x'", 1, 13, "token recognition"),
        ("1 + 1", 1, 1, "true or false, this one comes out as int"),
        ("stage", 1, 1, "comes out as string"),
        ("double(traits.age) > 31", 1, 20, "write both as decimals"),
        ("(" * 40 + "true" + ")" * 40, 1, 1, "too deeply"),
        (" + ".join("1" * 60) + " == 60", 1, 1, "too deeply"),
        ("true" + " " * 4096, 1, 4096, "4096 characters"),
    ],
)
def test_a_mistake_is_told_with_its_place(rule: str, line: int, column: int, says: str) -> None:
    with pytest.raises(RuleRefused) as refused:
        compile_rule(rule, variables=PROFILE_VARIABLES, path="eligibility")

    first = refused.value.details[0]
    assert (first["path"], first["line"], first["column"]) == ("eligibility", line, column)
    assert says in first["message"]
    assert refused.value.status == 422
    assert f"eligibility is no rule: line {line}, column {column}" in refused.value.message


def test_every_mistake_is_told() -> None:
    with pytest.raises(RuleRefused) as refused:
        compile_rule("foo == 1 &&\nbar == 2", variables=PROFILE_VARIABLES)
    assert [(each["line"], each["column"]) for each in refused.value.details] == [(1, 1), (2, 1)]


def test_a_segment_does_not_see_the_request() -> None:
    with pytest.raises(RuleRefused, match="context"):
        compile_rule("context.basket > 1", variables=PROFILE_VARIABLES)


@pytest.mark.parametrize(
    ("rule", "reads"),
    [
        ('traits.plan == "pro" && computed.order_count > 1', {"traits.plan", "computed.order_count"}),
        ("size(traits) > 3 && traits.plan == 'pro'", {"traits", "traits.plan"}),
        ('traits["plan"] == "pro"', {"traits"}),
        ("has(traits.address.city)", {"traits.address.city"}),
        ('now - duration("1h") > computed.last_order_at', {"now", "computed.last_order_at"}),
        ('traits.tags.exists(stage, stage == "a" && segments == [stage])', {"traits.tags", "segments", "stage"}),
        ('{"a": traits.plan}["a"] == {scores.tier: 1}["x"]', {"traits.plan", "scores.tier"}),
        ('"traits.secret" == stage', {"stage"}),
        ("true", set()),
    ],
)
def test_a_rule_says_what_it_reads(rule: str, reads: set[str]) -> None:
    assert compile_rule(rule, variables=PROFILE_VARIABLES).reads == reads


def _nested(loops: int) -> str:
    rule = "true"
    for depth in range(loops, 0, -1):
        rule = f"[{' + '.join([f'v{depth - 1}'] * 8)}].exists(v{depth}, {rule})"
    return rule.replace("v0", "traits.plan")


@pytest.mark.parametrize(
    "rule",
    [
        _nested(1),
        _nested(5),
        "traits.tags.exists(a, a + a == 'aa')",
        "traits.tags.map(a, a + a).exists(b, b == 'aa')",
        "traits.tags.exists(a, size(bytes(a)) == 1)",
        "traits.tags.exists(a, traits.tags + traits.tags == [])",
    ],
)
def test_a_rule_that_could_fill_the_memory_is_refused(rule: str) -> None:
    with pytest.raises(RuleRefused, match="only numbers may be added"):
        compile_rule(rule, variables=PROFILE_VARIABLES)


def test_a_rule_that_would_not_end_is_unknown() -> None:
    facts = {"traits": {"many": list(range(1000))}}
    assert answer("traits.many.all(a, traits.many.all(b, traits.many.all(c, true)))", facts) is None


def test_evaluating_again_and_again_takes_no_more_memory() -> None:
    rules = {
        str(n): compile_rule(f"traits.age > {n} || traits.missing", variables=PROFILE_VARIABLES) for n in range(20)
    }

    def evaluate() -> int:
        for _ in range(1_000):
            holding(rules, FACTS)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    warm = evaluate()
    assert evaluate() - warm < 2_048  # KiB: 100 bytes leaked by each evaluation would show


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(DECISION_VARIABLES, JSON)))
def test_no_facts_whatever_raise(facts: dict[str, Any]) -> None:
    rules = {
        text: compile_rule(text, variables=DECISION_VARIABLES)
        for text in (
            "traits.a > 1",
            "stage == 'x' && 'a' in segments",
            "now > computed.b",
            "context.c + channels.d > 1",
        )
    }
    assert all(each in (True, False, None) for each in holding(rules, facts).values())


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="traits.plan now()[]{}&|!<>=+-*/'\"1,é\n", max_size=40))
def test_any_text_is_a_rule_or_is_refused(text: str) -> None:
    with suppress(RuleRefused):
        assert answer(text) in (True, False, None)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["traits.a == 1", "traits.b.c == 2 || traits.a == 1", "has(traits.b) && traits.b.c == 2"]),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from([1, 2, {"c": 2}, {"c": 3}])),
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3)),
)
def test_what_a_rule_does_not_read_does_not_change_it(text: str, traits: dict[str, Any], more: dict[str, Any]) -> None:
    rule = compile_rule(text, variables=PROFILE_VARIABLES)
    read = {name: value for name, value in traits.items() if any(r.startswith(f"traits.{name}") for r in rule.reads)}
    assert answer(text, {"traits": {**traits, **more}}) is answer(text, {"traits": read})


# --- expressions -----------------------------------------------------------------------------------------------------

EVENT: dict[str, Any] = {
    "userId": "u-1",
    "at": "2026-03-01T10:00:00+02:00",
    "properties": {"total": "12.50", "count": 3, "tags": ["a", "b"], "nothing": None, "account": 2**70},
}


def result(text: str, event: dict[str, Any] = EVENT) -> Any:
    return results({"it": compile_expression(text)}, event)["it"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("event", EVENT | {"properties": EVENT["properties"] | {"account": float(2**70)}}),
        ("event.userId", "u-1"),
        ("double(event.properties.total)", 12.5),
        ("event.properties.count * 2.5", 7.5),
        ("event.properties.count + 1", 4),
        ("event.properties.nothing", None),
        ("has(event.properties.sum) ? event.properties.sum : 0", 0),
        ("event.properties.tags.map(tag, {'name': tag})", [{"name": "a"}, {"name": "b"}]),
        ("event.properties.tags.filter(tag, tag != 'a')", ["b"]),
        ("event.properties.count > 2", True),
        ("timestamp(event.at)", "2026-03-01T08:00:00.000Z"),
        ('event.at + duration("90m")', "2026-03-01T09:30:00.000Z"),
        ('[duration("90m"), duration("1.5s"), duration("-1h")]', ["5400s", "1.5s", "-3600s"]),
        ("bytes(event.userId)", "dS0x"),
        ("{1: 'a', true: 'b'}[1]", "a"),
        ("{7: 'a'}", {"7": "a"}),
        ("{true: 'b'}", {"true": "b"}),
        ("3u", 3),
    ],
)
def test_an_expression_comes_out_as_json(text: str, value: Any) -> None:
    assert result(text) == value
    assert type(result(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("double(event.properties.sum)", 'Key not found in map : "sum"'),
        ("event.userId + 1", "No matching overloads found : _+_(string, int64)"),
        ("double(event.userId)", "cannot convert string to double"),
        ("[1, {'a': event.missing}]", 'Key not found in map : "missing"'),
        ("1 / 0", "divide by zero"),
        ("1.0 / 0.0", "it comes out as inf, which JSON has no word for"),
        ("[0.0 / 0.0]", "it comes out as nan, which JSON has no word for"),
        ("type(event)", "it comes out as a type, not as a value"),
    ],
)
def test_what_can_not_be_calculated_is_unknown_and_says_why(text: str, why: str) -> None:
    assert result(text) == Unknown(why)


def test_one_that_can_not_be_calculated_does_not_spoil_the_others() -> None:
    both = {"a": compile_expression("event.missing"), "b": compile_expression("event.userId")}
    assert results(both, EVENT) == {"a": Unknown('Key not found in map : "missing"'), "b": "u-1"}


def test_an_expression_comes_out_within_bounds() -> None:
    event = {"many": list(range(90)), "long": "x" * LARGEST}
    for text in ("event.many.map(a, event.many.map(b, event))", "event.long", "{event.long: 1}", "[event.many] + [1]"):
        unknown = result(text, event)
        assert unknown == (
            [event["many"], 1] if "+" in text else Unknown(f"it comes out larger than {LARGEST} characters")
        )
    assert isinstance(result("event.many.all(a, event.many.all(b, event.many.all(c, true)))", event), Unknown)


def test_an_expression_is_refused_with_its_place_like_a_rule() -> None:
    with pytest.raises(RuleRefused) as refused:
        compile_expression("event.total +\n stage", path="fix.set.total")
    first = refused.value.details[0]
    assert (first["path"], first["line"], first["column"]) == ("fix.set.total", 2, 2)
    assert "undeclared reference to 'stage'" in first["message"]
    for text in ("event." + "a" * 4096, "event.tags.map(a, a + a)"):
        with pytest.raises(RuleRefused):
            compile_expression(text)


def test_a_rule_does_not_see_an_event() -> None:
    with pytest.raises(RuleRefused, match="event"):
        compile_rule("event.total > 1", variables=DECISION_VARIABLES)


WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)  # see `results`
WRITABLE = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("ab"), WRITABLE))
def test_an_event_comes_back_as_it_was(event: dict[str, Any]) -> None:
    assert result("event", event) == event


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from("ab"), JSON),
    st.sampled_from(["event.a", "[event]", "event.a + event.b", "double(event.a)"]),
)
def test_no_event_whatever_raises(event: dict[str, Any], text: str) -> None:
    result(text, event)


def first(texts: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return first_holding(ladder(texts, variables=PROFILE_VARIABLES, path="steps"), facts)


@given(
    texts=st.lists(
        st.sampled_from(["true", "false", "traits.a > 1", "traits.b", "scores.x > 1.0 || traits.a > 1"]), max_size=9
    ),
    facts=st.fixed_dictionaries({"traits": st.dictionaries(st.sampled_from("ab"), st.sampled_from([0, 2, True, "x"]))}),
)
def test_of_rules_in_order_the_first_that_holds_counts_and_an_unknown_one_does_not(
    texts: list[str], facts: dict[str, Any]
) -> None:
    named = {f"rule {number}": text for number, text in enumerate(texts)}
    whole = {**facts, "scores": {}}
    rules = {name: compile_rule(text, variables=PROFILE_VARIABLES) for name, text in named.items()}
    held = [name for name, holds in holding(rules, whole).items() if holds]
    assert first(named, whole) == (held[0] if held else None)
