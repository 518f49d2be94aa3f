"""The mode and the curvature of a hierarchical logistic regression: the numbers under the learner.

Weights w are shared by K groups, u_k are group k's own: log odds of a row of group k are x·(w + u_k), with priors
w ~ N(centre, 1/precision) and u_k ~ N(0, T). The Hessian has the shape of an arrow (each u_k meets w, no two of them
meet each other), so a Newton step costs one d×d inverse a group and one Schur complement, instead of the inverse of a
(K+1)d×(K+1)d matrix. T, the spread between groups, is found on the way (empirical Bayes by MacKay's fixed point:
"Bayesian interpolation", 1992, eq. 4.8), under a prior of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from services.personalize.domain.evidence import Evidence, Floats

STEPS = 40
"""Newton steps at most; about a dozen are usual. The objective is concave, so more would mean numerical trouble."""

SPREAD_STEPS = 8
"""Steps that also move the spread. It needs no more digits than these give, and Newton then ends quadratically."""

SETTLED = 1e-7
"""The largest change of a weight at which the mode counts as found: far below the posterior's own width."""


class Spread(NamedTuple):
    """A scaled inverse chi-square belief about T: standard deviations between groups of the first weight and of the
    others, and how many groups that belief is worth. Without it two or three groups that happen to agree would be
    taken for proof that all groups are the same."""

    first: float
    others: float
    worth: float


class Weights(NamedTuple):
    """w (d,) and every group's u (K, d)."""

    shared: Floats
    own: Floats

    def moved(self, by: Weights, size: float) -> Weights:
        return Weights(self.shared + size * by.shared, self.own + size * by.own)

    def extent(self) -> float:
        return float(max(np.abs(self.shared).max(), np.abs(self.own).max(initial=0.0)))


class Likelihood(NamedTuple):
    """The log likelihood at some weights, its gradient by group (K, d), and the negative of its Hessian (K, d, d)."""

    height: float
    gradient: Floats
    curvature: Floats


@dataclass(frozen=True)
class Trials:
    """What was observed: `successes` of `trials` in rows of `features` (N, d), rows grouped by `starts` (K + 1,)."""

    features: Floats
    starts: NDArray[np.intp]
    trials: Floats
    successes: Floats

    @classmethod
    def of(cls, evidence: Evidence, trials: Floats, successes: Floats) -> Trials:
        tried = trials > 0
        starts = np.append(0, np.cumsum(tried))[evidence.starts]
        return cls(evidence.features[tried], starts, trials[tried], successes[tried])

    def at(self, weights: Weights) -> Likelihood:
        group = np.repeat(np.arange(len(weights.own)), np.diff(self.starts))
        odds = np.einsum("nd,nd->n", self.features, (weights.shared + weights.own)[group])
        p = expit(odds)
        weighted = self.features * (self.trials * p * (1 - p))[:, None]
        residual = (self.successes - self.trials * p)[:, None]
        return Likelihood(
            height=float(self.successes @ odds - self.trials @ np.logaddexp(0, odds)),
            gradient=self._by_group(residual)[..., 0],
            curvature=self._by_group(weighted),
        )

    def _by_group(self, rows: Floats) -> Floats:
        """Xᵀ·rows for every group: (K, d, width of rows)."""
        ends = zip(self.starts[:-1], self.starts[1:], strict=True)
        sums = [self.features[start:end].T @ rows[start:end] for start, end in ends]
        return np.array(sums).reshape(-1, self.features.shape[1], rows.shape[1])


@dataclass(frozen=True)
class Arrow:
    """The Hessian of the log posterior, negated, in the blocks that are needed of its inverse.

    meeting: (K, d, d) A_k, the likelihood's curvature of group k, by which u_k meets w.
    own: (K, d, d) (A_k + 1/T)⁻¹, the covariance of u_k given w.
    eliminated: (d, d) the inverse covariance of w: its own block with all u_k eliminated.
    variance: (d,) the diagonal of T.
    """

    meeting: Floats
    own: Floats
    eliminated: Floats
    variance: Floats

    @classmethod
    def of(cls, curvature: Floats, precision: Floats, variance: Floats) -> Arrow:
        own: Floats = np.linalg.inv(curvature + np.diag(1 / variance))
        # Σ A − A(A + 1/T)⁻¹A, without the difference, which would lose its digits once A is large.
        eliminated: Floats = np.diag(precision) + (curvature @ own / variance).sum(axis=0)
        return cls(curvature, own, eliminated, variance)

    def solved(self, shared: Floats, own: Floats) -> Weights:
        """The inverse of the arrow times a gradient."""
        folded = shared - _each(self.meeting, _each(self.own, own)).sum(axis=0)
        step = np.linalg.solve(self.eliminated, folded)
        return Weights(step, _each(self.own, own - self.meeting @ step))

    def posterior_variances(self) -> Floats:
        """The posterior variance of every group's own weights (K, d)."""
        path = self.own @ self.meeting
        through: Floats = np.einsum("kde,kde->kd", path @ np.linalg.inv(self.eliminated), path)
        alone: Floats = np.einsum("kdd->kd", self.own)
        return alone + through


def _each(blocks: Floats, vectors: Floats) -> Floats:
    """Every group's block times its vector."""
    products: Floats = np.einsum("kde,ke->kd", blocks, vectors)
    return products


@dataclass(frozen=True)
class Problem:
    """Evidence and priors of one regression."""

    trials: Trials
    centre: Floats
    precision: Floats
    spread: Spread

    def solved(self) -> tuple[Weights, Arrow]:
        """The mode of the posterior, and its curvature there."""
        weights = Weights(self.centre, np.zeros((len(self.trials.starts) - 1, len(self.centre))))
        likelihood, variance = self.trials.at(weights), self._believed()
        for step in range(STEPS):
            arrow = Arrow.of(likelihood.curvature, self.precision, variance)
            direction = arrow.solved(*self._gradient(weights, likelihood, variance))
            weights, likelihood = self._advanced(weights, likelihood, direction, variance)
            if step < SPREAD_STEPS:
                variance = self._pooled(weights.own, arrow)
            elif direction.extent() < SETTLED:
                break
        return weights, Arrow.of(likelihood.curvature, self.precision, variance)

    def _gradient(self, weights: Weights, likelihood: Likelihood, variance: Floats) -> Weights:
        shared = likelihood.gradient.sum(axis=0) - self.precision * (weights.shared - self.centre)
        return Weights(shared, likelihood.gradient - weights.own / variance)

    def _advanced(
        self, weights: Weights, likelihood: Likelihood, direction: Weights, variance: Floats
    ) -> tuple[Weights, Likelihood]:
        """One Newton step, halved for as long as it would lose height."""
        height = likelihood.height - self._doubt(weights, variance)
        for size in 0.5 ** np.arange(20):
            after = weights.moved(direction, size)
            there = self.trials.at(after)
            if there.height - self._doubt(after, variance) >= height - 1e-9 * (1 + abs(height)):
                return after, there
        return weights, likelihood

    def _doubt(self, weights: Weights, variance: Floats) -> float:
        """The negative log prior of `weights`, up to a constant."""
        shared = self.precision @ (weights.shared - self.centre) ** 2
        return float(shared + (weights.own**2 / variance).sum()) / 2

    def _believed(self) -> Floats:
        """T before any group was seen."""
        return np.array([self.spread.first] + [self.spread.others] * (len(self.centre) - 1)) ** 2

    def _pooled(self, own: Floats, arrow: Arrow) -> Floats:
        """T that explains the groups' weights: one for the first weight, one for all the others together."""
        determined = 1 - arrow.posterior_variances() / arrow.variance  # 0: the weight is all prior; 1: all likelihood
        first = _variance(own[:, 0], determined[:, 0], self.spread.first, self.spread.worth)
        others = _variance(own[:, 1:], determined[:, 1:], self.spread.others, self.spread.worth * (own.shape[1] - 1))
        return np.array([first] + [others] * (own.shape[1] - 1))


def _variance(weights: Floats, determined: Floats, believed: float, worth: float) -> float:
    if not worth:
        return 0.0
    return float((worth * believed**2 + (weights**2).sum()) / (worth + determined.sum()))
