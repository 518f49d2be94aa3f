"""What a rule writes out and can never be calculated is refused where it is saved, with the place and a way out."""

from __future__ import annotations

import pytest

from shared.rules import PROFILE_VARIABLES, RuleRefused, compile_rule, holding, require_sound


@pytest.mark.parametrize(
    ("rule", "places", "says"),
    [
        ('computed.last_order_at < now - duration("30d")', [(1, 41)], 'write 30d as "720h"'),
        ('duration("1.5d") > duration("1h")', [(1, 10)], '"1.5d" is no duration'),
        ('true ||\n  now > timestamp("2026-13-01T00:00:00Z")', [(2, 19)], '"2026-13-01T00:00:00Z" is no moment'),
        ('now > "last monday"', [(1, 7)], '"last monday" is no moment'),
        ('traits.name.matches("[")', [(1, 21)], '"[" is no regular expression (missing ]: [)'),
        ('matches(traits.name, "(?=a)")', [(1, 22)], "two backslashes"),
        ('traits.tags.exists(tag, tag.matches("("))', [(1, 37)], '"(" is no regular expression'),
        ("traits.n > 1 / 0", [(1, 14)], "divide by zero"),
        ('traits.n > int("abc") || traits.n in [int("x")]', [(1, 15), (1, 42)], "cannot convert string to int"),
        ('duration("9999999999h") > duration("1h")', [(1, 10)], "up to 10,000 years"),
    ],
)
def test_it_is_refused_with_each_place_and_a_way_out(rule: str, places: list[tuple[int, int]], says: str) -> None:
    with pytest.raises(RuleRefused) as refused:
        require_sound(compile_rule(rule, variables=PROFILE_VARIABLES))
    assert [(each["line"], each["column"]) for each in refused.value.details] == places
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "rule",
    [
        'computed.last_order_at < now - duration("720h") && now > timestamp("2026-03-01T00:00:00Z")',
        'now > "2026-03-01" && duration("-1h30m") < duration("1.5h")',
        'traits.name.matches("^a[bc]+\\\\.$") && traits.pattern.matches(traits.name)',
        'traits.name > "30d" && traits.name in ["[", "2026-13-01T00:00:00Z"] && traits.n / 0 > 1',
        '"30d" < "31d" && {"a": 1}.a == 1',
        'duration(traits.within) > duration("1h")',
    ],
)
def test_what_can_be_calculated_for_somebody_is_taken(rule: str) -> None:
    require_sound(compile_rule(rule, variables=PROFILE_VARIABLES))


def test_a_rule_that_was_saved_goes_on_where_the_rest_of_it_decides() -> None:
    rule = compile_rule('traits.plan == "pro" || now > timestamp("soon")', variables=PROFILE_VARIABLES)
    assert [holding({"it": rule}, {"traits": {"plan": plan}})["it"] for plan in ("pro", "free")] == [True, None]
