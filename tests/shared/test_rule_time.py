"""Rules in time: nobody changes unseen between two looks, and what can't be foreseen is refused with a way out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.clock import milliseconds, rfc3339
from shared.rules import (
    DECISION_VARIABLES,
    PROFILE_VARIABLES,
    Rule,
    RuleRefused,
    compile_rule,
    holding,
    next_change,
    require_foreseeable,
)

NOW = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
"""Two hours and a half before clocks are put forward in Europe, which is early on Sunday."""

TICK = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)


def rule(text: str) -> Rule:
    return compile_rule(text, variables=PROFILE_VARIABLES)


def holds(one: Rule, facts: dict[str, Any], at: datetime) -> bool | None:
    return holding({"it": one}, {**facts, "now": at})["it"]


def due(text: str, at: datetime = NOW, **traits: Any) -> datetime | None:
    return next_change([rule(text)], {"traits": traits, "now": at})


# --- when to look again ----------------------------------------------------------------------------------------------

MOMENTS = ("traits.a", "traits.b", "timestamp(traits.c)", '"2026-03-29T00:00:00Z"')
SPANS = tuple(f'duration("{span}")' for span in ("0s", "1h", "90m", "1.5s", "0.001s"))
ZONES = ("", '"Europe/Istanbul"', '"Europe/Berlin"', '"America/St_Johns"', '"+05:30"')
DATE_PARTS = ("getFullYear", "getMonth", "getDate", "getDayOfWeek", "getHours")

sides_of_time = st.sampled_from(
    (
        "now",
        *(f"(now - {span})" for span in SPANS),
        *(f"({span} + now)" for span in SPANS),
        *MOMENTS,
        *(f"({moment} + {span})" for moment in MOMENTS for span in SPANS[:3]),
    )
)
sides_of_length = st.sampled_from(
    (
        *SPANS,
        *(f"(now - {moment})" for moment in MOMENTS),
        *(f"({moment} - now)" for moment in MOMENTS),
        *(f"({moment} - now + {SPANS[1]})" for moment in MOMENTS[:2]),
    )
)
orders = st.sampled_from(("<", "<=", ">", ">="))


@st.composite
def terms(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 4)) == 0:
        day = draw(st.sampled_from(("now", "(now + duration('50m'))")))
        part = f"{day}.{draw(st.sampled_from(DATE_PARTS))}({draw(st.sampled_from(ZONES))})"
        return f"{part} {draw(orders)} {draw(st.integers(0, 7) | st.sampled_from((23, 28, 29, 2026)))}"
    sides = draw(st.sampled_from((sides_of_time, sides_of_length)))
    return f"{draw(sides)} {draw(orders)} {draw(sides)}"


texts = st.recursive(
    terms(),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} && {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} || {two[1]})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda all: f"({all[0]} ? {all[1]} : {all[2]})"),
    ),
    max_leaves=4,
)
offsets = st.one_of(
    st.sampled_from([timedelta(milliseconds=milli) for milli in (-1, 0, 1, 2)]),
    st.timedeltas(-3 * HOUR, 3 * HOUR).map(lambda each: timedelta(milliseconds=each // TICK)),
)
moments = offsets.map(lambda each: rfc3339(NOW + each))
traits = st.fixed_dictionaries(
    {"a": moments | st.sampled_from(("2026-03-28", "never")), "b": moments}, optional={"c": moments}
)


def grid(facts: dict[str, Any], until: datetime) -> list[datetime]:
    """Moments between now and `until`, close together where anything is near, and every quarter of an hour."""
    near = [NOW + n * timedelta(minutes=15) for n in range(30)]
    for text in facts["traits"].values():
        if text.endswith("Z"):
            near += [datetime.fromisoformat(text) + n * HOUR for n in (-1, 0, 1)]
    fine = {
        each + n * TICK + m * timedelta(milliseconds=500)
        for each in near
        for n in (-2, -1, 0, 1, 2)
        for m in (-3, 0, 3)
    }
    return sorted(each for each in fine if NOW < each < until)


@settings(max_examples=100, deadline=None)
@given(texts, traits)
@example("traits.a < now", {"a": rfc3339(NOW), "b": rfc3339(NOW)})
@example("now.getHours('Europe/Berlin') == 2", {"a": rfc3339(NOW), "b": rfc3339(NOW)})
def test_nothing_changes_before_it_is_due(text: str, traits: dict[str, Any]) -> None:
    one, facts = rule(text), {"traits": traits}
    require_foreseeable(one)
    look = next_change([one], {**facts, "now": NOW})
    assert look is None or (look > NOW and look == milliseconds(look))
    before = holds(one, facts, NOW)
    for at in grid(facts, look or NOW + 8 * HOUR):
        assert holds(one, facts, at) == before, f"changed at {at}, due {look}"


@settings(max_examples=50, deadline=None)
@given(terms(), traits)
def test_looking_whenever_it_is_due_comes_to_an_end(term: str, traits: dict[str, Any]) -> None:
    """A sweeper that looks again and again at the same change would never do anything else."""
    one, at, looks = rule(term), NOW, 0
    while (look := next_change([one], {"traits": traits, "now": at})) and look < NOW + 8 * HOUR:
        assert look > at
        at, looks = look, looks + 1
    assert looks < 60


@pytest.mark.parametrize(
    ("text", "traits", "expected"),
    [
        ('traits.seen < now - duration("720h")', {"seen": rfc3339(NOW)}, NOW + 720 * HOUR),
        ('traits.seen + duration("720h") < now', {"seen": rfc3339(NOW)}, NOW + 720 * HOUR),
        ('now - timestamp(traits.seen) > duration("24h")', {"seen": rfc3339(NOW - HOUR)}, NOW + 23 * HOUR),
        ('traits.renews - now < duration("24h")', {"renews": rfc3339(NOW + 25 * HOUR)}, NOW + HOUR),
        ('traits.seen < now - duration("1h")', {"seen": rfc3339(NOW - 2 * HOUR)}, None),
        ('traits.seen < now - duration("1h")', {}, None),
        ('traits.seen < now - duration("1h")', {"seen": "soon"}, None),
        ('traits.seen < now - duration("1h")', {"seen": 7}, None),
        ('traits.seen + duration("9000000h") > now', {"seen": "9000-01-01"}, None),
        ('traits.plan == "pro"', {"plan": "pro"}, None),
        ("now - traits.seen < now - traits.seen", {"seen": rfc3339(NOW)}, None),
        ("now.getDayOfWeek() == 1", {}, datetime(2026, 3, 29, tzinfo=UTC)),
        ('now.getDate("Europe/Istanbul") == 1', {}, datetime(2026, 3, 29, 21, tzinfo=UTC)),
        ("traits.born < now.getFullYear() - 18", {"born": 1990}, datetime(2026, 3, 29, tzinfo=UTC)),
        ("now.getHours() >= 9", {}, datetime(2026, 3, 28, 23, tzinfo=UTC)),
        ('now.getHours("+05:45") >= 9', {}, datetime(2026, 3, 28, 23, 15, tzinfo=UTC)),
        ("traits.days.exists(day, day == now.getDayOfWeek())", {"days": [1]}, datetime(2026, 3, 29, tzinfo=UTC)),
        ("(has(traits.to) ? traits.to : traits.seen) < now", {"seen": rfc3339(NOW + HOUR)}, NOW + HOUR),
    ],
)
def test_when_a_rule_is_to_be_asked_again(text: str, traits: dict[str, Any], expected: datetime | None) -> None:
    require_foreseeable(rule(text))
    assert due(text, **traits) == expected


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Pacific/Chatham", datetime(2026, 4, 4, 10, tzinfo=UTC)),
        ("Pacific/Chatham", datetime(2026, 9, 26, 10, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 10, tzinfo=UTC)),
        ("Africa/Cairo", datetime(2026, 10, 29, 16, tzinfo=UTC)),
        ("America/Santiago", datetime(2026, 9, 5, 23, tzinfo=UTC)),
        ("America/Havana", datetime(2026, 11, 1, 0, tzinfo=UTC)),
    ],
)
def test_a_part_of_the_date_is_asked_wherever_and_whenever_clocks_change(zone: str, day: datetime) -> None:
    for text in (f"now.getHours('{zone}') % 2 == 0", f"now.getDate('{zone}') % 2 == 0"):
        one, look = rule(text), day
        before = holds(one, {}, day)
        for at in (day + number * timedelta(minutes=5) for number in range(12 * 12)):
            if at >= look:
                before, look = holds(one, {}, at), next_change([one], {"now": at}) or at
            assert holds(one, {}, at) == before, f"{text} changed at {at}, due {look}"


def test_the_first_of_all_rules_counts() -> None:
    rules = [rule(f'traits.seen < now - duration("{hours}h")') for hours in (5, 3, 4)]
    assert next_change(rules, {"traits": {"seen": rfc3339(NOW)}, "now": NOW}) == NOW + 3 * HOUR


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("now.getMinutes() == 3", 1, 15, "ask for now.getHours()"),
        ("true &&\n string(now) == 'a'", 2, 9, "compare moments with <"),
        ("now in [timestamp(traits.a)]", 1, 1, "compare moments with <"),
        ("traits.a == now", 1, 10, "equal for an instant"),
        ("traits.all.exists(one, one < now)", 1, 28, "stands by itself"),
        ("(now - timestamp(traits.a)).getHours() > 24", 1, 37, "compare it: now - timestamp(traits.since) > duration"),
        ("now.getHours(traits.zone) == 1", 1, 13, "names one"),
        ('now.getHours("Moon/Crater") == 1', 1, 13, "names one"),
        ('now.getHours("../../etc/passwd") == 1', 1, 13, "names one"),
    ],
)
def test_what_can_not_be_foreseen_is_refused_with_its_place(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(RuleRefused) as refused:
        require_foreseeable(rule(text), path="rule")
    first = refused.value.details[0]
    assert (first["path"], first["line"], first["column"]) == ("rule", line, column)
    assert says in first["message"]


def test_an_offer_may_still_use_now_as_it_likes() -> None:
    one = compile_rule("now.getMinutes() < 30 && channel == 'web'", variables=DECISION_VARIABLES)
    assert holding({"it": one}, {"now": NOW, "channel": "web"})["it"] is False
