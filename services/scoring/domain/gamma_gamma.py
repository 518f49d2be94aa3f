"""Gamma-Gamma (Fader & Hardie 2013): how much a purchase brings. Money is in the account's currency."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, gammaln

from services.scoring.domain.fitting import Array, Estimate, Likelihood, NotFitted, maximise


def fit(x: Array, mean_value: Array) -> Estimate:
    """(p, q, v) from customers with repeat purchases: `x` ≥ 1 of `mean_value` > 0 each. Raises NotFitted."""
    start = np.array([2.0, 3.0, float(mean_value.mean())])
    estimate = maximise(likelihood(x, mean_value), start, len(x), "Gamma-Gamma")
    if estimate.parameters[1] <= 1:
        raise NotFitted(
            "the values of these customers' purchases spread too far for Gamma-Gamma to give them a mean "
            f"(q = {estimate.parameters[1]:.2f}, and it must be more than 1)"
        )
    return estimate


def expected_value(parameters: Array, x: Array, mean_value: Array) -> Array:
    """E[M] = p(v + x·z̄) / (px + q − 1): a customer's own mean, drawn to everybody's where purchases are few.

    Refunds can bring a mean below zero; a future purchase is not expected to bring less than nothing.
    """
    p, q, v = parameters
    return np.asarray(p * (v + x * np.maximum(mean_value, 0)) / (p * x + q - 1))


def expected_value_gradient(parameters: Array, x: Array, mean_value: Array) -> Array:
    """∂ ln E[M] / ∂ (ln p, ln q, ln v): three rows, one column a customer."""
    p, q, v = parameters
    denominator = p * x + q - 1
    return np.stack([
        1 - p * x / denominator,
        -q / denominator + 0 * x,
        v / (v + x * np.maximum(mean_value, 0)),
    ])  # fmt: skip


def likelihood(x: Array, mean_value: Array) -> Likelihood:
    """The customers' log-likelihood (eq. 1a) and its gradient, as a function of (ln p, ln q, ln v)."""
    total = x * mean_value
    ln_total, sum_ln_z, n = np.log(total), np.log(mean_value).sum(), len(x)

    def evaluate(logs: Array) -> tuple[float, Array]:
        p, q, v = np.exp(logs)
        shape = p * x
        ln_both = np.log(total + v)
        value = (gammaln(shape + q) - gammaln(shape) + shape * ln_total - (shape + q) * ln_both).sum()
        value += n * (q * logs[2] - gammaln(q)) - sum_ln_z

        psi = digamma(shape + q)
        by_p = (x * (psi - digamma(shape) + ln_total - ln_both)).sum()
        by_q = (psi - ln_both).sum() + n * (logs[2] - digamma(q))
        by_v = n * q / v - ((shape + q) / (total + v)).sum()
        return float(value), np.array([by_p * p, by_q * q, by_v * v])

    return evaluate
