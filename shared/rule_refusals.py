"""Rules that are refused: what a person is told, with its place."""

from __future__ import annotations

import re

from shared.errors import TemasError


class RuleRefused(TemasError):
    """A rule that can't be compiled. `details`: `path` of the field, `line` and `column` from 1, CEL's `message`."""

    status = 422
    code = "rule_refused"


class RuleTooCostly(RuleRefused):
    """A rule that could take too long for somebody. `details`: its `cost` and the `limit`, both in steps."""

    code = "rule_too_costly"


_PROBLEM = re.compile(r"^(?:.*: )?ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?: \[[A-Z_]+\])?$", re.MULTILINE)
_DEPTH = re.compile(r"recursion (?:limit|depth)")
_TOO_DEEP = "nested or chained too deeply (32 levels at most): split the rule, or join its parts with && and ||"
_TWO_KINDS = re.compile(r"'_[<>=!]+_' applied to '\((?:int, double|double, int)\)'")


def problems(text: str) -> list[tuple[int, int, str]]:
    """What CEL found wrong, as (line, column, sentence)."""
    found = [(max(int(line), 1), max(int(column), 1), _told(what)) for line, column, what in _PROBLEM.findall(text)]
    return found or [(1, 1, _told(text.splitlines()[0]))]


def _told(what: str) -> str:
    """CEL's sentence, with what to do where it does not say."""
    if _DEPTH.search(what):
        return _TOO_DEEP
    return f"{what}: write both as decimals, such as 31.0" if _TWO_KINDS.search(what) else what


def refused(path: str, problems: list[tuple[int, int, str]]) -> RuleRefused:
    """The error for the rule at `path`, with all that is wrong with it."""
    line, column, what = problems[0]
    return RuleRefused(
        f"{path} is no rule: line {line}, column {column}: {what}",
        details=[{"path": path, "line": at, "column": where, "message": why} for at, where, why in problems],
    )


def too_costly(path: str, steps: int, limit: int) -> RuleTooCostly:
    """The error for a rule of so many `steps`, of which `limit` are allowed."""
    return RuleTooCostly(
        f"{path} is too costly: it may take {steps:,} steps for one person, and {limit:,} are allowed; "
        "use fewer loops inside loops, or fewer terms in them",
        details=[{"path": path, "code": RuleTooCostly.code, "cost": steps, "limit": limit}],
    )


def place(text: str, offset: int) -> tuple[int, int]:
    """The line and the column, from 1, of what has so many characters before it."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
