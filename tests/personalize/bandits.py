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
    """features: (rounds, d), the first of which is always 1. chances: (rounds, arms) of a click. clicks: the same, drawn."""

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
    """What our learner chooses, each round by one draw, fitted anew after each batch. `rate` is what it begins with."""
    random = np.random.default_rng(seed)
    arms = world.chances.shape[1]
    chosen = np.zeros(len(world.features), np.intp)
    for start in range(0, len(chosen), batch):
        taught = slice(0, start)
        clicks = world.clicks[np.arange(start), chosen[taught]].astype(float)
        evidence = _evidence(arms, chosen[taught], world.features[taught], clicks)
        head = fit(evidence, evidence.counts[:, 0], evidence.counts[:, 1], Prior(rate))
        rows = np.array([evidence.offers.index(str(arm)) if str(arm) in evidence.offers else -1 for arm in range(arms)])
        worth = Worth(np.ones(arms), np.zeros(arms))
        there = world.features[start : start + batch]
        kinds, kind = np.unique(there, axis=0, return_inverse=True)
        for number, x in enumerate(kinds):
            members = start + np.flatnonzero(kind.ravel() == number)
            scores = draws([head.log_odds(rows, x)], [alpha(head.base_rate)], worth, random, len(members))
            chosen[members] = scores.argmax(axis=1)
    return chosen


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


def _evidence(arms: int, chosen: Choices, features: Floats, clicks: Floats) -> Evidence:
    """Rounds counted by arm and features, as feedback is."""
    if not len(chosen):
        return Evidence.of([], chosen, features, np.zeros((0, 4)))
    cells, cell = np.unique(np.column_stack([chosen, features]), axis=0, return_inverse=True)
    counts = np.zeros((len(cells), 4))
    np.add.at(counts[:, 0], cell.ravel(), 1)
    np.add.at(counts[:, 1], cell.ravel(), clicks)
    seen, owner = np.unique(cells[:, 0].astype(int), return_inverse=True)
    return Evidence.of([str(arm) for arm in seen], owner, cells[:, 1:], counts)
