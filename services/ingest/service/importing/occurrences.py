"""How many rows that say the same stand before a row: eight bytes of memory for each row without an id of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Prints = NDArray[np.uint64]


class Occurrences:
    """Counts rows by the first 64 bits of their digests.

    Every print is kept in one of few sorted arrays, each at least twice as long as the next; those of rows that were
    met again have their number beside. Two rows that share a print by accident (one chance in 3,000 with a hundred
    million rows) are counted as one, which makes their ids depend on each other's place and on nothing else: an id is
    made of all that the row says.
    """

    def __init__(self) -> None:
        self.levels: list[Prints] = []
        self.repeated: dict[int, int] = {}

    def before(self, digests: Sequence[bytes]) -> list[int]:
        """For each of these rows, in the file's order, how many equal ones came before it; and remember them."""
        prints = np.frombuffer(b"".join(digest[:8] for digest in digests), dtype=np.uint64)
        distinct, first = np.unique(prints, return_index=True)
        known = self._known(distinct)
        again = np.ones(len(prints), dtype=bool)
        again[first[~known]] = False

        numbers = [0] * len(prints)
        for place in np.flatnonzero(again):
            key = int(prints[place])
            numbers[place] = self.repeated[key] = self.repeated.get(key, 0) + 1
        self._keep(distinct[~known])
        return numbers

    def _known(self, prints: Prints) -> NDArray[np.bool_]:
        known = np.zeros(len(prints), dtype=bool)
        for level in self.levels:
            places = np.searchsorted(level, prints)
            known |= level[np.minimum(places, len(level) - 1)] == prints
        return known

    def _keep(self, prints: Prints) -> None:
        """`prints` are sorted and new. Levels of about one length become one, so that there are never many."""
        while self.levels and len(self.levels[-1]) < 2 * len(prints):
            # Stable is the sort that finds what is sorted already, and merges it.
            prints = np.sort(np.concatenate((self.levels.pop(), prints)), kind="stable")
        if len(prints):
            self.levels.append(prints)
