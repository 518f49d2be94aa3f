"""The fits: gradients against differences, parameters found again in simulated customers, and honest failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from scipy.special import gammaln

from services.scoring.domain import bg_nbd, dropout, gamma_gamma, mbg_nbd
from services.scoring.domain.cohort import Cohort
from services.scoring.domain.dropout import Cells
from services.scoring.domain.fitting import Array, Likelihood, NotFitted, covariance, maximise
from services.scoring.domain.model import fitted
from tests.scoring import cdnow

STEP = 1e-5

STARTS = [
    np.log([0.24, 4.4, 0.8, 2.4]),
    np.log([3.0, 20.0, 0.05, 0.05]),
    np.log([0.01, 0.5, 8.0, 60.0]),
]


def cells() -> Cells:
    cohort = cdnow.cohort()
    return Cells.of(cohort.x, cohort.t_x_days, cohort.T_days)


def spending() -> Likelihood:
    cohort = cdnow.cohort()
    repeaters = cohort.x > 0
    return gamma_gamma.likelihood(cohort.x[repeaters].astype(float), cohort.mean_value[repeaters])


def differences(likelihood: Likelihood, logs: Array) -> Array:
    steps = STEP * np.eye(len(logs))
    return np.array([(likelihood(logs + step)[0] - likelihood(logs - step)[0]) / (2 * STEP) for step in steps])


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_first", [False, True], ids=["BG/NBD", "MBG/NBD"])
@pytest.mark.parametrize("logs", STARTS)
def test_the_gradient_of_dropout_is_its_derivative(at_first: bool, logs: Array) -> None:
    likelihood = dropout.likelihood(cells(), at_first=at_first)
    assert likelihood(logs)[1] == pytest.approx(differences(likelihood, logs), rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("logs", [np.log([6.0, 3.7, 15.0]), np.log([0.3, 1.1, 900.0]), np.log([40.0, 0.5, 0.1])])
def test_the_gradient_of_spending_is_its_derivative(logs: Array) -> None:
    likelihood = spending()
    assert likelihood(logs)[1] == pytest.approx(differences(likelihood, logs), rel=1e-5, abs=1e-3)


def test_cells_weigh_what_customers_did() -> None:
    cohort = cdnow.cohort()
    found = cells()
    one_by_one = Cells(
        x=cohort.x.astype(float), at=np.arange(len(cohort)), t_x=cohort.t_x, T=cohort.T, weights=np.ones(len(cohort))
    )
    assert len(found.T) < len(cohort)
    assert found.customers == len(cohort)
    for at_first in (False, True):
        value, gradient = dropout.likelihood(found, at_first=at_first)(STARTS[0])
        plain, plain_gradient = dropout.likelihood(one_by_one, at_first=at_first)(STARTS[0])
        assert value == pytest.approx(plain, rel=1e-12)
        assert gradient == pytest.approx(plain_gradient, rel=1e-9)


def test_the_likelihood_of_one_customer_by_hand() -> None:
    # Fader, Hardie & Lee (2005), eq. 6, in plain numbers.
    r, alpha, a, b = 0.6, 5.0, 0.9, 2.0
    x, t_x, T = 2, 30.0, 38.0
    plain = (
        np.exp(gammaln(r + x) - gammaln(r)) * alpha**r
        * np.exp(gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x))
        * ((alpha + T) ** -(r + x) + a / (b + x - 1) * (alpha + t_x) ** -(r + x))
    )  # fmt: skip
    one = Cells.of(np.array([2]), np.array([210]), np.array([266]))
    assert dropout.likelihood(one, at_first=False)(np.log([r, alpha, a, b]))[0] == pytest.approx(np.log(plain))


@pytest.mark.parametrize("at_first", [False, True])
def test_a_customer_of_thousands_of_purchases_has_a_likelihood(at_first: bool) -> None:
    extreme = Cells.of(np.array([5_000, 0]), np.array([7_000, 0]), np.array([7_000, 0]))
    for logs in [*STARTS, np.log([1e-4, 1e4, 1e-4, 1e4])]:
        value, gradient = dropout.likelihood(extreme, at_first=at_first)(logs)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


# --- parameters ------------------------------------------------------------------------------------------------------


def simulated(seed: int, customers: int, chances_at_first: bool) -> tuple[Cells, Array]:
    """Customers who live by the model, with the parameters they live by: an independent way to know the answer."""
    random = np.random.default_rng(seed)
    parameters = np.array([0.9, 6.0, 1.2, 3.5])
    r, alpha, a, b = parameters
    rates, stops = random.gamma(r, 1 / alpha, customers), random.beta(a, b, customers)
    T = random.integers(180, 400, customers)
    x, t_x = np.zeros(customers, np.int64), np.zeros(customers, np.int64)
    for customer in range(customers):
        now = 0.0
        while not (chances_at_first or now > 0) or random.random() >= stops[customer]:
            now += random.exponential(1 / rates[customer]) * 7
            if now > T[customer]:
                break
            x[customer] += 1
            t_x[customer] = int(now)
    return Cells.of(x, t_x, T), parameters


@pytest.mark.parametrize(("fit", "at_first"), [(bg_nbd.fit, False), (mbg_nbd.fit, True)])
def test_the_parameters_that_customers_live_by_are_found_again(fit: Callable[[Cells], object], at_first: bool) -> None:
    cells, truth = simulated(11, 6_000, at_first)
    found = dropout.fit(cells, at_first=at_first, name="test")
    assert fit(cells) is not None
    errors = np.log(found.parameters) - np.log(truth)
    # Within three of its own standard errors: this tests the covariance too.
    assert np.abs(errors / np.sqrt(np.diag(found.covariance))).max() < 3.5
    assert np.abs(errors).max() < 0.5


def test_spending_that_customers_live_by_is_found_again() -> None:
    random = np.random.default_rng(5)
    p, q, v = 5.0, 4.0, 20.0
    x = random.integers(1, 12, 5_000).astype(float)
    means = random.gamma(p * x, 1 / (random.gamma(q, 1 / v, 5_000) * x))
    found = gamma_gamma.fit(x, means)
    errors = np.log(found.parameters) - np.log([p, q, v])
    assert np.abs(errors / np.sqrt(np.diag(found.covariance))).max() < 3.5


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_the_currency_does_not_matter(scale: float) -> None:
    cohort = cdnow.cohort()
    repeaters = cohort.x > 0
    found = gamma_gamma.fit(cohort.x[repeaters].astype(float), cohort.mean_value[repeaters] * scale)
    assert found.parameters / [1, 1, scale] == pytest.approx([6.2488, 3.74459, 15.44775], rel=0.005)


def test_the_covariance_is_finite_in_flat_directions() -> None:
    def flat(logs: Array) -> tuple[float, Array]:
        return float(-(logs[0] ** 2)), np.array([-2 * logs[0], 0.0])

    found = covariance(flat, np.zeros(2))
    assert found[0, 0] == pytest.approx(0.5, rel=1e-3)
    assert 1e6 < found[1, 1] < np.inf


# --- failures --------------------------------------------------------------------------------------------------------


def cohort_of(x: Array, money: float = 10.0) -> Cohort:
    whole = x.astype(np.int64)
    there = len(whole)
    return Cohort(
        x=whole,
        t_x_days=np.where(whole > 0, 50, 0),
        T_days=np.full(there, 100),
        orders=whole + 1,
        mean_value=np.where(whole > 0, money, 0.0),
        value=np.asarray((x + 1.0) * money),
    )


def fitted_now(cohort: Cohort, minimum: int = 50) -> object:
    return fitted(cohort, datetime(2026, 3, 1, tzinfo=UTC), date(2026, 2, 28), minimum)


def test_too_few_customers_are_told_by_number() -> None:
    with pytest.raises(NotFitted, match="at least 50 customers with a purchase, and there are 7"):
        fitted_now(cohort_of(np.ones(7)))


def test_too_few_who_came_back_are_told_by_number() -> None:
    with pytest.raises(NotFitted, match="at least 50 customers who bought again, and there are 3"):
        fitted_now(cohort_of(np.array([1.0] * 3 + [0.0] * 500)))


def test_customers_of_a_day_are_too_young() -> None:
    young = cohort_of(np.array([0.0, 1.0] * 100))
    with pytest.raises(NotFitted, match="at least 7 days"):
        fitted_now(replace(young, t_x_days=np.minimum(young.t_x_days, 2), T_days=np.full(200, 2)))


def test_who_came_back_for_nothing_does_not_count() -> None:
    with pytest.raises(NotFitted, match="bought again, and there are 0"):
        fitted_now(cohort_of(np.ones(100), money=0.0))


def test_a_search_that_does_not_rest_is_told() -> None:
    def broken(logs: Array) -> tuple[float, Array]:
        return float("nan"), logs * np.nan

    with pytest.raises(NotFitted, match="the search for X's parameters"):
        maximise(broken, np.ones(2), 1.0, "X")


def test_values_without_a_mean_are_told() -> None:
    random = np.random.default_rng(3)
    means = 1 / random.gamma(0.6, 1.0, 800)  # q near 0.6: no mean
    with pytest.raises(NotFitted, match="q = 0"):
        gamma_gamma.fit(np.full(800, 40.0), means)
