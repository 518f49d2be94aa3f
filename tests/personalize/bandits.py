"""Synthetic worlds to choose offers in, and two who choose: our learner, and LinUCB of `mabwiser`.

Clicks are logistic in the visitor's features. What counts is the share that is closed of the gap between choosing
uniformly and choosing the best, by the true probabilities of what was chosen, so that luck with clicks is left out.
Both learn from batches: what was chosen in one is known from the next on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mabwiser.mab import MAB, LearningPolicy
from numpy.typing import NDArray
from scipy.special import expit

from services.personalize.domain.draws import Worth, draws, temperature
from services.personalize.domain.evidence import Evidence, Floats
from services.personalize.domain.learner import Prior, fit

Choices = NDArray[np.intp]


@dataclass(frozen=True)
class World:
    """features: (rounds, d), the first always 1. chances: (rounds, arms) of a click. clicks: the same, drawn."""

    features: Floats
    chances: Floats
    clicks: NDArray[np.bool_]

    @classmethod
    def dense(cls, seed: int, *, rounds: int = 10_000, arms: int = 10, features: int = 5) -> World:
        """Every other impression is clicked, features are normal and weights too, as in the reference figures."""
        random = np.random.default_rng(seed)
        x = np.hstack([np.ones((rounds, 1)), random.standard_normal((rounds, features - 1))])
        return cls._of(x, random.standard_normal((arms, features)), random)

    @classmethod
    def sparse(cls, seed: int, *, rate: float, rounds: int, arms: int = 20) -> World:
        """Few impressions are clicked; visitors come in eight kinds; offers differ by half a unit of log odds."""
        random = np.random.default_rng(seed)
        x = np.hstack([np.ones((rounds, 1)), random.random((rounds, 3)) < 0.5])
        weights = 0.5 * random.standard_normal((arms, 4)) + [np.log(rate / (1 - rate)), 0, 0, 0]
        return cls._of(x, weights, random)

    @classmethod
    def _of(cls, x: Floats, weights: Floats, random: np.random.Generator) -> World:
        chances = expit(x @ weights.T)
        return cls(x, chances, random.random(chances.shape) < chances)

    def closed(self, choices: Choices) -> float:
        """The share of the gap that `choices` (rounds,) close."""
        uniform, best = self.chances.mean(), self.chances.max(axis=1).mean()
        return float((self.chances[np.arange(len(choices)), choices].mean() - uniform) / (best - uniform))


def ours(
    world: World, seed: int, *, batch: int, alpha: Callable[[float], float] = temperature, rate: float = 0.1
) -> Choices:
    """What our learner chooses, each round by a draw of its own, fitted anew after each batch. `rate` is its prior."""
    random = np.random.default_rng(seed)
    arms, rounds = world.chances.shape[1], len(world.features)
    kinds, kind = np.unique(world.features, axis=0, return_inverse=True)
    kind = kind.ravel()
    worth, counts = Worth(np.ones(arms), np.zeros(arms)), np.zeros((arms, len(kinds), 2))
    chosen = np.zeros(rounds, np.intp)
    for start in range(0, rounds, batch):
        evidence = _evidence(counts, kinds)
        head = fit(evidence, evidence.counts[:, 0], evidence.counts[:, 1], Prior(rate))
        rows = np.array([evidence.offers.index(str(arm)) if str(arm) in evidence.offers else -1 for arm in range(arms)])
        now = np.arange(start, min(start + batch, rounds))
        for number in np.unique(kind[now]):
            members = now[kind[now] == number]
            odds = head.log_odds(rows, kinds[number])
            chosen[members] = draws([odds], [alpha(head.base_rate)], worth, random, len(members)).argmax(axis=1)
        clicked = world.clicks[now, chosen[now]]
        np.add.at(counts, (chosen[now], kind[now]), np.column_stack([np.ones_like(clicked), clicked]))
    return chosen


def _evidence(counts: Floats, kinds: Floats) -> Evidence:
    """`counts` (arms, kinds, 2) of impressions and clicks, as feedback leaves them."""
    arm, kind = np.nonzero(counts[..., 0])
    seen, owner = np.unique(arm, return_inverse=True)
    both = counts[arm, kind]
    return Evidence.of([str(each) for each in seen], owner, kinds[kind], np.hstack([both, np.zeros_like(both)]))


def linucb(world: World, seed: int, *, batch: int, alpha: float = 1.0) -> Choices:
    """What LinUCB (Li et al. 2010) chooses. Its first batch is uniform."""
    random = np.random.default_rng(seed)
    arms = world.chances.shape[1]
    peer = MAB(list(range(arms)), LearningPolicy.LinUCB(alpha=alpha), seed=seed)
    chosen = random.integers(0, arms, len(world.features))
    for start in range(0, len(chosen), batch):
        now = slice(start, start + batch)
        if start:
            chosen[now] = peer.predict(world.features[now])
        clicks = world.clicks[np.arange(len(chosen))[now], chosen[now]].astype(int)
        teach = peer.partial_fit if start else peer.fit
        teach(chosen[now].tolist(), clicks.tolist(), world.features[now])
    return chosen
