"""Evidence: what feedback has taught, as counts that merge.

One row per (offer, feature vector) of a placement. Counts add, so the evidence of a set of outcomes does not depend on
the order in which they became known, and the learner, a function of the evidence, doesn't either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class Counts(NamedTuple):
    """How often an offer was shown and what came of it, counting only what is settled.

    shown: exposures that ended in a click, a dismissal, or silence until their window closed.
    clicked: those of them that were clicked.
    considered: clicks that ended in an acceptance, a dismissal, or silence until theirs closed.
    accepted: those of them that were accepted.
    """

    shown: int = 0
    clicked: int = 0
    considered: int = 0
    accepted: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(*(mine + yours for mine, yours in zip(self, other, strict=True)))

    def minus(self, other: Counts) -> Counts:
        return Counts(*(mine - yours for mine, yours in zip(self, other, strict=True)))


NOTHING = Counts()


@dataclass(frozen=True)
class Evidence:
    """The counts of one placement as arrays, rows grouped by offer.

    offers: the K offers that have any.
    starts: (K + 1,) the rows of offer k are `starts[k]:starts[k + 1]`.
    features: (N, d).
    counts: (N, 4), columns as in `Counts`.
    """

    offers: tuple[str, ...]
    starts: NDArray[np.intp]
    features: Floats
    counts: Floats

    @classmethod
    def of(cls, offers: Sequence[str], owner: NDArray[np.intp], features: Floats, counts: Floats) -> Evidence:
        """Rows in any order: row n is about `offers[owner[n]]`."""
        order = np.argsort(owner, kind="stable")
        starts = np.searchsorted(owner[order], np.arange(len(offers) + 1))
        return cls(tuple(offers), starts, features[order], counts[order])
