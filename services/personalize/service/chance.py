"""Randomness for decisions, taken from a pool: fresh normal numbers would be half of a decision's time.

Each decision reads a stretch of the pool that begins at a random place. Two decisions may share numbers; that changes
nothing about the probabilities that are logged, which are exact given the numbers, whatever they are.
"""

from __future__ import annotations

import numpy as np

from services.personalize.domain.draws import Noise

POOL = 2**21
"""Normal numbers, 8 MB: thirty decisions among a hundred offers without sharing any."""


class Pool:
    """Uniform numbers fresh, normal numbers from the pool."""

    def __init__(self, generator: np.random.Generator, size: int = POOL) -> None:
        self.generator = generator
        self.normal = generator.standard_normal(size, dtype=np.float32)

    def random(self) -> float:
        return self.generator.random()

    def standard_normal(self, size: int, dtype: type[np.float32]) -> Noise:
        """A stretch of the pool; of a decision larger than the pool, fresh ones."""
        room = len(self.normal) - size
        if room < 0:
            return self.generator.standard_normal(size, dtype=dtype)
        start = int(self.random() * (room + 1))
        return self.normal[start : start + size]
