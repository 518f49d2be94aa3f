"""What a rule costs, compared: more work is never cheaper, and what could take seconds is refused with its cost."""

from __future__ import annotations

import time

import pytest

from shared.rule_cost import LIMIT
from shared.rules import PROFILE_VARIABLES, Rule, RuleTooCostly, compile_rule, holding


def rule(text: str) -> Rule:
    return compile_rule(text, variables=PROFILE_VARIABLES)


ONE = 'traits.tags.exists(a, a == "x")'
TWO = "traits.tags.exists(a, traits.tags.exists(b, a == b && a != traits.plan))"


@pytest.mark.parametrize(
    ("cheaper", "dearer"),
    [
        ("true", 'traits.plan == "pro"'),
        ('traits.plan == "pro"', 'traits.plan == "pro" && traits.age > 3'),
        ('traits.plan == "pro"', 'traits.plan.matches("pro")'),
        ('traits.plan.matches("p.o")', "traits.plan.matches(traits.pattern)"),
        ('traits.plan == "pro" && traits.age > 3', ONE),
        (ONE, TWO),
        (ONE, f"{ONE} || {ONE}"),
        ("traits.at < traits.other", 'traits.at < now - duration("1h")'),
    ],
)
def test_more_work_costs_more(cheaper: str, dearer: str) -> None:
    assert 0 < rule(cheaper).cost < rule(dearer).cost <= LIMIT


@pytest.mark.parametrize(
    "text",
    [
        f"{TWO} && {TWO} && {TWO}",
        " || ".join([ONE] * 40),
        "traits.tags.exists(a, traits.tags.exists(b, a.matches('x') && b.matches('y')))",
    ],
)
def test_a_rule_that_could_take_long_is_refused_with_its_cost(text: str) -> None:
    with pytest.raises(RuleTooCostly) as refused:
        compile_rule(text, variables=PROFILE_VARIABLES, path="rule")
    (detail,) = refused.value.details
    assert (refused.value.status, refused.value.code) == (422, "rule_too_costly")
    assert (detail["path"], detail["limit"]) == ("rule", LIMIT)
    assert detail["cost"] > LIMIT
    assert f"{detail['cost']:,}" in refused.value.message
    assert f"{LIMIT:,}" in refused.value.message


def seconds(text: str, length: int) -> float:
    """Processor time: the best of several tries at one evaluation, over a list that is so long and never holds."""
    compiled = {"it": rule(text)}
    facts = {"traits": {"tags": [f"tag {number}" for number in range(length)], "plan": "free"}}

    def once() -> float:
        began = time.thread_time()
        holding(compiled, facts)
        return time.thread_time() - began

    return min(once() for _ in range(7))


def test_what_a_rule_takes_follows_its_cost() -> None:
    """The dearest of its kind that is accepted takes no more than some times what its cost says beside a small one."""
    small, large = ONE, " || ".join([ONE] * 20)
    costs = rule(large).cost / rule(small).cost
    assert seconds(large, 400) / seconds(small, 400) < 3 * costs
