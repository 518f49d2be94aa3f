"""Maximum likelihood: what the three models' fits have in common.

Every parameter is positive, so the search goes over logarithms. L-BFGS with the analytic gradient; the covariance is
the inverse of the observed information, whose entries are differences of that gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]
Likelihood = Callable[[Array], tuple[float, Array]]
"""Log parameters → log-likelihood, and its gradient in them."""

REACH = 9.0
"""How far, in logarithms, a parameter may go from its start: past a factor of 8,000 the data say nothing of it."""

STEP = 1e-4
"""Of the differences of the gradient, in logarithms: their error is near 1e-8."""


class NotFitted(Exception):
    """These customers don't give a model; the text says why."""


@dataclass(frozen=True)
class Estimate:
    """Parameters in the order of the likelihood's, the covariance of their logarithms, the log-likelihood there."""

    parameters: Array
    covariance: Array
    log_likelihood: float


def maximise(likelihood: Likelihood, start: Array, observations: float, name: str) -> Estimate:
    """The most likely parameters, sought from `start` (on the parameters' own scale).

    `observations` only scales the search, so that its tolerances mean the same for few customers and for many.
    Raises NotFitted, which names the model.
    """

    def loss(logs: Array) -> tuple[float, Array]:
        value, gradient = likelihood(logs)
        return -value / observations, -gradient / observations

    begin = np.log(start)
    found = minimize(
        loss,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=[(each - REACH, each + REACH) for each in begin],
        options={"maxiter": 1_000, "ftol": 1e-14, "gtol": 1e-8},
    )
    logs: Array = found.x
    value, gradient = likelihood(logs)
    inside = np.abs(logs - begin) < REACH
    if not np.isfinite(value) or np.abs(gradient[inside] / observations).max(initial=0.0) > 1e-4:
        raise NotFitted(f"the search for {name}'s parameters did not come to rest: {found.message}")
    return Estimate(np.exp(logs), covariance(likelihood, logs), value)


def covariance(likelihood: Likelihood, logs: Array) -> Array:
    """Of the log parameters: the inverse of the observed information at `logs`. Raises NotFitted.

    Directions in which the likelihood is flat (or, by rounding, curved the wrong way) get a large but finite variance.
    """
    columns = [
        (likelihood(logs + step)[1] - likelihood(logs - step)[1]) / (2 * STEP) for step in STEP * np.eye(len(logs))
    ]
    information = -(np.array(columns) + np.array(columns).T) / 2
    if not np.isfinite(information).all():
        raise NotFitted("around the most likely parameters the likelihood can't be computed")
    curvatures, directions = np.linalg.eigh(information)
    floor = max(curvatures.max(), 1.0) * 1e-9
    return np.asarray((directions / np.maximum(curvatures, floor)) @ directions.T)
