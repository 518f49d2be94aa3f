"""Many rules asked of many people: in one question, wherever that can be answered.

One question for 50 rules takes a third of the time of 50. But one rule that can't be known spoils it, and most people
lack a fact that some rule reads. Whoever lacks the same facts spoils the same rules: so those that read what somebody
lacks are asked one by one, and all others together. The answers are those of `shared.rules.holding`, always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.rules import Given, Rule, asked_together, holding

Answers = Mapping[str, bool | None]
Lacking = frozenset[tuple[str, ...]]
"""The facts that somebody lacks, of those that rules read."""

OFTEN = 16
"""Times that the same facts were lacking, after which it pays to compile a question: that takes ten milliseconds."""

KINDS = 32
"""Of people, by what they lack, with questions of their own. Whoever is none of them is asked one by one."""

MOST = 25
"""Rules in one question: CEL bounds its length."""


@dataclass(slots=True, eq=False)
class RuleSet:
    """Rules that are asked together. What it learns of people makes it faster, and changes no answer."""

    rules: Mapping[str, Rule]
    paths: Sequence[tuple[str, ...]] = ()
    seen: Counter[Lacking] = field(default_factory=Counter)
    questions: dict[Lacking, Callable[[Given], Answers]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paths = sorted({_path(read) for rule in self.rules.values() for read in rule.reads})

    def holding(self, facts: Given) -> Answers:
        """Whether each holds for `facts`; None where that can't be known, which counts as false."""
        lacking = frozenset([path for path in self.paths if _lacks(facts.facts, path)])
        if (ask := self.questions.get(lacking)) is not None:
            return ask(facts)
        if len(self.questions) < KINDS and self._is_frequent(lacking):
            self.questions[lacking] = self._question(lacking)
        return holding(self.rules, facts)

    def _is_frequent(self, lacking: Lacking) -> bool:
        if len(self.seen) >= KINDS * OFTEN:  # so many kinds that each is rare: begin anew
            self.seen.clear()
        self.seen[lacking] += 1
        return self.seen[lacking] >= OFTEN

    def _question(self, lacking: Lacking) -> Callable[[Given], Answers]:
        """For those who lack just that."""
        spoilt = {name: rule for name, rule in self.rules.items() if any(_path(read) in lacking for read in rule.reads)}
        others = [(name, rule) for name, rule in self.rules.items() if name not in spoilt]
        together = [_asking(dict(others[start : start + MOST])) for start in range(0, len(others), MOST)]

        def ask(facts: Given) -> Answers:
            answers = dict(holding(spoilt, facts))
            for each in together:
                answers |= each(facts)
            return answers

        return ask


def _asking(rules: Mapping[str, Rule]) -> Callable[[Given], Answers]:
    """Asks for all at once; and one by one where that does not work out."""
    try:
        ask = asked_together(list(rules.values()))
    except RuntimeError:
        return lambda facts: holding(rules, facts)
    names = list(rules)

    def asked(facts: Given) -> Answers:
        answers = ask(facts)
        return holding(rules, facts) if answers is None else dict(zip(names, answers, strict=True))

    return asked


def _path(read: str) -> tuple[str, ...]:
    return tuple(read.split("."))


def _lacks(facts: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    found: Any = facts
    for step in path:
        if not isinstance(found, dict) or step not in found:
            return True
        found = found[step]
    return False
