"""Rules asked together: the answers are those of each rule asked by itself, whatever is known of whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clock import rfc3339
from shared.rule_due import first_look
from shared.rule_sets import KINDS, OFTEN, RuleSet
from shared.rules import PROFILE_VARIABLES, Given, calendar, compile_rule, holding, next_change

NOW = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)

TEXTS = (
    "traits.a > 1",
    "traits.a / 2 == 1",
    "traits.b.c == 'x' // said by a comment",
    "has(traits.b) && has(traits.b.c)",
    "traits.missing || traits.a > 1",
    "traits.b",
    "stage == 'maintain' && 'one' in segments",
    "traits.list.all(x, traits.list.exists(y, y == x))",
    "traits.list.exists(x, traits.list.all(y, y == x))",
    'traits.seen < now - duration("1h")',
    'traits.seen < now - duration("2h")',
    'traits.seen + duration("30m") > now',
    'computed.seen > now - duration("90m")',
    'now - timestamp(traits.seen) > duration("24h") || traits.a == 2',
    'traits.seen - now < duration("-45m")',
    "now.getHours() >= 9",
    "((((((((((((((((((((((((((((traits.a == 2))))))))))))))))))))))))))))",
)
RULES = {text: compile_rule(text, variables=PROFILE_VARIABLES) for text in TEXTS}

moments = st.integers(-30 * 60, 30 * 60).map(lambda minutes: rfc3339(NOW + timedelta(minutes=minutes)))
values = st.sampled_from((0, 1, 2, 2.0, True, None, "x", "", {"c": "x"}, {"c": 1}, [1, 2], list(range(300))))
people = st.fixed_dictionaries(
    {
        "traits": st.dictionaries(st.sampled_from(("a", "b", "list")), values)
        | st.fixed_dictionaries({"a": values, "b": values, "seen": moments | st.sampled_from(("soon", "9999-12-31"))}),
        "computed": st.just({}) | st.fixed_dictionaries({"seen": moments}),
        "segments": st.sampled_from(([], ["one"])),
    },
    optional={"stage": st.sampled_from(("maintain", "acquire"))},
)
names = st.lists(st.sampled_from(TEXTS), unique=True)


@settings(max_examples=60, deadline=None)
@given(names, people, st.lists(people, max_size=3))
def test_together_they_say_what_each_says_alone(some: list[str], who: dict[str, Any], others: list[Any]) -> None:
    rules = {name: RULES[name] for name in some}
    asked = RuleSet(rules)
    for facts in [who] * (OFTEN + 1) + others + [who]:
        known = Given({**facts, "now": NOW})
        assert asked.holding(known) == holding(rules, known)


def test_whoever_is_asked_often_is_asked_in_one_question() -> None:
    asked = RuleSet(RULES)
    for _ in range(OFTEN):
        asked.holding(Given({"traits": {"a": 2}, "now": NOW}))
    assert [len(kind.together) for kind in asked.kinds.values()] == [1]


def test_what_is_asked_in_vain_is_not_asked_so_again() -> None:
    """Each of the two may look at so many; both together may not."""
    rules = {name: RULES[name] for name in TEXTS if "list" in name}
    asked, facts = RuleSet(rules), Given({"traits": {"list": list(range(300))}, "now": NOW})
    for _ in range(3 * OFTEN):
        assert asked.holding(facts) == holding(rules, facts)


def test_however_different_people_are_only_so_many_questions_are_kept() -> None:
    rules = {f"{n}": compile_rule(f"traits.t{n} == 1", variables=PROFILE_VARIABLES) for n in range(7)}
    asked = RuleSet(rules)
    for number in range(2**7):
        facts = Given({"traits": {f"t{bit}": 1 for bit in range(7) if number >> bit & 1}, "now": NOW})
        for _ in range(OFTEN):
            assert asked.holding(facts) == holding(rules, facts)
    assert len(asked.kinds) <= KINDS


@settings(max_examples=100, deadline=None)
@given(names, people)
def test_the_first_change_of_all_is_the_first_of_each_place(some: list[str], facts: dict[str, Any]) -> None:
    known = Given({**facts, "now": NOW})

    def ask(part: Any) -> Any:
        try:
            return part.eval(known.activation).value()
        except RuntimeError:
            return None

    places = [moment for name in some for moment in RULES[name].watch.turning(known.facts, ask)]
    assert next_change(calendar(RULES[name] for name in some), known) == first_look(places, NOW)
