"""The bandit, held against LinUCB in the same worlds, and its temperature against the textbook's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.personalize.domain.draws import temperature
from tests.personalize.bandits import World, linucb, ours


def surely_above(differences: Sequence[float], bar: float) -> bool:
    """Whether the mean is above `bar` by two standard errors: wrong once in fifty times, were it just at the bar."""
    values = np.array(differences)
    return bool(values.mean() - 2 * values.std(ddof=1) / len(values) ** 0.5 > bar)


def test_where_clicks_are_common_it_is_no_worse_than_linucb() -> None:
    worlds = [(seed, World.dense(seed)) for seed in range(6)]
    mine = [world.closed(ours(world, seed, batch=100)) for seed, world in worlds]
    peer = [world.closed(linucb(world, seed, batch=100)) for seed, world in worlds]
    print(f"\nshare of the gap closed: ours {np.mean(mine):.4f}, LinUCB {np.mean(peer):.4f}")
    assert surely_above(np.subtract(mine, peer).tolist(), -0.005)
    assert surely_above(mine, 0.93)


def test_where_clicks_are_rare_it_explores_less_than_the_textbook_and_gains_by_it() -> None:
    worlds = [(seed, World.sparse(seed, rate=0.003, rounds=60_000)) for seed in range(16)]
    mine = [world.closed(ours(world, seed, batch=2_000, rate=0.02)) for seed, world in worlds]
    textbook = [world.closed(ours(world, seed, batch=2_000, rate=0.02, alpha=lambda _: 1.0)) for seed, world in worlds]
    print(f"\nshare of the gap closed: ours {np.mean(mine):.3f}, with α = 1 {np.mean(textbook):.3f}")
    assert surely_above(np.subtract(mine, textbook).tolist(), 0.0)
    assert surely_above(mine, 0.5)


def test_feedback_that_comes_late_costs_little() -> None:
    worlds = [(seed, World.dense(seed)) for seed in range(3)]
    late = [world.closed(ours(world, seed, batch=500)) for seed, world in worlds]
    print(f"\nshare of the gap closed, feedback up to 500 rounds late: {np.mean(late):.4f}")
    assert surely_above(late, 0.89)


def test_the_rarer_clicks_are_the_smaller_is_the_temperature() -> None:
    rates = (1e-6, 0.003, 0.01, 0.1, 0.5, 1.0)
    temperatures = [temperature(rate) for rate in rates]
    assert temperatures == sorted(temperatures)
    assert temperatures[0] == 0.25
    assert 0.3 < temperature(0.003) < 0.4 < temperature(0.05) < 0.6 < temperature(0.5) < 0.8
