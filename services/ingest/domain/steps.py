"""Long work that can be interrupted: a generator that stops at each `yield`, so that others can have their turn.

The same code then serves whoever has the process to itself (`at_once`) and whoever shares it (service/turns.py).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work in steps of a fraction of a millisecond each; what it returns is its result."""


def at_once(steps: Steps[T]) -> T:
    """The result of `steps`, all of them done without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
