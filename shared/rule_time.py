"""Where a rule over `now` may come out otherwise with nothing else having changed (when: shared/rule_due.py).

A rule changes by time in two ways that can be foreseen:

- a comparison of moments or durations, as in `computed.last_order_at < now - duration("720h")`. Each side is the sum of
  what does not move and of so many times `now`: so the moment at which both sides meet can be worked out;
- a part of the date, as in `now.getDayOfWeek() == 1`, which changes at midnight or at the full hour.

Where `now` is used otherwise nobody can say when to look again: those places are `problems`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.rule_tree import CALL, CONSTANT, IDENT, Node, Tree

NOW = "now"

ORDERS = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
EQUALITIES = frozenset({"_==_", "_!=_"})
SIGNS = {"_+_": 1, "_-_": -1}

DAY_PARTS = frozenset({"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"})
UNITS: dict[str, Literal["day", "hour"]] = {**dict.fromkeys(DAY_PARTS, "day"), "getHours": "hour"}
TOO_FINE = frozenset({"getMinutes", "getSeconds", "getMilliseconds"})


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a sum that does not move: `sign` times what stands there.

    `path`: to a fact, where it is just that; else `part` as `Tree.part` gives it. `reads`: whether it reads any facts.
    """

    sign: int
    path: tuple[str, ...]
    part: bytes
    reads: bool


@dataclass(frozen=True, slots=True)
class Meeting:
    """A comparison that turns where its sides meet: where `terms` and `pace` times now come to nothing.

    They are the left side less the right one. `pace` is never 0.
    """

    terms: tuple[Term, ...]
    pace: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A part of the date that is `terms` before or after now, as it is read in `zone`."""

    terms: tuple[Term, ...]
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
        (faster, here), (slower, there) = _sum(left, 1), _sum(right, -1)
        self._read_all(each for _, each in (*here, *there))
        pace = faster + slower
        if pace == 0:
            return
        if node.name in EQUALITIES:
            self._refuse(node, _EQUAL)
        elif node.looped:
            self._refuse(node, _LOOPED)
        else:
            self.meetings.append(Meeting(self._terms(*here, *there), pace))

    def _part_of_date(self, node: Node) -> None:
        date, *zones = node.parts()
        pace, still = _sum(date, 1)
        self._read_all([*(each for _, each in still), *zones])
        if pace == 0:
            return
        zone = _zone(zones)
        if node.name in TOO_FINE:
            self._refuse(node, _FINE)
        elif pace != 1 or any("duration" in name for name in self.tree.overloads.get(node.id, ())):
            self._refuse(node, _LENGTH)
        elif node.looped and still:
            self._refuse(node, _LOOPED)
        elif zone is None:
            self._refuse(node, _ZONE)
        else:
            self.turns.append(Turn(self._terms(*still), UNITS[node.name], zone))

    def _terms(self, *signed: tuple[int, Node]) -> tuple[Term, ...]:
        return tuple(
            Term(
                sign,
                tuple(filter(None, node.chain().split("."))),
                self.tree.part(node),
                any(inner.kind == IDENT for inner in node.walk()),
            )
            for sign, node in signed
        )

    def _refuse(self, node: Node, why: str) -> None:
        self.problems.append(Problem(self.tree.offsets.get(node.id, 0), why))


def _sum(node: Node, sign: int) -> tuple[int, list[tuple[int, Node]]]:
    """`sign` times `node`: how many times `now` is in it, and its other parts, each with its sign."""
    if node.kind == IDENT and node.name == NOW:
        return sign, []
    parts = list(node.parts()) if node.kind == CALL and node.name in SIGNS else []
    if len(parts) != 2:
        return 0, [(sign, node)]
    (one, here), (other, there) = _sum(parts[0], sign), _sum(parts[1], sign * SIGNS[node.name])
    return one + other, here + there


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
