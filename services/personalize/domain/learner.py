"""The learner: how likely a click is, and an acceptance after it, for any offer and any visitor, and how sure that is.

A hierarchical Bayesian logistic model for each placement. The log odds for offer a and features x are x·(w + u_a): w is
shared by all offers, u_a is the offer's own and starts from nothing, so a new offer starts from what the others taught.

    w ~ N((logit of the placement's base rate, 0, ..., 0), Σ)        u_a ~ N(0, T),  T by empirical Bayes

Two such models ("heads"): click given shown, and acceptance given click. The posterior is its Laplace approximation
(MacKay 1992; Gelman et al., Bayesian Data Analysis, ch. 13): a Gaussian at the mode, with the curvature there. It is
computed from counts and not by a sequence of updates, so that neither order nor duplication of feedback can show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.personalize.domain.evidence import Evidence, Floats
from services.personalize.domain.laplace import Arrow, Problem, Spread, Trials, Weights


class Prior(NamedTuple):
    """What is believed of one head before any evidence.

    rate, weight: the base rate, and the number of observations that belief is worth.
    intercept, slope: standard deviations of the shared weights. Features lie in [0, 1], so 1 lets one of them
        multiply the odds by e² and back.
    spread: how far offers differ from each other.
    """

    rate: float
    weight: float = 20.0
    intercept: float = 1.0
    slope: float = 1.0
    spread: Spread = Spread(first=0.7, others=0.5, worth=4.0)


class LogOdds(NamedTuple):
    """z = mean + shared·e + own∘f with independent standard normal e (d,) and f (k,)."""

    mean: Floats
    shared: Floats
    own: Floats

    @property
    def deviation(self) -> Floats:
        """The standard deviation of each offer's log odds by itself."""
        deviation: Floats = np.sqrt((self.shared**2).sum(axis=1) + self.own**2)
        return deviation


@dataclass(frozen=True)
class Head:
    """The posterior of one head over K known offers and, as the last row, any offer without evidence.

    base_rate: the placement's rate over all offers, prior included.
    mean: (d, K+1) modes of w + u_a.
    shared: (d, (K+1)·d) how w + u_a follows the doubt about w (a root of its covariance); once u_a is well known, it
        makes up for whatever w may be.
    own: (d·d, K+1) covariance of u_a given w.

    Features come first and offers last, so that each decision takes one product of a vector and a matrix for each.
    """

    base_rate: float
    mean: Floats
    shared: Floats
    own: Floats

    def log_odds(self, rows: NDArray[np.intp], x: Floats) -> LogOdds:
        """The joint Gaussian of the log odds of the offers in `rows` (k,) for features `x` (d,)."""
        own: Floats = np.outer(x, x).ravel() @ self.own
        return LogOdds(
            mean=(x @ self.mean)[rows],
            shared=(x @ self.shared).reshape(-1, len(x))[rows],
            own=np.sqrt(np.maximum(own[rows], 0.0)),  # what rounding left below nothing is nothing
        )

    @property
    def spread(self) -> Floats:
        """The standard deviations (d,) between offers, as far as the evidence tells them."""
        width = len(self.mean)
        spread: Floats = np.sqrt(np.diag(self.own[:, -1].reshape(width, width)))
        return spread


@dataclass(frozen=True)
class Posterior:
    """All that one placement has taught."""

    rows: Mapping[str, int]
    click: Head
    acceptance: Head

    def rows_of(self, offers: Sequence[str]) -> NDArray[np.intp]:
        """Where the heads keep `offers`; the last row for those without evidence."""
        return np.array([self.rows.get(offer, -1) for offer in offers], np.intp)


def posterior(evidence: Evidence, click: Prior, acceptance: Prior) -> Posterior:
    """What `evidence` teaches. A placement where nothing was ever accepted is taken for one that doesn't report
    acceptances: its second head stays at the prior, or an offer would be worth less for every click it won."""
    shown, clicked, considered, accepted = evidence.counts.T
    reported = considered if accepted.any() else np.zeros_like(considered)
    return Posterior(
        rows={offer: row for row, offer in enumerate(evidence.offers)},
        click=fit(evidence, shown, clicked, click),
        acceptance=fit(evidence, reported, accepted, acceptance),
    )


def fit(evidence: Evidence, trials: Floats, successes: Floats, prior: Prior) -> Head:
    """The posterior of one head from `trials` and `successes` (N,) in the rows of `evidence`."""
    dimension = evidence.features.shape[1]
    rate = float((successes.sum() + prior.rate * prior.weight) / (trials.sum() + prior.weight))
    centre, deviation = np.zeros(dimension), np.full(dimension, prior.slope)
    centre[0], deviation[0] = np.log(rate / (1 - rate)), prior.intercept
    observed = Trials.of(evidence, trials, successes)
    return _head(rate, *Problem(observed, centre, deviation**-2, prior.spread).solved())


def _head(rate: float, weights: Weights, arrow: Arrow) -> Head:
    """The Gaussian at the mode. An offer without evidence has u = 0 ± T and follows w entirely."""
    root = np.linalg.cholesky(np.linalg.inv(arrow.eliminated))
    unseen = np.zeros_like(weights.shared)
    mean = weights.shared + np.vstack([weights.own, unseen])
    # 1 − (A + 1/T)⁻¹A = (A + 1/T)⁻¹/T: what is left of w's deviation once u_a has answered it.
    shared = np.concatenate([arrow.own / arrow.variance, np.eye(len(unseen))[None]]) @ root
    own = np.concatenate([arrow.own, np.diag(arrow.variance)[None]])
    return Head(
        base_rate=rate,
        mean=np.ascontiguousarray(mean.T),
        shared=np.ascontiguousarray(shared.transpose(1, 0, 2)).reshape(len(unseen), -1),
        own=np.ascontiguousarray(own.reshape(len(own), -1).T),
    )
