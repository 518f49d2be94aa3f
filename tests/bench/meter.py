"""Who uses the processor: this process and the database's, step by step.

Time on the clock says little where others use the machine; processor time says the same on any day. A step's time does
not hold that of the steps within it.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil

REST = "the rest"


class Used(NamedTuple):
    """Seconds of a core."""

    ours: float
    theirs: float

    def __add__(self, other: Any) -> Used:
        return Used(self.ours + other[0], self.theirs + other[1])


class Meter:
    """What each step has used so far; `servers` are the processes that work for us."""

    def __init__(self, servers: Sequence[int]) -> None:
        self.clocks = [_clock(pid) for pid in servers]
        self.used: defaultdict[str, Used] = defaultdict(lambda: Used(0.0, 0.0))
        self.within = [REST]
        self.ours, self.theirs = time.process_time(), self._theirs()

    def start(self) -> None:
        """Forget what was used before."""
        self._turn()
        self.used.clear()

    def stop(self) -> dict[str, Used]:
        self._turn()
        return dict(self.used)

    def _turn(self, *, asking: bool = True) -> None:
        """Put what was used since the last turn down to the step that we are in."""
        ours, theirs = time.process_time(), self._theirs() if asking else self.theirs
        self.used[self.within[-1]] += Used(ours - self.ours, theirs - self.theirs)
        self.ours, self.theirs = time.process_time(), theirs  # what asking costs is nobody's

    def _theirs(self) -> float:
        return sum(time.clock_gettime(clock) for clock in self.clocks)

    @contextmanager
    def step(self, name: str, *, asking: bool = True) -> Iterator[None]:
        """What is used within is the step's. `asking`: whether it asks the servers for anything."""
        self._turn(asking=asking)
        self.within.append(name)
        try:
            yield
        finally:
            self._turn(asking=asking)
            self.within.pop()

    @contextmanager
    def watching(self, steps: Sequence[tuple[str, Any, str]]) -> Iterator[None]:
        """While the block lasts, each (step, module or class, name of a function) is put down to its step."""
        before = [(owner, name, inspect.getattr_static(owner, name)) for _, owner, name in steps]
        try:
            for step, owner, name in steps:
                setattr(owner, name, self._watched(step, getattr(owner, name)))
            yield
        finally:
            for owner, name, function in before:
                setattr(owner, name, function)

    def _watched(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **rest: Any) -> Any:
                with self.step(step):
                    return await function(*args, **rest)

            return awaited

        @functools.wraps(function)
        def called(*args: Any, **rest: Any) -> Any:
            with self.step(step, asking=False):
                return function(*args, **rest)

        return called


def _clock(pid: int) -> int:
    """Linux's clock of another process's processor time, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2


def backends(pid: int) -> list[int]:
    """All processes that serve the database that the one with `pid` serves, the background's included."""
    return [each.pid for each in (psutil.Process(pid).parent() or psutil.Process(pid)).children()]
