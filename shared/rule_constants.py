"""What a rule writes out and can never be calculated: `duration("30d")`, `matches("[")`, `1 / 0`.

CEL takes it, because each is typed as it should be; evaluated, it is an error for everybody, so the rule would hold for
nobody without a word. It is found by evaluating those parts of a rule that read nothing, once, when it is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from shared.rule_due import moment_of
from shared.rule_time import Problem
from shared.rule_tree import CALL, IDENT, Node, Tree

Evaluate = Callable[[bytes], str | None]
"""What is wrong with a part of a rule (`Tree.part`) that reads nothing, in CEL's words; None: it can be calculated."""

Matching = Callable[[str], str | None]
"""The same of a regular expression."""

_NO_PATTERN = "invalid regular expression: "
"""What CEL puts before RE2's words."""
_ESCAPED = "mend it; a sign that is meant as it is needs two backslashes before it"
_DAYS = re.compile(r"([0-9]{1,6})d")
_OUR_MOMENTS = re.compile(r"_(?:timestamp_string|string_(?:timestamp|duration)|duration_string)$")
"""The overloads that read a text as a moment (shared/rules.py)."""


def mistakes(tree: Tree, evaluate: Evaluate, matching: Matching) -> tuple[Problem, ...]:
    """Each place that can't be calculated for anybody, in the order of the text, with a way out."""
    found = [*_calls(tree, tree.root, evaluate), *_patterns(tree, matching), *_moments(tree)]
    return tuple(sorted(found, key=lambda each: each.offset))


def _calls(tree: Tree, node: Node, evaluate: Evaluate) -> list[Problem]:
    """The innermost calls on constants alone that fail: what is around them fails because of them."""
    constant = node.kind == CALL and not any(each.kind == IDENT for each in node.walk())
    why = evaluate(tree.part(node)) if constant else None
    if constant and why is None:  # so is all within it: mostly one question is enough
        return []
    inside = [problem for part in node.parts() for problem in _calls(tree, part, evaluate)]
    return inside if inside or why is None else [_problem(tree, node, why)]


def _problem(tree: Tree, call: Node, why: str) -> Problem:
    """At the text that `call` is about, where there is one."""
    for part in call.parts():
        if (text := part.text) is not None and call.name in _FIXES:
            return Problem(tree.offset(part), f'"{text}" {_FIXES[call.name](text)}')
    return Problem(tree.offset(call), f"this can't be calculated for anybody ({why}): write a value that can be")


def _patterns(tree: Tree, matching: Matching) -> Iterator[Problem]:
    for node in tree.root.walk():
        if node.kind == CALL and node.name == "matches":
            *_, pattern = node.parts()
            if pattern.text is not None and (why := matching(pattern.text)) is not None:
                why = f'"{pattern.text}" is no regular expression ({why.removeprefix(_NO_PATTERN)}): {_ESCAPED}'
                yield Problem(tree.offset(pattern), why)


def _moments(tree: Tree) -> Iterator[Problem]:
    """Texts that are certainly read as moments, since they stand next to one, and are none."""
    for node in tree.root.walk():
        overloads = tree.overloads.get(node.id, frozenset())
        if node.kind == CALL and overloads and all(map(_OUR_MOMENTS.search, overloads)):
            for part in node.parts():
                if part.text is not None and not _is_moment(part.text):
                    yield Problem(tree.offset(part), f'"{part.text}" {_no_moment(part.text)}')


def _is_moment(text: str) -> bool:
    try:
        moment_of(text)
    except ValueError:
        return False
    return True


def _no_duration(text: str) -> str:
    days = _DAYS.fullmatch(text)
    fix = f'write {text} as "{24 * int(days[1])}h"' if days else '30 days are "720h"'
    return f"is no duration: there are hours (h), minutes (m) and seconds (s), up to 10,000 years; {fix}"


def _no_moment(_: str) -> str:
    return 'is no moment: write a date and a time that there are, as "2026-03-01T00:00:00Z"'


_FIXES: dict[str, Callable[[str], str]] = {"duration": _no_duration, "timestamp": _no_moment}


def told(answer: Any) -> str:
    """CEL's sentence about an error, without its code."""
    return re.sub(r"^[A-Z_]+: ", "", str(answer)).splitlines()[0]
