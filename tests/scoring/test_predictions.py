"""Predictions: right where others overflow, and moving the way that reason says they must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import hyp2f1
from scipy.stats import beta

from services.scoring.domain import bg_nbd, lifetime_value, mbg_nbd
from services.scoring.domain.cohort import Cohort
from services.scoring.domain.fitting import Array
from services.scoring.domain.lifetime_value import Horizon
from tests.scoring import cdnow

BG_NBD = np.array([0.242593, 4.413532, 0.792886, 2.425752])


def by_integration(parameters: Array, weeks: float, x: float, T: float) -> float:
    """E[purchases | not stopped]: (1 − (β/(β+p·t))^R) / p over p ~ Beta(a, b+x), with R = r+x and β = α+T."""
    r, alpha, a, b = parameters

    def expected(p: float) -> float:
        return float(-np.expm1(-(r + x) * np.log1p(p * weeks / (alpha + T))) / p * beta.pdf(p, a, b + x))

    middle = a / (a + b + x)
    return float(quad(expected, 0, middle, limit=200)[0] + quad(expected, middle, 1, limit=200)[0])


@pytest.mark.parametrize("weeks", [0.5, 39.0, 520.0])
@pytest.mark.parametrize(("x", "T"), [(0, 0.0), (0, 38.86), (2, 38.86), (40, 100.0), (700, 300.0)])
@pytest.mark.parametrize(
    "parameters",
    [BG_NBD, np.array([2.0, 3.0, 1.5, 4.0]), np.array([0.7, 10.0, 1.0, 2.0]), np.array([0.5, 8.0, 0.6, 0.4])],
    ids=["CDNOW", "a > 1", "a = 1", "a + b = 1"],
)
def test_expected_purchases_are_the_integral_they_stand_for(parameters: Array, x: int, T: float, weeks: float) -> None:
    found = bg_nbd.expected_if_alive(parameters, weeks, np.array([float(x)]), np.array([T]))[0]
    assert found == pytest.approx(by_integration(parameters, weeks, x, T), rel=1e-4)


@pytest.mark.parametrize(("x", "T"), [(0, 0.0), (2, 38.86), (40, 100.0), (700, 300.0)])
def test_the_integral_is_good_where_the_series_is_lost(x: int, T: float) -> None:
    where = (np.array([39.0]), np.array([float(x)]), np.array([T]))
    assert bg_nbd.integrated(BG_NBD, *where) == pytest.approx(bg_nbd.expected_if_alive(BG_NBD, *where), rel=1e-4)
    lost = np.exp(np.array([4.0, 0.0, 4.0, 5.0]))  # c − a − b = 1, z = .98: SciPy has no value
    assert np.isnan(hyp2f1(lost[2] + lost[3] - 1 - lost[0], lost[2] - 1, lost[2] + lost[3] - 1, 52 / 53))
    found = bg_nbd.expected_if_alive(lost, 52.0, np.zeros(1), np.zeros(1))[0]
    assert found == pytest.approx(by_integration(lost, 52.0, 0, 0.0), rel=1e-4)


@settings(max_examples=100)
@given(
    st.tuples(*[st.floats(-6, 6)] * 4).map(lambda logs: np.exp(np.array(logs))),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
)
def test_no_customer_is_too_strange_for_an_answer(parameters: Array, x: int, last: int, idle: int) -> None:
    t_x = np.array([last / 7 if x else 0.0])
    x_, T = np.array([float(x)]), t_x + idle / 7
    for probability in (
        bg_nbd.p_alive(parameters, x_, t_x, T),
        mbg_nbd.p_alive(parameters, x_, t_x, T),
        mbg_nbd.p_return(parameters, 13, x_, t_x, T),
    ):
        assert 0 <= probability[0] <= 1
    expected = bg_nbd.expected_purchases(parameters, 52, x_, t_x, T)[0]
    r, alpha, _, _ = parameters
    assert -1e-9 <= expected <= (r + x) / (alpha + T[0]) * 52 * (1 + 1e-6)  # never more than without ever stopping


# --- which way it goes -----------------------------------------------------------------------------------------------

IDLE = np.arange(0.0, 200.0, 5.0)


def test_the_longer_nothing_happens_the_likelier_a_customer_is_lost() -> None:
    parameters = cdnow.model().mbg_nbd.parameters
    for x in (0.0, 1.0, 5.0, 30.0):
        xs, t_x = np.full_like(IDLE, x), np.full_like(IDLE, 30.0 if x else 0.0)
        assert (np.diff(mbg_nbd.p_alive(parameters, xs, t_x, t_x + IDLE)) < 0).all()
        assert (np.diff(mbg_nbd.p_return(parameters, 13, xs, t_x, t_x + IDLE)) < 0).all()


def test_who_bought_once_and_long_ago_is_not_alive_for_ever() -> None:
    model = cdnow.model()
    once = (np.zeros(1), np.zeros(1), np.array([500.0]))
    assert bg_nbd.p_alive(model.bg_nbd.parameters, *once)[0] == 1
    assert mbg_nbd.p_alive(model.mbg_nbd.parameters, *once)[0] < 0.5


def test_a_frequent_buyer_gone_silent_is_lost_sooner_than_a_rare_one() -> None:
    parameters = cdnow.model().mbg_nbd.parameters
    x, t_x, T = np.array([2.0, 20.0]), np.array([30.0, 30.0]), np.array([60.0, 60.0])
    rare, frequent = mbg_nbd.p_alive(parameters, x, t_x, T)
    assert frequent < rare


def test_the_longer_the_time_the_more_is_expected() -> None:
    weeks = np.arange(1.0, 300.0, 7.0)
    many = np.ones_like(weeks)
    for x in (0.0, 3.0, 50.0):
        expected = bg_nbd.expected_purchases(cdnow.model().bg_nbd.parameters, weeks, x * many, 20 * many, 30 * many)
        assert (np.diff(expected) > 0).all()


# --- lifetime value --------------------------------------------------------------------------------------------------


def cohort_of(x: int, t_x: int, T: int, mean_value: float) -> Cohort:
    """One customer, in days."""
    one = np.array
    return Cohort(one([x]), one([t_x]), one([T]), one([x + 1]), one([mean_value]), one([mean_value * (x + 1)]))


def test_margin_and_discount_do_what_they_say() -> None:
    cohort, model = cdnow.cohort(), cdnow.model()
    full = lifetime_value.value(cohort, model, Horizon())
    assert lifetime_value.value(cohort, model, Horizon(margin=0.3)) == pytest.approx(0.3 * full)
    assert (lifetime_value.value(cohort, model, Horizon(monthly_discount=0.05)) < full).all()
    undiscounted = lifetime_value.value(cohort, model, Horizon(monthly_discount=0.0))
    worth = lifetime_value.worth(cohort, model, Horizon())
    assert undiscounted == pytest.approx(worth.purchases * worth.per_purchase)


def test_the_interval_is_that_of_parameters_drawn_from_their_covariance() -> None:
    # The delta method against what it approximates: draw parameters, compute the LTV with each, take the middle 90 %.
    model, random = cdnow.model(), np.random.default_rng(1)
    cohort = cohort_of(2, 213, 272, 22.35)
    drawn = []
    for dropouts, spendings in zip(
        random.multivariate_normal(np.log(model.bg_nbd.parameters), np.array(model.bg_nbd.covariance), 800),
        random.multivariate_normal(np.log(model.gamma_gamma.parameters), np.array(model.gamma_gamma.covariance), 800),
        strict=True,
    ):
        r, alpha, a, b = np.exp(dropouts)
        p, q, v = np.exp(spendings)
        moved = cdnow.moved(model, (r, alpha, a, b), (p, q, v))
        drawn.append(lifetime_value.value(cohort, moved, Horizon())[0])
    worth = lifetime_value.worth(cohort, model, Horizon())
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert np.log(worth.high[0] / worth.low[0]) == pytest.approx(np.log(high / low), rel=0.15)
    assert worth.low[0] == pytest.approx(low, rel=0.02)


def test_refunds_beyond_the_price_leave_a_customer_of_little_worth_but_not_of_less_than_none() -> None:
    worth = lifetime_value.worth(cohort_of(3, 100, 120, -5.0), cdnow.model(), Horizon())
    assert 0 < worth.low[0] <= worth.value[0] <= worth.high[0] < np.inf


def test_the_strangest_customers_have_finite_values() -> None:
    for x, t_x, T in ((0, 0, 0), (0, 0, 20_000), (5_000, 6_000, 6_000), (5_000, 5_001, 20_000), (1, 1, 20_000)):
        worth = lifetime_value.worth(cohort_of(x, t_x, T, 1e6), cdnow.model(), Horizon())
        for values in (worth.value, worth.low, worth.high, worth.purchases, worth.per_purchase):
            assert np.isfinite(values).all(), (x, t_x, T)
