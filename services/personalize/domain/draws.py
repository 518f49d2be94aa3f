"""Thompson sampling, many draws at once, so that the probability of the choice is known.

M joint draws of all scores are taken, and one of them, picked uniformly, decides. So an offer's chance to come first is
exactly the share of draws that it wins: not an estimate, but the probability of what was done, given the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from services.personalize.domain.evidence import Floats
from services.personalize.domain.learner import LogOdds

Noise = NDArray[np.float32]


class Chance(Protocol):
    """Randomness, as an argument. `numpy.random.Generator` is one."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def standard_normal(self, size: int, dtype: type[np.float32]) -> Noise:
        """`size` independent standard normal numbers."""


class Worth(NamedTuple):
    """What an acceptance of each offer is worth (k,), all weights included, and what making each offer costs (k,)."""

    gain: Floats
    cost: Floats


def temperature(base_rate: float) -> float:
    """α, by which the posterior's standard deviation is multiplied before drawing.

    Where clicks are rare, textbook sampling (α = 1) spends most of them on exploring; where they are common, a small α
    now and then settles on the wrong offer. Measured with this learner, as the share closed of the gap between chance
    and the best: at a base rate of .5 % .73, .82, .79, .80, .70 for α = .25, .35, .5, .7, 1; at 10 % .893, .900, .863
    for .25, .5, 1; at 50 % .887, .914, .901, .873 for .25, .5, .7, 1. This power law gives .36, .57 and .72 there.
    """
    return min(1.0, max(0.25, 0.8 * float(base_rate**0.15)))


def draws(odds: Sequence[LogOdds], alphas: Sequence[float], worth: Worth, chance: Chance, number: int) -> Noise:
    """`number` joint draws of the scores of k offers, as (number, k): gain · Π σ(z) − cost over all heads."""
    misses = (1 + np.exp(-_drawn(head, alpha, chance, number)) for head, alpha in zip(odds, alphas, strict=True))
    scores: Noise = worth.gain.astype(np.float32) / reduce(np.multiply, misses) - worth.cost.astype(np.float32)
    return scores


def _drawn(odds: LogOdds, alpha: float, chance: Chance, number: int) -> Noise:
    """Draws of one head's log odds: (number, k). They move together by what is unknown of the shared weights."""
    k, d = odds.shared.shape
    noise = chance.standard_normal(size=number * (k + d), dtype=np.float32).reshape(number, k + d)
    together = noise[:, :d] @ (alpha * odds.shared.T).astype(np.float32)
    alone = noise[:, d:] * (alpha * odds.own).astype(np.float32)
    drawn: Noise = odds.mean.astype(np.float32) + together + alone
    return drawn


def firsts(scores: Noise) -> Floats:
    """The share of draws that each offer wins (k,). Draws in which no offer is worth making are won by none."""
    worthwhile = scores.max(axis=1) > 0
    wins = np.bincount(scores.argmax(axis=1)[worthwhile], minlength=scores.shape[1])
    share: Floats = wins / len(scores)
    return share


# Gauss-Hermite nodes for the mean over a normal number: 32 are right to 1e-7 for deviations up to 2, to 2e-5 at 3.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_SHARES = _WEIGHTS / _WEIGHTS.sum()


def probability(odds: LogOdds, alpha: float) -> Floats:
    """E σ(z) for each offer (k,)."""
    z = odds.mean[:, None] + alpha * odds.deviation[:, None] * _NODES
    mean: Floats = (1 / (1 + np.exp(-z))) @ _SHARES
    return mean
