"""Tasks that end when they are asked to, and none of which ends unnoticed.

A library that awaits a task which it has cancelled itself lets a CancelledError out that nobody had asked for, and one
that suppresses it takes ours for its own and goes on. So no cancellation is believed: what counts is whether we asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, NoReturn, Protocol, TypeVar

import structlog

from shared.health import Part

log = structlog.get_logger(__name__)
T = TypeVar("T")

GIVES_UP_WITHIN = 3.0
"""Seconds that a library's call may take to end, once it is cancelled."""

ENDS_WITHIN = 8.0
"""Seconds that a loop may take to end, once it is cancelled: it may have a client to close and something to write."""

TIMES_ASKED = 3
"""How often a loop is asked to end. The cancellation may have been suppressed in a library."""


class CallCancelled(ConnectionError):
    """A library's call ended as cancelled, though nobody had cancelled it. As after a broken connection: try again."""


class LoopEnded(Exception):
    """A loop ended that was to run for as long as its process. The cause is what it raised, where it did."""


class Loop(Protocol):
    """One of a process's loops, to be run until it is cancelled.

    It beats its `pulse` on every turn, and while it rightly waits for a server that is away. The pulse has its name.
    """

    @property
    def pulse(self) -> Part: ...

    async def run(self) -> None: ...


async def library_call(call: Coroutine[Any, Any, T], *, within: float | None = None) -> T:
    """Await `call` in a task of its own, and give what it gives.

    A cancellation that nobody had asked for becomes CallCancelled; ours gets through whatever the library does with
    it. Raises TimeoutError where it takes longer than `within` seconds.
    """
    task = asyncio.create_task(call)
    try:
        await asyncio.wait({task}, timeout=within)
        in_time = task.done()
    finally:
        if not task.done():
            await _give_up(task)
    if task.done() and not task.cancelled():
        return task.result()
    name = getattr(call, "__qualname__", repr(call))
    if in_time:
        raise CallCancelled(f"{name} ended as cancelled, which nobody had asked for")
    raise TimeoutError(f"{name} took longer than {within} s")


_given_up: set[asyncio.Task[Any]] = set()
"""The event loop does not hold on to tasks."""


async def _give_up(task: asyncio.Task[Any]) -> None:
    _given_up.add(task)
    task.add_done_callback(_forget)
    task.cancel()
    await asyncio.wait({task}, timeout=GIVES_UP_WITHIN)


def _forget(task: asyncio.Task[Any]) -> None:
    _given_up.discard(task)
    if not task.cancelled():
        task.exception()  # read, as far as asyncio cares


async def together(**loops: Coroutine[Any, Any, None]) -> NoReturn:
    """Run all until the first one ends, and end the others. Raises what ended it, or LoopEnded with its name."""
    tasks = [asyncio.create_task(loop, name=name) for name, loop in loops.items()]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(tasks)
    first = min(ended, key=lambda task: task.cancelled() or task.exception() is None)  # who has something to say
    if not first.cancelled() and (error := first.exception()) is not None:
        raise error
    raise LoopEnded(f"{first.get_name()}: {why(first)}")


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and return once they have ended. One that does not is asked again, then left, with a word."""
    left: Collection[asyncio.Task[Any]] = [task for task in tasks if not task.done()]
    for _ in range(TIMES_ASKED):
        if not left:
            return
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=ENDS_WITHIN)
    if left:
        log.critical("not everything ends that was cancelled", left=[task.get_name() for task in left])


def why(task: asyncio.Task[Any]) -> str:
    """Tell why a task has ended."""
    if task.cancelled():
        return "it was cancelled, and not by us"
    error = task.exception()
    return "it returned" if error is None else repr(error)[:500]
