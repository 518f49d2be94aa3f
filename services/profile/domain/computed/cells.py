"""The aggregates. A cell is what the events of one day (or of all time) add up to.

Folding cells is commutative and associative: sums are exact, of whole micros; "first" and "last" go by event time; and
of samples (sketches.py) it does not matter in which pieces they were taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from services.profile.domain.computed import sketches
from services.profile.domain.computed.sketches import scalar
from services.profile.domain.traits import Word
from shared.amounts import MICROS, micros

Cell = Any

LONGEST = 200
"""Characters of a text that is kept as a value. A longer one is no word that anybody would compare with."""


LARGEST = Decimal(10) ** 21
"""Of a number, up or down: moments count, too, in nanoseconds even. All six decimals of it are still exact (Decimal
calculates with 28 digits), and so is its cell: whole numbers of any size are stored as they are.
"""


class Happened(Protocol):
    """What a cell needs to know of an event."""

    @property
    def at(self) -> datetime: ...
    @property
    def touchpoint_id(self) -> str: ...
    @property
    def source(self) -> str: ...


class Answer(msgspec.Struct, frozen=True):
    """What it comes out as; None where it can't be known. `exact`: whether it is of all values, and not of a sample."""

    value: Any
    exact: bool = True


class Aggregate(msgspec.Struct, frozen=True):
    """How one is computed: `cell` of one event and its value (None: it does not count), `fold` of cells of one day,
    `answer` of the cells of all days that are asked for. `days`: the type of its state, days to cells.
    """

    days: Any
    cell: Callable[[Happened, Any], Cell | None]
    fold: Callable[[Sequence[Cell]], Cell]
    answer: Callable[[Sequence[Cell]], Answer]


@lru_cache(maxsize=1024)
def aggregate(name: str, window_days: int | None) -> Aggregate:
    """The aggregate of that name over such a window."""
    if name == "distinct":
        size = sketches.room(sketches.HASHES, window_days)
        return Aggregate(
            dict[int, tuple[int, ...]],
            lambda _, value: sketches.seen(value),
            lambda cells: sketches.hashes(cells, size),
            lambda cells: Answer(*sketches.distinct(cells, size)),
        )
    if name == "most_frequent":
        size = sketches.room(sketches.VALUES, window_days)
        return Aggregate(
            dict[int, dict[str, int]],
            lambda _, value: None if _kept(value) is None else {sketches.written(scalar(value)): 1},
            lambda cells: sketches.tallies(cells, size),
            lambda cells: Answer(*sketches.most_frequent(cells, size)),
        )
    return _PLAIN[name]


def _kept(value: Any) -> Any:
    """`value` as it is kept; None for what is not: null, lists, objects, long texts."""
    plain = scalar(value)
    return None if isinstance(plain, str) and len(plain) > LONGEST else plain


def _said(event: Happened, value: Any) -> Word | None:
    kept = _kept(value)
    return None if kept is None else Word(event.at, event.touchpoint_id, event.source, kept)


def _micros(_: Happened, value: Any) -> int | None:
    return micros(value, LARGEST)


def _amount(event: Happened, value: Any) -> tuple[int, int] | None:
    amount = _micros(event, value)
    return None if amount is None else (amount, 1)


def _summed(cells: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(amount for amount, _ in cells), sum(count for _, count in cells)


def _average(cells: Sequence[tuple[int, int]]) -> Answer:
    amount, count = _summed(cells)
    return Answer(amount / (count * MICROS) if count else None)


def _number(amount: int | None) -> Answer:
    return Answer(None if amount is None else amount / MICROS)


def _first(cells: Sequence[Word]) -> Word:
    return min(cells, key=lambda each: each.place)


def _last(cells: Sequence[Word]) -> Word:
    return max(cells, key=lambda each: each.place)


_AMOUNTS = dict[int, tuple[int, int]]
_SAYINGS = dict[int, Word]

_PLAIN = {
    "count": Aggregate(dict[int, int], lambda *_: 1, sum, lambda cells: Answer(sum(cells))),
    "sum": Aggregate(_AMOUNTS, _amount, _summed, lambda cells: _number(_summed(cells)[0])),
    "average": Aggregate(_AMOUNTS, _amount, _summed, _average),
    "min": Aggregate(dict[int, int], _micros, min, lambda cells: _number(min(cells, default=None))),
    "max": Aggregate(dict[int, int], _micros, max, lambda cells: _number(max(cells, default=None))),
    "first": Aggregate(_SAYINGS, _said, _first, lambda cells: Answer(_first(cells).value if cells else None)),
    "last": Aggregate(_SAYINGS, _said, _last, lambda cells: Answer(_last(cells).value if cells else None)),
}
