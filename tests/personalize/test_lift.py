"""Lift: differences with intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from services.personalize.domain.lift import UNKNOWN, Group, conversion, value


def group(orders: np.ndarray) -> Group:
    """People with these order values; who has none has not ordered."""
    return Group(len(orders), int((orders > 0).sum()), float(orders.mean()), float(orders.var(ddof=1)))


def test_the_interval_of_value_is_welchs() -> None:
    random = np.random.default_rng(1)
    treated, holdout = random.exponential(10, 300), random.exponential(8, 20)
    found = value(group(treated), group(holdout))
    interval = stats.ttest_ind(treated, holdout, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(treated.mean() - holdout.mean())


@pytest.mark.parametrize(("p", "q"), [(0.05, 0.05), (0.01, 0.03), (0.5, 0.3)])
def test_the_interval_of_conversion_covers_the_truth(p: float, q: float) -> None:
    """In 95 % of experiments with 400 people against 30; binomial error of 2,000 experiments: half a point."""
    random = np.random.default_rng(2)
    covered = 0
    for treated, holdout in zip(random.binomial(400, p, 2_000), random.binomial(30, q, 2_000), strict=True):
        found = conversion(Group(400, int(treated)), Group(30, int(holdout)))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= p - q <= found.high
    assert covered / 2_000 > 0.93


def test_with_too_few_people_nothing_is_said() -> None:
    some = Group(10, 3, 5.0, 2.0)
    assert conversion(some, Group()) == UNKNOWN
    assert value(some, Group(1, 1, 3.0, 0.0)) == UNKNOWN


def test_where_all_are_alike_there_is_no_interval_to_speak_of() -> None:
    found = value(Group(10, 0, 0.0, 0.0), Group(10, 0, 0.0, 0.0))
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
