"""When a rule over `now` may come out otherwise with nothing else having changed.

A rule changes by time in two ways that can be foreseen:

- a comparison of moments or durations, as in `computed.last_order_at < now - duration("720h")`. Each side is the sum of
  what does not move and of so many times `now`: it moves at a steady pace, so that the moment at which both sides meet
  follows from what they are at present;
- a part of the date, as in `now.getDayOfWeek() == 1`, which changes at midnight or at the full hour.

Where `now` is used otherwise nobody can say when to look again: those places are `problems`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.rule_tree import CALL, CONSTANT, IDENT, Node, Tree

NOW = "now"

ORDERS = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
EQUALITIES = frozenset({"_==_", "_!=_"})
SIGNS = {"_+_": 1, "_-_": -1}

DAY_PARTS = frozenset({"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"})
UNITS: dict[str, Literal["day", "hour"]] = {**dict.fromkeys(DAY_PARTS, "day"), "getHours": "hour"}
TOO_FINE = frozenset({"getMinutes", "getSeconds", "getMilliseconds"})

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Meeting:
    """A comparison that turns where its sides meet. `left` and `right` as `Tree.part` gives them.

    `pace`: how much further left is than right after one unit of time, in such units. Never 0.
    """

    left: bytes
    right: bytes
    pace: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A part of a date that moves with `now`, as it is read in `zone`. `date` as `Tree.part` gives it."""

    date: bytes
    unit: Literal["day", "hour"]
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Problem:
    """`now` is used where nobody can say when to look again. `offset`: characters before it; `why`: with a way out."""

    offset: int
    why: str


@dataclass(frozen=True, slots=True)
class Timing:
    """All places at which a rule may change by time."""

    meetings: tuple[Meeting, ...] = ()
    turns: tuple[Turn, ...] = ()
    problems: tuple[Problem, ...] = ()


def timing(tree: Tree) -> Timing:
    """How the rule `tree` changes by time."""
    reader = _Reader(tree)
    reader.read(tree.root)
    return Timing(tuple(reader.meetings), tuple(reader.turns), tuple(reader.problems))


# --- when ------------------------------------------------------------------------------------------------------------


def met(left: Any, right: Any, pace: int, now: datetime) -> datetime | None:
    """When the sides of a comparison, at present `left` and `right`, meet; None where they never will, or are no times.

    left + pace * t = right, for t from now on.
    """
    if not _same_kind(left, right):
        return None
    try:
        return _first_look(now + (right - left) / pace, now)
    except OverflowError:  # past the last day of the calendar
        return None


def turned(date: Any, turn: Turn, now: datetime) -> datetime | None:
    """When the part of `date`, which moves as `now` does, is another; None where it is no date."""
    if not isinstance(date, datetime):
        return None
    try:
        here = date.astimezone(turn.zone)
        ahead = _next_day(here) if turn.unit == "day" else _next_hour(here)
        return _first_look(now + (ahead - date), now)
    except OverflowError:
        return None


def _same_kind(left: Any, right: Any) -> bool:
    return any(isinstance(left, kind) and isinstance(right, kind) for kind in (datetime, timedelta))


def _first_look(moment: datetime, now: datetime) -> datetime | None:
    """When to look, where something turns about `moment`; None where that is over.

    At `moment` itself, where `<=` turns; then after it, where `<` does; and once more, because Python's moments are
    rounded to microseconds and CEL's are not. Mostly one is late enough for all three: the next is asked of the `now`
    of that look.
    """
    whole = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return next((look for look in (whole, whole + MILLISECOND, whole + 2 * MILLISECOND) if look > now), None)


def _next_day(here: datetime) -> datetime:
    """The next midnight where `here` is, in UTC."""
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0) + timedelta(days=1)
    return midnight.astimezone(UTC)


def _next_hour(here: datetime) -> datetime:
    """The end of the hour where `here` is, in UTC. Clocks are put forward and back at the end of an hour."""
    into = timedelta(minutes=here.minute, seconds=here.second, microseconds=here.microsecond)
    return here.astimezone(UTC) - into + timedelta(hours=1)


# --- where -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reader:
    """Walks a tree, and keeps what it finds."""

    tree: Tree
    meetings: list[Meeting] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def read(self, node: Node) -> None:
        """All of `node`, whose value is used in a way that is not known."""
        if node.kind == IDENT and node.name == NOW:
            self._refuse(node, _UNKNOWN_USE)
        elif node.kind == CALL and node.name in ORDERS | EQUALITIES:
            self._comparison(node)
        elif node.kind == CALL and node.name in UNITS.keys() | TOO_FINE:
            self._part_of_date(node)
        else:
            self._read_all(node.parts())

    def _read_all(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self.read(node)

    def _comparison(self, node: Node) -> None:
        left, right = node.parts()
        (faster, here), (slower, there) = _pace(left), _pace(right)
        self._read_all([*here, *there])
        pace = faster - slower
        if pace == 0:
            return
        if node.name in EQUALITIES:
            self._refuse(node, _EQUAL)
        elif node.looped:
            self._refuse(node, _LOOPED)
        else:
            self.meetings.append(Meeting(self.tree.part(left), self.tree.part(right), pace))

    def _part_of_date(self, node: Node) -> None:
        date, *zones = node.parts()
        pace, still = _pace(date)
        self._read_all([*still, *zones])
        if pace == 0:
            return
        zone = _zone(zones)
        if node.name in TOO_FINE:
            self._refuse(node, _FINE)
        elif pace != 1 or any("duration" in name for name in self.tree.overloads.get(node.id, ())):
            self._refuse(node, _LENGTH)
        elif node.looped and date.kind != IDENT:
            self._refuse(node, _LOOPED)
        elif zone is None:
            self._refuse(node, _ZONE)
        else:
            self.turns.append(Turn(self.tree.part(date), UNITS[node.name], zone))

    def _refuse(self, node: Node, why: str) -> None:
        self.problems.append(Problem(self.tree.offsets.get(node.id, 0), why))


def _pace(node: Node) -> tuple[int, list[Node]]:
    """How many times `now` is in a sum, and its other parts."""
    if node.kind == IDENT and node.name == NOW:
        return 1, []
    parts = list(node.parts()) if node.kind == CALL and node.name in SIGNS else []
    if len(parts) != 2:
        return 0, [node]
    (one, here), (other, there) = map(_pace, parts)
    return one + SIGNS[node.name] * other, here + there


def _zone(written: list[Node]) -> tzinfo | None:
    """The zone that a part of a date is asked for in: UTC where none is written. None: it is no zone, or no text."""
    if not written:
        return UTC
    node = written[0]
    return _zone_named(node.fields[6][0].decode()) if node.kind == CONSTANT and 6 in node.fields else None


@lru_cache(maxsize=256)
def _zone_named(name: str) -> tzinfo | None:
    try:
        if name[:1] in "+-0123456789":  # an offset, which CEL takes with its sign or without
            hours, minutes = name.lstrip("+-").split(":")
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            return timezone(-offset if name[:1] == "-" else offset)
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return None


_UNKNOWN_USE = (
    "it can't be told when this changes: compare moments with <, <=, > or >=, as in computed.last_order_at < "
    'now - duration("720h"), or ask for a part of the date, as in now.getDayOfWeek() == 1'
)
_EQUAL = "two moments are equal for an instant that nobody sees: compare with <, <=, > or >="
_LOOPED = (
    "inside exists, all, map and filter it can't be told when a comparison with now changes: compare one moment that "
    "stands by itself, such as a trait or a computed trait"
)
_FINE = "it would have to be asked every minute or more often: compare moments, or ask for now.getHours()"
_LENGTH = 'for a length of time, compare it: now - timestamp(traits.since) > duration("720h")'
_ZONE = 'write the time zone as a text that names one, as in now.getHours("Europe/Istanbul")'
