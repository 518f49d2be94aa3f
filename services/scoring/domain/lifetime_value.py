"""Lifetime value: what the purchases still to come are worth today, and how sure the model is of it.

LTV = Σ over months of E[purchases in the month] · E[M] · margin / (1+d)^month, with months of 4.345 weeks.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from services.scoring.domain import bg_nbd, gamma_gamma
from services.scoring.domain.cohort import Cohort
from services.scoring.domain.fitting import Array
from services.scoring.domain.model import Model

WEEKS_A_MONTH = 4.345

NINETY_PERCENT = 1.6448536269514722
"""Standard deviations to either side of the mean that hold 90 % of a normal distribution."""

STEP = 1e-3
"""Of the differences in the logarithms of the parameters: they are then right to about 1e-6."""

WIDEST = 20.0
"""Logarithms that a bound may be away from the value: a model that knows so little says so, in finite numbers."""


class Horizon(msgspec.Struct, frozen=True):
    """How far ahead scores look. Discount by month; margin is the share of a sale's money that stays."""

    ltv_months: int = 12
    monthly_discount: float = 0.01
    margin: float = 1.0
    churn_weeks: int = 13


@dataclass(frozen=True)
class Worth:
    """One entry a customer. `purchases` are those expected within the horizon, `per_purchase` their mean value."""

    value: Array
    low: Array
    high: Array
    purchases: Array
    per_purchase: Array


def worth(cohort: Cohort, model: Model, horizon: Horizon) -> Worth:
    """Each customer's LTV with its 90 % interval.

    The interval is the delta method on ln LTV over the covariance of the parameters of BG/NBD and Gamma-Gamma (two
    separate fits, so without covariance between them). It says how far the *expected* value could be off because
    the parameters were estimated from a limited number of customers. It does not cover what this one customer
    happens to do, nor the model being wrong: single customers will fall outside of it far more often than one in ten.
    """
    x = cohort.x.astype(float)
    mean = value(cohort, model, horizon)
    spread = np.exp(np.minimum(NINETY_PERCENT * np.sqrt(_ln_variance(cohort, model, horizon)), WIDEST))
    return Worth(
        value=mean,
        low=mean / spread,
        high=mean * spread,
        purchases=bg_nbd.expected_purchases(
            model.bg_nbd.parameters, horizon.ltv_months * WEEKS_A_MONTH, x, cohort.t_x, cohort.T
        ),
        per_purchase=gamma_gamma.expected_value(model.gamma_gamma.parameters, x, cohort.mean_value),
    )


def value(cohort: Cohort, model: Model, horizon: Horizon) -> Array:
    """Each customer's LTV, alone: what reports over everybody need."""
    x = cohort.x.astype(float)
    parameters = model.bg_nbd.parameters
    purchases = _discounted_if_alive(parameters, x, cohort.T, horizon)
    purchases *= bg_nbd.p_alive(parameters, x, cohort.t_x, cohort.T)
    per_purchase = gamma_gamma.expected_value(model.gamma_gamma.parameters, x, cohort.mean_value)
    return np.asarray(purchases * per_purchase * horizon.margin)


def _discounted_if_alive(parameters: Array, x: Array, T: Array, horizon: Horizon) -> Array:
    """Σ over months of E[purchases in the month | not stopped yet] / (1+d)^month."""
    months: Array = np.arange(1.0, horizon.ltv_months + 1)
    by_then = bg_nbd.expected_if_alive(parameters, months[:, None] * WEEKS_A_MONTH, x, T)
    in_month = np.diff(by_then, axis=0, prepend=0.0)
    return np.asarray(in_month.T @ (1 + horizon.monthly_discount) ** -months)


def _ln_variance(cohort: Cohort, model: Model, horizon: Horizon) -> Array:
    """Var[ln LTV] of each customer, from the covariance of the log parameters: Σᵢⱼ gᵢ Cᵢⱼ gⱼ, for both models."""
    x = cohort.x.astype(float)
    purchases = _purchases_gradient(cohort, model.bg_nbd.parameters, horizon)
    money = gamma_gamma.expected_value_gradient(model.gamma_gamma.parameters, x, cohort.mean_value)
    return _quadratic(purchases, np.array(model.bg_nbd.covariance)) + _quadratic(
        money, np.array(model.gamma_gamma.covariance)
    )


def _purchases_gradient(cohort: Cohort, parameters: Array, horizon: Horizon) -> Array:
    """∂ ln(discounted expected purchases) / ∂ (ln r, ln α, ln a, ln b): four rows, one column a customer.

    By differences: ₂F₁ has no closed derivative in its parameters.
    """
    x = cohort.x.astype(float)

    def ln_purchases(logs: Array) -> Array:
        moved = np.exp(logs)
        discounted = _discounted_if_alive(moved, x, cohort.T, horizon)
        return np.asarray(np.log(discounted) + bg_nbd.ln_p_alive(moved, x, cohort.t_x, cohort.T))

    logs = np.log(parameters)
    steps = STEP * np.eye(len(logs))
    return np.stack([(ln_purchases(logs + step) - ln_purchases(logs - step)) / (2 * STEP) for step in steps])


def _quadratic(gradient: Array, covariance: Array) -> Array:
    return np.asarray(np.maximum(np.einsum("ik,ij,jk->k", gradient, covariance, gradient), 0.0))
