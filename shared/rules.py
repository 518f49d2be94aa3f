"""Rules that people write: who is in a segment, who may get an offer, which stage a relationship is in.

They are expressions in CEL, the Common Expression Language: typed, free of side effects, bounded. Never `eval`, never a
scripting language. A rule is compiled once, where a person saves it, and a mistake is told with its line and column;
then it is evaluated for many people. What a rule can't know (a trait nobody has given, a word where a number is
compared) makes it *unknown*, which counts as false and is never an exception. An expression over an `event` may come
out as any JSON value: that is how rejected events are mended.

What we add to the standard, because our facts are JSON:
- text next to a moment is read as a moment: `now - duration("720h") > computed.last_order_at`. Written out, and for
  methods: `timestamp(computed.last_order_at).getFullYear()`;
- whole and decimal numbers calculate together: `computed.order_value / computed.order_count > 50`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Any

from cel_expr_python import cel

from shared.rule_constants import mistakes, told
from shared.rule_cost import LIMIT, cost
from shared.rule_due import Calendar, Watch, first_look, moment_of, watch
from shared.rule_refusals import RuleRefused, RuleTooCostly, place, problems, refused, too_costly
from shared.rule_time import Problem, timing
from shared.rule_tree import Tree
from shared.rule_values import given, opened

__all__ = [
    "DECISION_VARIABLES",
    "LONGEST",
    "PROFILE_VARIABLES",
    "Expression",
    "Facts",
    "Given",
    "Rule",
    "RuleRefused",
    "RuleTooCostly",
    "Unknown",
    "asked_together",
    "calendar",
    "compile_expression",
    "compile_rule",
    "holding",
    "next_change",
    "reads",
    "require_foreseeable",
    "require_sound",
    "results",
]

PROFILE_VARIABLES = (
    *("traits", "provenance", "computed", "scores", "stage", "segments", "consent", "channels", "groups", "now"),
)
"""What a rule about a customer sees. `provenance` (shared/facts.py) is made only where a rule reads it."""

DECISION_VARIABLES = (*PROFILE_VARIABLES, "context", "channel", "placement")
"""What a rule about an offer sees: the customer, and the request."""

EVENT_VARIABLES = ("properties", "channel", "name", "source", "trust")
"""What the filter of a computed trait sees: one event. Nothing that changes later, so its answer never does."""

LONGEST = 4096
"""Characters of a rule: no person writes more, and compiling time grows with it. CEL bounds the depth (32) itself."""

_JSON = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_TYPES = {
    "traits": _JSON,
    "provenance": _JSON,
    "computed": _JSON,
    "scores": _JSON,
    "stage": cel.Type.STRING,
    "segments": cel.Type.List(cel.Type.STRING),
    "consent": _JSON,
    "channels": _JSON,
    "groups": cel.Type.List(cel.Type.STRING),
    "now": cel.Type.TIMESTAMP,
    "context": _JSON,
    "channel": cel.Type.STRING,
    "placement": cel.Type.STRING,
    "event": _JSON,
    "properties": _JSON,
    "name": cel.Type.STRING,
    "source": cel.Type.STRING,
    "trust": cel.Type.STRING,
}


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A compiled rule. `reads`: the facts it depends on, as `variable.field...` or, where it can't be told, `variable`.

    While none of those changed, and `now` is not among them, the rule's answer has not changed either; where `now` is,
    not before `next_change`. `cost`: the steps that it takes at most, see shared/rule_cost.py.
    `problems`: where it does not tell when time changes it; `mistakes`: where it can't be calculated for anybody.
    `asks_at`: where it asks for `segments` first, None: nowhere; `names`: the segments that it looks for, and where.
    """

    text: str
    reads: frozenset[str]
    cost: int
    expression: Any = field(repr=False)
    watch: Watch = field(repr=False)
    problems: tuple[Problem, ...]
    mistakes: tuple[Problem, ...]
    asks_at: int | None
    names: Mapping[str, int]


def reads(rule: Rule, variable: str) -> bool:
    """Whether `rule` depends on anything of `variable`."""
    return any(read.partition(".")[0] == variable for read in rule.reads)


def compile_rule(text: str, *, variables: Collection[str], path: str = "rule") -> Rule:
    """`text` as a rule over `variables` (`PROFILE_VARIABLES`, `DECISION_VARIABLES`, or fewer of them).

    `path` names the field that the rule came in, for the error. Raises RuleRefused.
    """
    expression, tree = _compiled(text, frozenset(variables), path)
    if expression.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        kind = expression.return_type().name().lower()
        raise refused(path, [(1, 1, f"a rule must come out as true or false, this one comes out as {kind}")])
    steps = cost(tree)
    if steps > LIMIT:
        raise too_costly(path, steps, LIMIT)
    times = timing(tree)
    watched = watch(times, _environment(frozenset(_TYPES)).deserialize, partial(_time, activation=Given({}).activation))
    return Rule(
        text,
        tree.reads(variables),
        steps,
        expression,
        watched,
        problems=times.problems,
        mistakes=mistakes(tree, _wrong, _no_pattern),
        asks_at=tree.place_of("segments"),
        names=dict(tree.sought("segments")),
    )


def require_sound(rule: Rule, *, path: str = "rule") -> None:
    """Refuse a rule that writes out what can't be calculated for anybody. Raises RuleRefused, with each place.

    Only for a rule that is to be saved: one that was goes on, for those of whom the rest of it is known.
    """
    if rule.mistakes:
        raise refused(path, [(*place(rule.text, each.offset), each.why) for each in rule.mistakes])


def _wrong(part: bytes) -> str | None:
    """What is wrong with a part of a rule that reads nothing; None: it can be calculated."""
    return _error(_environment(_EVERY_VARIABLE).deserialize(part), Given({}))


def _no_pattern(text: str) -> str | None:
    return _error(_environment(_EVERY_VARIABLE).compile('"".matches(name)'), Given({"name": text}))


def _error(expression: Any, facts: Given) -> str | None:
    try:
        answer = expression.eval(facts.activation)
        return told(answer.value()) if answer.type() == cel.Type.ERROR else None
    except (RuntimeError, ValueError, OverflowError) as error:
        return told(error)


_GROWS = (
    "inside exists, all, map and filter only numbers may be added (and nothing turned into bytes), so that no rule can "
    "grow without bound: write double(a) + double(b)"
)


def _compiled(text: str, variables: frozenset[str], path: str) -> tuple[Any, Tree]:
    if len(text) > LONGEST:
        raise refused(path, [(1, LONGEST, f"a rule may have {LONGEST} characters, this one has {len(text)}")])
    try:
        _environment(variables).compile(text)
        # Evaluated in the environment of `holding`: what was compiled in another does not take its moments.
        expression = _environment(_EVERY_VARIABLE).compile(text)
    except RuntimeError as error:
        raise refused(path, problems(str(error))) from None
    tree = Tree.of(expression.serialize())
    if tree.grows_in_a_loop():
        raise refused(path, [(1, 1, _GROWS)])
    return expression, tree


class Given:
    """Facts about somebody, put into CEL's terms once, however many questions follow.

    `facts` gives each variable a JSON value; `now` is a datetime. Moments deeper inside may be datetimes or RFC 3339
    text.
    """

    def __init__(self, facts: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> None:
        self.facts = facts
        self.values = _translated(facts) if values is None else values

    def but(self, **changed: Any) -> Given:
        """The same but for these variables."""
        return Given({**self.facts, **changed}, {**self.values, **_translated(changed)})

    @cached_property
    def activation(self) -> Any:
        return _environment(_EVERY_VARIABLE).Activation(self.values)


Facts = Mapping[str, Any] | Given


def _given(facts: Facts) -> Given:
    return facts if isinstance(facts, Given) else Given(facts)


def holding(rules: Mapping[str, Rule], facts: Facts) -> dict[str, bool | None]:
    """Whether each of `rules` holds for `facts`; None where that can't be known, which counts as false.

    For many rules and many people see shared/rule_sets.py.
    """
    if not rules:
        return {}
    activation = _given(facts).activation
    return {name: _holds(rule.expression, activation) for name, rule in rules.items()}


def asked_together(rules: Sequence[Rule]) -> Callable[[Given], Sequence[bool | None] | None]:
    """One question for all of `rules`, which takes a third of the time: their answers in order, as `holding` has them.

    None where one of them can't be known: it spoils the whole. Raises RuntimeError where CEL does not take them so.
    """
    # On lines of their own: what ends in a comment ends with its line.
    whole = _environment(_EVERY_VARIABLE).compile("[" + ",".join(f"dyn({rule.text}\n)" for rule in rules) + "]")

    def ask(facts: Given) -> Sequence[bool | None] | None:
        try:
            answers = whole.eval(facts.activation)
            if answers.type() == cel.Type.ERROR:
                return None
            return [answer if isinstance(answer, bool) else None for answer in answers.plain_value()]
        except RuntimeError:  # CEL's own word for "too many iterations"
            return None

    return ask


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """Rules in order, of which the first that holds counts."""

    rules: Mapping[str, Rule]
    expression: Any = field(repr=False)


def ladder(texts: Mapping[str, str], *, variables: Collection[str], path: str) -> Ladder:
    """A ladder of rules, {name: text}. Raises RuleRefused."""
    rules = {name: compile_rule(text, variables=variables, path=f"{path}.{name}") for name, text in texts.items()}
    # All in one question: six answers cost three times as much, and it is asked for every publication.
    whole = "".join(f'({text}) ? "{name}" : ' for name, text in texts.items()) + '""'
    return Ladder(rules, _environment(_EVERY_VARIABLE).compile(whole))


def first_holding(asked: Ladder, facts: Facts) -> str | None:
    """The name of the first rule that holds for `facts`, if one does. One that can't be known does not hold."""
    activation = _given(facts).activation
    try:
        answer = asked.expression.eval(activation)
    except RuntimeError:  # CEL's own word for "too many iterations"
        answer = None
    if answer is not None and answer.type() == cel.Type.STRING:
        return answer.value() or None
    # One of the rules can't be known, and spoils the whole: ask one by one.
    return next((name for name, rule in asked.rules.items() if _holds(rule.expression, activation)), None)


def _translated(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, datetime) else given(value) for name, value in facts.items()}


def _holds(expression: Any, activation: Any) -> bool | None:
    try:
        answer = expression.eval(activation).value()
    except RuntimeError:  # CEL's own word for "too many iterations"
        return None
    return answer if isinstance(answer, bool) else None


# --- passing of time -------------------------------------------------------------------------------------------------


def require_foreseeable(rule: Rule, *, path: str = "rule") -> None:
    """Refuse a rule that uses `now` so that it does not tell when it changes. Raises RuleRefused, with each place."""
    if rule.problems:
        raise refused(path, [(*place(rule.text, each.offset), each.why) for each in rule.problems])


def calendar(rules: Iterable[Rule]) -> Calendar:
    """When any of `rules` changes by time, for `next_change`: made once for many people."""
    return Calendar.of(rule.watch for rule in rules)


def next_change(rules: Iterable[Rule] | Calendar, facts: Facts) -> datetime | None:
    """The first moment past the `now` of `facts` at which one of `rules` may come out otherwise with the same facts.

    None: never. Perhaps none does then; but none does before. What can't be known now can't be known by time either.
    Rules with problems (`require_foreseeable`) are taken as far as they can be foreseen. It is a whole millisecond.
    """
    made, known = rules if isinstance(rules, Calendar) else calendar(rules), _given(facts)
    moments = made.turning(known.facts, lambda part: _time(part, known.activation))
    return first_look(moments, known.facts["now"])


def _time(expression: Any, activation: Any) -> Any:
    """What a part of a rule comes out as; None where it can't be known."""
    try:
        return expression.eval(activation).value()
    except (RuntimeError, ValueError, OverflowError):
        return None


# --- expressions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A compiled expression over one `event`, to be given to `results`."""

    text: str
    expression: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unknown:
    """What an expression comes out as where it can't be calculated, and why: a field is missing, a text no number."""

    why: str


def compile_expression(text: str, *, path: str = "expression") -> Expression:
    """`text` as an expression over `event`, an object, that may come out as anything. Raises RuleRefused."""
    expression, _ = _compiled(text, frozenset({"event"}), path)
    return Expression(text, expression)


def results(expressions: Mapping[str, Expression], event: Mapping[str, Any]) -> dict[str, Any]:
    """What each of `expressions` comes out as for `event`, a JSON object: a JSON value, or Unknown.

    Moments become RFC 3339 text, durations text such as `90s`, bytes base64. Names in the event may not have a NUL, at
    which CEL's library would cut them; what ingest has cleaned has none.
    """
    try:
        activation = _environment(_EVERY_VARIABLE).Activation({"event": given(event)})
    except RecursionError:
        return dict.fromkeys(expressions, Unknown("the event is nested too deeply"))
    return {name: _result(expression.expression, activation) for name, expression in expressions.items()}


def _result(expression: Any, activation: Any) -> Any:
    try:
        return opened(expression.eval(activation))
    except (RuntimeError, ValueError, OverflowError) as error:  # RecursionError is a RuntimeError
        return Unknown(_STATUS.sub("", str(error)))


_STATUS = re.compile(r"^[A-Z_]+: ")
"""What CEL puts before its errors: NOT_FOUND, UNKNOWN, INVALID_ARGUMENT."""

# --- what we add to CEL ----------------------------------------------------------------------------------------------


def _overloads(symbol: str, name: str, calculate: Callable[[Any, Any], Any], *signatures: _Signature) -> Any:
    """More argument types for the operator `symbol`, whose own overloads are called `name`_..."""

    def calculated(left: Any, right: Any) -> Any:
        return calculate(moment_of(left), moment_of(right))

    overloads = [
        cel.Overload(f"{name}_{left.name()}_{right.name()}".lower(), result, [left, right], impl=calculated)
        for left, right, result in signatures
    ]
    return cel.FunctionDecl(symbol, overloads)


_Signature = tuple[Any, Any, Any]
"""The types of the left side, the right side and the result."""

_BOOL, _TEXT, _TIME, _SPAN = cel.Type.BOOL, cel.Type.STRING, cel.Type.TIMESTAMP, cel.Type.DURATION
_WHOLE, _DECIMAL = cel.Type.INT, cel.Type.DOUBLE
_COMPARED = ((_TEXT, _TIME, _BOOL), (_TIME, _TEXT, _BOOL))
_MIXED = ((_WHOLE, _DECIMAL, _DECIMAL), (_DECIMAL, _WHOLE, _DECIMAL))
_LATER = ((_TEXT, _SPAN, _TIME), (_SPAN, _TEXT, _TIME))
_EARLIER = ((_TEXT, _SPAN, _TIME), (_TEXT, _TIME, _SPAN), (_TIME, _TEXT, _SPAN))

# As an extension, because only there an operator that exists may get more overloads.
_EXTENSION = cel.CelExtension(
    "temas",
    [
        _overloads("_<_", "less", operator.lt, *_COMPARED),
        _overloads("_<=_", "less_equals", operator.le, *_COMPARED),
        _overloads("_>_", "greater", operator.gt, *_COMPARED),
        _overloads("_>=_", "greater_equals", operator.ge, *_COMPARED),
        _overloads("_+_", "add", operator.add, *_MIXED, *_LATER),
        _overloads("_-_", "subtract", operator.sub, *_MIXED, *_EARLIER),
        _overloads("_*_", "multiply", operator.mul, *_MIXED),
        _overloads("_/_", "divide", operator.truediv, *_MIXED),
    ],
)


_EVERY_VARIABLE = frozenset(_TYPES)


@lru_cache(maxsize=32)
def _environment(variables: frozenset[str]) -> Any:
    return cel.NewEnv(variables={name: _TYPES[name] for name in variables}, extensions=[_EXTENSION])
