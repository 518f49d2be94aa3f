"""BG/NBD (Fader, Hardie & Lee 2005): how many purchases to expect. Arrays: one entry a customer; weeks."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, hyp2f1, log_expit

from services.scoring.domain import dropout
from services.scoring.domain.dropout import Cells
from services.scoring.domain.fitting import Array, Estimate

NEAR_POLE = 1e-6
"""The formulas have removable poles at a = 1 and a + b + x = 1: this near to one, a neighbour is as good."""

QUANTILES = 64
"""Of the chance to stop, where the mean over it is computed by quadrature."""

SMALLEST_P = 1e-12
"""A chance to stop under this is none, in any lifetime."""


def fit(cells: Cells) -> Estimate:
    """(r, α, a, b). Raises NotFitted."""
    return dropout.fit(cells, at_first=False, name="BG/NBD")


def p_alive(parameters: Array, x: Array, t_x: Array, T: Array) -> Array:
    """That a customer has not stopped. By construction 1 for everyone with one purchase: see MBG/NBD for churn."""
    return np.asarray(np.exp(ln_p_alive(parameters, x, t_x, T)))


def ln_p_alive(parameters: Array, x: Array, t_x: Array, T: Array) -> Array:
    """Its logarithm, which is still a number where the probability itself is too small to be one."""
    r, alpha, a, b = parameters
    log_odds = (r + x) * np.log((alpha + T) / (alpha + t_x)) + np.log(a / (b + np.maximum(x, 1) - 1))
    return np.where(x > 0, log_expit(-log_odds), 0.0)


def expected_if_alive(parameters: Array, weeks: Array | float, x: Array, T: Array) -> Array:
    """E[purchases in the next `weeks` | not stopped yet]: eq. 10 without its denominator, which is 1 / P(alive).

    With z = weeks / (α+T+weeks), the paper's `(1−z)^(r+x) · ₂F₁(r+x, b+x; a+b+x−1; z)` overflows for a few hundred
    purchases, and what Euler's transformation makes of it, `(1−z)^(a−1) · ₂F₁(a+b−1−r, a−1; a+b+x−1; z)`, does where
    a is large. Of the two that one is computed whose ₂F₁ stays finite as z goes to 1. Where SciPy has no value for it
    (z > .9, large parameters, c−a−b a whole number), the integral that it stands for.
    """
    r, alpha, a, b = parameters
    a = _away_from(a, 1.0)
    c = _away_from(a + b + x - 1, 0.0)
    z = weeks / (alpha + T + weeks)
    as_printed = a - 1 > r + x
    power = np.where(as_printed, r + x, a - 1)
    series = hyp2f1(np.where(as_printed, b + x, a + b - 1 - r), power, c, z)
    with np.errstate(invalid="ignore"):  # 0 · ∞ where the series overflowed: NaN, and mended below
        expected = np.asarray(c / (a - 1) * (1 - np.exp(power * np.log1p(-z)) * series))
    lost = ~np.isfinite(expected)
    if lost.any():
        there = (np.broadcast_to(each, expected.shape)[lost] for each in (weeks, x, T))
        expected[lost] = integrated(parameters, *there)
    return expected


def integrated(parameters: Array, weeks: Array, x: Array, T: Array) -> Array:
    """The same as the mean, over p ~ Beta(a, b+x), of (1 − ((α+T)/(α+T+p·weeks))^(r+x)) / p: slower, never undefined.

    By Gauss-Legendre over the quantiles of p: good to one part in ten thousand.
    """
    r, alpha, a, b = parameters
    nodes, weights = np.polynomial.legendre.leggauss(QUANTILES)
    p = np.maximum(betaincinv(a, b + x[:, None], (nodes + 1) / 2), SMALLEST_P)
    a_purchase_each = -np.expm1(-(r + x[:, None]) * np.log1p(p * (weeks / (alpha + T))[:, None])) / p
    return np.asarray(a_purchase_each @ weights / 2)


def expected_purchases(parameters: Array, weeks: Array | float, x: Array, t_x: Array, T: Array) -> Array:
    """E[purchases in the next `weeks`] of customers with these histories. Eq. 10."""
    return expected_if_alive(parameters, weeks, x, T) * p_alive(parameters, x, t_x, T)


def expected_since_first(parameters: Array, weeks: Array) -> Array:
    """E[repeat purchases in the first `weeks`] of a customer of whom nothing else is known. Eq. 9."""
    nothing = np.zeros_like(weeks)
    return expected_if_alive(parameters, weeks, nothing, nothing)


def _away_from(value: Array | float, pole: float) -> Array:
    return np.where(np.abs(np.asarray(value) - pole) < NEAR_POLE, pole + NEAR_POLE, value)
