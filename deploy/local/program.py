"""What a stack is made of: programs to keep running, tasks to do once, and the stages they are reached in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from deploy.local.errors import NotReady, Refused
from deploy.local.processes import Command

READY_WITHIN = 120.0
"""Seconds that a program may take until it serves: the slowest cold start seen, several times over."""

PROBE_EVERY = 0.1


@dataclass(frozen=True)
class Program:
    """A process to keep running.

    `ready` returns once it serves; raises NotReady while it does not, and Refused where it never will.
    `prepare` makes what the process needs, each time before it starts; it must be cheap when there is nothing to do.
    """

    title: str
    command: Command
    port: int
    ready: Callable[[], Awaitable[None]]
    prepare: Callable[[], Awaitable[None]] | None = None

    @property
    def name(self) -> str:
        return self.command.name


@dataclass(frozen=True)
class Task:
    """Something to do once, on the way up. Raises Refused where it can't be done."""

    title: str
    run: Callable[[], Awaitable[None]]


Stage = Sequence[Program | Task]
"""What starts together. The next stage starts when all of this one is ready, or done."""


async def until_ready(program: Program, within: float = READY_WITHIN) -> None:
    """Return once `program` serves. Raises Refused where it says that it never will, or does not in time."""
    until = time.monotonic() + within
    while True:
        try:
            return await program.ready()
        except NotReady as reason:
            if time.monotonic() > until:
                raise Refused(
                    f"{program.name} is not ready after {within:.0f} s ({reason}): type make logs to see why."
                ) from reason
        await asyncio.sleep(PROBE_EVERY)
