"""When a rule over `now` is to be asked again: the moments at which its places in time turn, worked out for one person.

Most rules compare a fact with so much time ago. That needs no CEL: the fact is looked up, and the rest was worked out
when the rule was compiled. A place takes 2 microseconds for a person, where evaluating both of its sides takes 6.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from shared.clock import milliseconds
from shared.rule_time import Meeting, Term, Timing, Turn

MILLISECOND = timedelta(milliseconds=1)
LOOKS = 2 * MILLISECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Place = TypeVar("Place", Meeting, Turn)

Source = tuple[str, ...] | Any
"""Where a term's value comes from: the path to a fact, or a compiled expression."""

Ask = Callable[[Any], Any]
"""Evaluates a compiled expression for the person; None where it can't be known."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Moments and lengths of time, added up and taken away; moments count from 1970.

    `fixed`: what is the same for everybody. `moments`: how many moments are in it, those taken away counted off: one
    makes it a moment, none a length of time.
    """

    fixed: timedelta
    moments: int
    sources: tuple[tuple[int, Source], ...]

    def of(self, facts: Mapping[str, Any], ask: Ask) -> tuple[timedelta, int] | None:
        """The sum for somebody, and how many moments are in it; None where a part is not known, or is no time."""
        whole, moments = self.fixed, self.moments
        try:
            for sign, source in self.sources:
                value = moment_of(_looked_up(facts, source) if isinstance(source, tuple) else ask(source))
                if isinstance(value, datetime):
                    value, moments = value - EPOCH, moments + sign
                whole += sign * value
        except (ValueError, TypeError, OverflowError):
            return None
        return whole, moments


@dataclass(frozen=True, slots=True)
class Watch:
    """All places at which a rule changes by time, compiled."""

    meetings: tuple[tuple[Sum, int], ...] = ()
    turns: tuple[tuple[Sum, Turn], ...] = ()

    def turning(self, facts: Mapping[str, Any], ask: Ask) -> Iterator[datetime]:
        """The moment at which each place turns, where there is one: past or to come."""
        for still, pace in self.meetings:
            if (moment := _met(still.of(facts, ask), pace)) is not None:
                yield moment
        for still, turn in self.turns:
            if (moment := _turned(still.of(facts, ask), turn, facts["now"])) is not None:
                yield moment


@dataclass(frozen=True, slots=True)
class Calendar:
    """The places of many rules. Most compare one fact with so much time ago: for each such fact, how long after it
    something turns, in order. However many rules do, it is looked up once. `others`: the rest, one by one.
    """

    after: tuple[tuple[tuple[str, ...], tuple[timedelta, ...]], ...]
    others: tuple[Watch, ...]

    @classmethod
    def of(cls, watches: Iterable[Watch]) -> Calendar:
        after: defaultdict[tuple[str, ...], set[timedelta]] = defaultdict(set)
        others = []
        for each in watches:
            rest = []
            for still, pace in each.meetings:
                if (simple := _simple(still, pace)) is None:
                    rest.append((still, pace))
                else:
                    after[simple[0]].add(simple[1])
            if rest or each.turns:
                others.append(Watch(tuple(rest), each.turns))
        return cls(tuple((path, tuple(sorted(spans))) for path, spans in after.items()), tuple(others))

    def turning(self, facts: Mapping[str, Any], ask: Ask) -> Iterator[datetime]:
        """The moments that count for `first_look`: of each fact the first that is not over, of the rest all."""
        over = facts["now"] - LOOKS
        for path, spans in self.after:
            if (moment := _next(_looked_up(facts, path), spans, over)) is not None:
                yield moment
        for each in self.others:
            yield from each.turning(facts, ask)


def _simple(still: Sum, pace: int) -> tuple[tuple[str, ...], timedelta] | None:
    """The path to the only fact, and how long after it the two sides meet; None where it is less simple."""
    if len(still.sources) != 1 or still.moments:
        return None
    ((sign, source),) = still.sources
    return (source, sign * still.fixed) if isinstance(source, tuple) and sign == -pace else None


def _next(fact: Any, spans: Sequence[timedelta], over: datetime) -> datetime | None:
    """The first moment past `over` that is one of `spans` after the fact; None where there is none."""
    try:
        at = moment_of(fact)
        if not isinstance(at, datetime):
            return None
        place = bisect_right(spans, over - at)
        return at + spans[place] if place < len(spans) else None
    except (ValueError, TypeError, OverflowError):
        return None


def watch(timing: Timing, compiled: Callable[[bytes], Any], ask: Ask) -> Watch:
    """`timing`, with its expressions `compiled` and those of them that read no facts asked at once."""
    return Watch(
        tuple((still, each.pace) for each, still in _sums(timing.meetings, compiled, ask)),
        tuple((still, each) for each, still in _sums(timing.turns, compiled, ask)),
    )


def first_look(moments: Iterable[datetime], now: datetime) -> datetime | None:
    """When to look, after `now`, for the first of `moments` at which something turns; None where all are over.

    At that moment itself, where `<=` turns; then a millisecond after it, where `<` does; and once more, because
    Python's moments are rounded to microseconds and CEL's are not. Mostly whoever looks is late enough for all at once.
    """
    over = now - LOOKS
    first = min((moment for moment in moments if moment > over), default=None)
    if first is None:
        return None
    look = milliseconds(first)
    while look <= now:
        look += MILLISECOND
    return look


def moment_of(value: Any) -> Any:
    """RFC 3339 text, or a date, as a moment; without a zone it is UTC. What is no text is given back as it is.

    Raises ValueError for other texts.
    """
    if not isinstance(value, str):
        return value
    at = datetime.fromisoformat(value)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# --- sums ------------------------------------------------------------------------------------------------------------


def _sums(places: Iterable[Place], compiled: Callable[[bytes], Any], ask: Ask) -> Iterator[tuple[Place, Sum]]:
    """The sum at each of `places`; not where a part that is the same for everybody is no time: that stays unknown."""
    for place in places:
        constants = Sum(timedelta(), 0, tuple(_sources((term for term in place.terms if not term.reads), compiled)))
        known = constants.of({}, ask)
        if known is not None:
            yield place, Sum(*known, tuple(_sources((term for term in place.terms if term.reads), compiled)))


def _sources(terms: Iterable[Term], compiled: Callable[[bytes], Any]) -> Iterator[tuple[int, Source]]:
    return ((term.sign, term.path or compiled(term.part)) for term in terms)


def _looked_up(facts: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = facts
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None  # a Mapping costs ten times as much to ask
    return found


# --- moments ---------------------------------------------------------------------------------------------------------


def _met(still: tuple[timedelta, int] | None, pace: int) -> datetime | None:
    """When both sides of a comparison meet: when what does not move and `pace` times now come to nothing."""
    if still is None or still[1] + pace != 0:  # a moment beside a length of time: that can't be compared
        return None
    try:
        return EPOCH - still[0] / pace
    except OverflowError:  # past the last day of the calendar
        return None


def _turned(still: tuple[timedelta, int] | None, turn: Turn, now: datetime) -> datetime | None:
    """When the part of a date, which is so much before or after now, is another."""
    if still is None or still[1] != 0:
        return None
    try:
        here = (now + still[0]).astimezone(turn.zone)
        return (_next_day(here) if turn.unit == "day" else _next_hour(here)) - still[0]
    except OverflowError:
        return None


def _next_day(here: datetime) -> datetime:
    """The next midnight where `here` is, in UTC."""
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0) + timedelta(days=1)
    return midnight.astimezone(UTC)


def _next_hour(here: datetime) -> datetime:
    """The end of the hour where `here` is, in UTC; not later than its next quarter where clocks are put forward or back
    meanwhile. That is mostly at the end of an hour, too, but on the Chatham Islands at a quarter to.
    """
    at = here.astimezone(UTC)
    end = at - timedelta(minutes=here.minute, seconds=here.second, microseconds=here.microsecond) + timedelta(hours=1)
    if end.astimezone(here.tzinfo).utcoffset() == here.utcoffset():
        return end
    return min(end, at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0) + timedelta(minutes=15))
