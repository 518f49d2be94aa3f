"""RFM: cuts as a database would make them, scores that every customer gets, names for all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scoring.domain import rfm
from services.scoring.domain.cohort import Cohort


def cohort_of(customers: list[tuple[int, int, int]]) -> Cohort:
    """Customers of (idle days, purchase days, cents)."""
    idle, days, cents = np.array(customers).T
    nothing = np.zeros(len(customers), np.int64)
    return Cohort(days - 1, nothing, idle, days, nothing.astype(float), cents / 100)


CUSTOMERS = st.lists(
    st.tuples(st.integers(0, 900), st.integers(1, 12), st.integers(-5_00, 900_00)), min_size=1, max_size=60
)


def percentile_cont(values: list[float], share: float) -> float:
    """As PostgreSQL documents it: between the two neighbours of the place, by the part of the way."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@settings(max_examples=80)
@given(CUSTOMERS)
def test_cuts_are_those_of_percentile_cont(customers: list[tuple[int, int, int]]) -> None:
    cuts = rfm.cuts(cohort_of(customers))
    idle, days, money = zip(*((float(idle), float(days), cents / 100) for idle, days, cents in customers), strict=True)
    for found, values in ((cuts.recency, idle), (cuts.frequency, days), (cuts.monetary, money)):
        assert np.allclose(found, [percentile_cont(list(values), share) for share in rfm.SHARES])


@settings(max_examples=80)
@given(CUSTOMERS)
def test_a_score_is_one_plus_the_cuts_strictly_exceeded(customers: list[tuple[int, int, int]]) -> None:
    cohort = cohort_of(customers)
    cuts = rfm.cuts(cohort)
    scores = rfm.scores(cohort, cuts)
    for place, (idle, days, cents) in enumerate(customers):
        assert scores.recency[place] == 5 - sum(idle > cut for cut in cuts.recency)
        assert scores.frequency[place] == 1 + sum(days > cut for cut in cuts.frequency)
        assert scores.monetary[place] == 1 + sum(cents / 100 > cut for cut in cuts.monetary)


def test_fifths_are_fifths_where_nobody_ties() -> None:
    cohort = cohort_of([(day, day + 1, day * 100) for day in range(100)])
    scores = rfm.scores(cohort, rfm.cuts(cohort))
    for values in (scores.recency, scores.frequency, scores.monetary):
        assert np.bincount(values, minlength=6)[1:].tolist() == [20, 20, 20, 20, 20]


def test_where_all_are_alike_scores_are_empty_and_it_is_said() -> None:
    cohort = cohort_of([(3, 1, 500)] * 50)
    scores = rfm.scores(cohort, rfm.cuts(cohort))
    assert set(scores.frequency.tolist()) == {1}
    assert set(scores.recency.tolist()) == {5}
    assert rfm.empty({1: 50}) == [2, 3, 4, 5]


def test_every_place_in_the_grid_has_a_name_and_the_known_ones_are_in_theirs() -> None:
    names = {rfm.segment(recency, frequency) for recency in rfm.SCORES for frequency in rfm.SCORES}
    assert names >= {"Champions", "Loyal", "Promising", "New", "At risk", "Almost lost", "Dormant"}
    assert rfm.segment(5, 5) == "Champions"
    assert rfm.segment(4, 5) == "Loyal"
    assert rfm.segment(5, 1) == "New"
    assert rfm.segment(1, 1) == "Dormant"
    assert rfm.segment(1, 5) == "At risk"
