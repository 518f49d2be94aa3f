"""What a stack is made of: programs to keep running, tasks to do once, and the stages they are reached in."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import NotReady, Refused
from deploy.local.processes import Command

READY_WITHIN = 300.0
"""Seconds that a program may take until it serves: the slowest cold start seen, on a machine several times slower."""

PROBE_EVERY = 0.1

ROOM = 64 * 1024 * 1024
"""Bytes that must be free on the disk of a server's data before it can be blamed for doing no work."""


@dataclass(frozen=True)
class Program:
    """A process to keep running.

    `ready` returns where it does its work; raises NotReady while it does not, and Refused where it never will.
    `prepare` makes what the process needs, each time before it starts; it must be cheap when there is nothing to do.
    `data` is where a server keeps its data: one that does no work, though that disk has room, is started again.
    """

    title: str
    command: Command
    port: int
    ready: Callable[[], Awaitable[None]]
    prepare: Callable[[], Awaitable[None]] | None = None
    data: Path | None = None

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def has_room(self) -> bool:
        """Whether the disk of its data, if it has any, is not full."""
        try:
            return self.data is None or shutil.disk_usage(self.data).free > ROOM
        except FileNotFoundError:  # not made yet
            return True


@dataclass(frozen=True)
class Task:
    """Something to do once, on the way up. Raises Refused where it can't be done."""

    title: str
    run: Callable[[], Awaitable[None]]


Stage = Sequence[Program | Task]
"""What starts together. The next stage starts when all of this one is ready, or done."""


async def until_ready(program: Program, within: float = READY_WITHIN) -> None:
    """Return once `program` serves. Raises Refused where it says that it never will, or does not in time.

    While its disk is full, time stands still: that is no fault of its.
    """
    until = time.monotonic() + within
    while True:
        try:
            return await program.ready()
        except NotReady as reason:
            if not program.has_room:
                until = time.monotonic() + within
            if time.monotonic() > until:
                raise Refused(
                    f"{program.name} is not ready after {within:.0f} s ({reason}): type make logs to see why."
                ) from reason
        await asyncio.sleep(PROBE_EVERY)
