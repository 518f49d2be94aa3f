"""Distinct values and the most frequent one: exact while there are few, and then of a sample that is fair.

The sample are the values with the smallest hashes (k minimum values: Bar-Yossef et al. 2002, "Counting distinct
elements in a data stream"; Beyer et al. 2007, "On synopses for distinct-value estimation under multiset operations").
Which values those are follows from the set of all values: so samples are taken in pieces, in any order, and come out
the same. One more than `room` is kept: it bears witness that there are more, and its hash is the threshold below which
the sample is whole. Over several days the lowest threshold of all holds (Dasgupta et al. 2016, "A framework for
estimating stream expression cardinalities"): so a window is exact unless one of its days had too many values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

HASHES = 1024
"""Distinct values of all time that are counted exactly; past that the error is about 3 %."""

VALUES = 200
"""Different values of all time whose frequencies are all kept."""

FEWEST = 16
"""Of either, for one day of a long window."""

SPACE = 2**64
"""How many hashes there are."""

Hashes = tuple[int, ...]
Tallies = Mapping[str, int]


def room(all_time: int, window_days: int | None) -> int:
    """How many values a cell keeps. The days of a window have, together, some more than all time has."""
    return all_time if window_days is None else min(all_time, max(FEWEST, 2 * all_time // window_days))


def scalar(value: Any) -> Any:
    """`value` where it is a text, a number or a truth value, else None. 1.0 is 1: JSON knows one kind of number."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, str | bool | int | float) else None


def written(value: Any) -> str:
    """A scalar as JSON, so that the text `1` and the number are two values."""
    return msgspec.json.encode(value).decode()


def seen(value: Any) -> Hashes | None:
    """The cell of one value."""
    plain = scalar(value)
    return None if plain is None else (_hash(written(plain)),)


def hashes(cells: Iterable[Hashes], size: int) -> Hashes:
    """The smallest hashes of all cells."""
    return tuple(sorted(set(chain.from_iterable(cells)))[: size + 1])


def distinct(cells: Sequence[Hashes], size: int) -> tuple[int, bool]:
    """How many values there are, and whether that is exact."""
    threshold = min((cell[-1] for cell in cells if len(cell) > size), default=None)
    everything = set(chain.from_iterable(cells))
    if threshold is None:
        return len(everything), True
    return round(sum(each < threshold for each in everything) * SPACE / threshold), False


def tallies(cells: Sequence[Tallies], size: int) -> Tallies:
    """The counts of the values with the smallest hashes."""
    added = _added(cells)
    if len(added) <= size:
        return added
    return {value: added[value] for value in sorted(added, key=_place)[: size + 1]}


def most_frequent(cells: Sequence[Tallies], size: int) -> tuple[Any, bool]:
    """The value that comes most often, of several the first by what is written; and whether all values were looked at.

    Only values below every threshold are compared: of the others some days may have been forgotten.
    """
    threshold = min((max(map(_place, cell)) for cell in cells if len(cell) > size), default=None)
    added = _added(cells)
    whole = added if threshold is None else {each: added[each] for each in added if _place(each) < threshold}
    best = min(whole, key=lambda each: (-whole[each], each), default=None)
    return (None if best is None else msgspec.json.decode(best)), threshold is None


def _added(cells: Iterable[Tallies]) -> dict[str, int]:
    total: dict[str, int] = {}
    for value, count in chain.from_iterable(cell.items() for cell in cells):
        total[value] = total.get(value, 0) + count
    return dict(sorted(total.items()))


def _place(value: str) -> tuple[int, str]:
    return _hash(value), value


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
