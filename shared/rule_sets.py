"""Many rules asked of many people: in one question, wherever that can be answered.

One question for 50 rules takes a third of the time of 50. But one rule that can't be known spoils it, and most people
lack a fact that some rule reads. Whoever lacks the same facts mostly spoils the same rules: those that came out unknown
are asked one by one, and all others together. The answers are those of `shared.rules.holding`, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.rules import Given, Rule, asked_together, holding

Answers = Mapping[str, bool | None]
Lacking = frozenset[tuple[str, ...]]
"""The facts that somebody lacks, of those that rules read."""

OFTEN = 16
"""Times after which it pays to compile a question, or one more: that takes ten milliseconds."""

KINDS = 32
"""Of people, by what they lack, with questions of their own. Whoever is none of them is asked one by one."""

MOST = 25
"""Rules in one question: CEL bounds its length."""


class RuleSet:
    """Rules that are asked together. What it learns of people makes it faster, and changes no answer."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = rules
        self.paths = sorted({tuple(read.split(".")) for rule in rules.values() for read in rule.reads})
        self.kinds: dict[Lacking, _Kind] = {}

    def holding(self, facts: Given) -> Answers:
        """Whether each holds for `facts`; None where that can't be known, which counts as false."""
        lacking = frozenset([path for path in self.paths if _lacks(facts.facts, path)])
        kind = self.kinds.get(lacking)
        if kind is None:
            if not self._is_room():
                return holding(self.rules, facts)
            kind = self.kinds[lacking] = _Kind(self.rules)
        return kind.holding(facts)

    def _is_room(self) -> bool:
        """Whether there may be another kind, once those are forgotten who were too few to matter."""
        if len(self.kinds) >= KINDS:
            self.kinds = {lacking: kind for lacking, kind in self.kinds.items() if kind.together}
        return len(self.kinds) < KINDS


@dataclass(slots=True, eq=False)
class _Kind:
    """Those who lack the same facts. `alone`: the rules that came out unknown for one of them, asked one by one.

    `missed`: how often that was not foreseen since the questions were compiled; before, how many there were at all.
    """

    rules: Mapping[str, Rule]
    alone: dict[str, Rule] = field(default_factory=dict)
    together: Sequence[_Question] = ()
    missed: int = 0

    def holding(self, facts: Given) -> Answers:
        answers: dict[str, bool | None] = {}
        for question in self.together:
            if (found := question.asked(facts)) is None:
                break
            answers |= found
        else:
            if self.together:
                return answers | holding(self.alone, facts)
        answers = holding(self.rules, facts)
        self._learn(answers)
        return answers

    def _learn(self, answers: Answers) -> None:
        self.alone |= {name: self.rules[name] for name, answer in answers.items() if answer is None}
        self.missed += 1
        if self.missed >= OFTEN:
            self.missed = 0
            self._compile([name for name in self.rules if name not in self.alone])

    def _compile(self, names: Sequence[str]) -> None:
        """Ask for `names` together. Where that was tried before, or CEL does not take it, each is asked alone."""
        parts = [names[start : start + MOST] for start in range(0, len(names), MOST)]
        before = [each.names for each in self.together]
        made = [] if parts == before else [_question(part, self.rules) for part in parts]
        self.together = [each for each in made if each is not None]
        asked = {name for each in self.together for name in each.names}
        self.alone = {name: rule for name, rule in self.rules.items() if name not in asked}


@dataclass(frozen=True, slots=True)
class _Question:
    names: Sequence[str]
    ask: Callable[[Given], Sequence[bool | None] | None]

    def asked(self, facts: Given) -> Answers | None:
        """The answers; None where one of them can't be known."""
        answers = self.ask(facts)
        return None if answers is None else dict(zip(self.names, answers, strict=True))


def _question(names: Sequence[str], rules: Mapping[str, Rule]) -> _Question | None:
    try:
        return _Question(names, asked_together([rules[name] for name in names]))
    except RuntimeError:
        return None


def _lacks(facts: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    found: Any = facts
    for step in path:
        if not isinstance(found, dict) or step not in found:
            return True
        found = found[step]
    return False
