"""RFM: recency, frequency, monetary value, each scored 1 to 5 by exact percentile cuts over all customers.

A score is 1 + the number of cuts strictly exceeded; recency is reversed, since few idle days are good. Whole numbers
tie, so some scores can come out empty (where 60 % bought once, nobody has a frequency of 2): `empty` says which.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from services.scoring.domain.cohort import Cohort, Integers
from services.scoring.domain.fitting import Array

SHARES = (0.2, 0.4, 0.6, 0.8)

SCORES = (1, 2, 3, 4, 5)

# Rows: recency 5 (just bought) down to 1; columns: frequency 1 to 5. Money is not in it: that is lifetime value's part.
SEGMENTS = (
    ("New", "Promising", "Promising", "Champions", "Champions"),
    ("New", "Promising", "Promising", "Loyal", "Loyal"),
    ("Needs attention", "Needs attention", "Needs attention", "Loyal", "Loyal"),
    ("Almost lost", "Almost lost", "At risk", "At risk", "At risk"),
    ("Dormant", "Dormant", "Almost lost", "At risk", "At risk"),
)


class Cuts(msgspec.Struct, frozen=True):
    """The four values between the fifths of all customers: idle days, purchase days, money."""

    recency: tuple[float, float, float, float]
    frequency: tuple[float, float, float, float]
    monetary: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scores:
    """One entry a customer, each 1 to 5."""

    recency: Integers
    frequency: Integers
    monetary: Integers

    @property
    def segments(self) -> list[str]:
        return [
            segment(recency, frequency)
            for recency, frequency in zip(self.recency.tolist(), self.frequency.tolist(), strict=True)
        ]


def cuts(cohort: Cohort) -> Cuts:
    """The cuts of these customers, at least one, as PostgreSQL's `percentile_cont` gives them."""
    recency, frequency, monetary = (
        tuple(np.quantile(values, SHARES).round(6).tolist())
        for values in (cohort.idle_days, cohort.frequency, cohort.value)
    )
    return Cuts(recency, frequency, monetary)


def scores(cohort: Cohort, cuts: Cuts) -> Scores:
    """Each customer's three scores by these cuts."""
    return Scores(
        recency=5 - _exceeded(cohort.idle_days, cuts.recency),
        frequency=1 + _exceeded(cohort.frequency, cuts.frequency),
        monetary=1 + _exceeded(cohort.value, cuts.monetary),
    )


def segment(recency: int, frequency: int) -> str:
    """The name of a place in the grid."""
    return SEGMENTS[5 - recency][frequency - 1]


def empty(counts: dict[int, int]) -> list[int]:
    """The scores that no customer has."""
    return [score for score in SCORES if not counts.get(score)]


def _exceeded(values: Integers | Array, cuts: tuple[float, ...]) -> Integers:
    # Sorted cuts: the place on the left of equals is the number of cuts strictly below the value.
    return np.searchsorted(np.asarray(cuts), values, side="left").astype(np.int64)
