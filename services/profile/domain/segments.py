"""Live segments: named rules over the whole view, and who they hold for right now."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from services.profile.domain import stages
from shared.facts import PROVENANCE
from shared.rule_refusals import place, refused
from shared.rule_sets import RuleSet
from shared.rules import (
    PROFILE_VARIABLES,
    Given,
    Rule,
    calendar,
    compile_rule,
    reads,
    require_foreseeable,
    require_sound,
)


class Found(msgspec.Struct, frozen=True):
    """The segments that somebody is in, and how many rules could not be known for them.

    `plain`: those that were decided without asking for segments, which the others saw.
    """

    ids: frozenset[str]
    unknown: int
    plain: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def saved(text: str) -> Rule:
    """The rule of a segment that somebody saved. Raises RuleRefused, which tells line and column; see `rule`."""
    return compile_rule(text, variables=PROFILE_VARIABLES, path="rule")


def rule(text: str) -> Rule:
    """A segment's rule that is to be saved: one that can hold for somebody, and of which can be told when time changes
    it. Raises RuleRefused.

    What was saved before we asked for that goes on as it was: it is asked when something happens.
    """
    new = saved(text)
    require_sound(new, path="rule")
    require_foreseeable(new, path="rule")
    return new


def require_seen(segment_id: str | None, new: Rule, saved: Mapping[str, Rule]) -> None:
    """Refuse a rule that names a segment which no rule sees, because that asks for segments itself; and one that
    begins to ask for segments while others name its own, `segment_id`. Raises RuleRefused.

    `saved`: the rules of all segments by id. What was saved before, in whichever order, stays.
    """
    others = {name: each for name, each in saved.items() if name != segment_id}
    asking = {name for name, each in others.items() if asks_for_segments(each)}
    if segment_id is not None and asks_for_segments(new):
        asking.add(segment_id)
    unseen = [(at, _UNSEEN.format(name)) for name, at in sorted(new.names.items()) if name in asking]
    if unseen:
        raise refused("rule", [(*place(new.text, at), why) for at, why in unseen])

    before = saved.get(segment_id) if segment_id is not None else None
    if new.asks_at is None or (before is not None and asks_for_segments(before)):
        return
    if waiting := sorted(name for name, each in others.items() if segment_id in each.names):
        why = _WAITED_FOR.format(", ".join(waiting), segment_id)
        raise refused("rule", [(*place(new.text, new.asks_at), why)])


_UNSEEN = (
    'the segment "{}" asks for segments itself, and a rule sees only those that do not: write in its place what its '
    "rule asks for"
)
_WAITED_FOR = (
    'other segments ask for this one ({}), and they see only segments that ask for none: write what "{}" shall ask for '
    "without `segments`, or change those others first"
)


class Asked:
    """Saved rules, made ready to be asked about many people, and told when time changes them: `due`."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        asking = {name: each for name, each in rules.items() if asks_for_segments(each)}
        self.plain = RuleSet({name: each for name, each in rules.items() if name not in asking})
        self.asking = RuleSet(asking)
        self.due = calendar((*stages.rules().values(), *rules.values()))
        self.asks_for_provenance = any(reads(each, PROVENANCE) for each in rules.values())


@lru_cache(maxsize=16)
def _asked(rules: tuple[tuple[str, Rule], ...]) -> Asked:
    return Asked(dict(rules))


def asked(rules: Mapping[str, Rule]) -> Asked:
    """`rules`, made ready once: what was learned of people who were asked stays."""
    return _asked(tuple(rules.items()))


def found(rules: Asked, facts: Given) -> Found:
    """Which of `rules` hold for `facts` (with `stage` among them).

    A rule may ask for `segments`: it sees those that were decided without asking. So the answer depends on no order
    of rules, and no two of them can wait for each other.
    """
    first = rules.plain.holding(facts.but(segments=[]))
    ids = sorted(name for name, holds in first.items() if holds)
    second = rules.asking.holding(facts.but(segments=ids)) if rules.asking.rules else {}
    answers = {**first, **second}
    return Found(
        frozenset(name for name, holds in answers.items() if holds),
        sum(holds is None for holds in answers.values()),
        tuple(ids),
    )


def asks_for_segments(each: Rule) -> bool:
    return reads(each, "segments")
