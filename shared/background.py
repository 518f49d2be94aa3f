"""A process's loops: none of them ends, or hangs, and leaves a process behind that looks well.

One that ends unasked, in whatever way, ends the process with a last word that names it; so does one that has not
reported within its deadline. Whoever supervises the process starts it again.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from shared.health import Health
from shared.tasks import Loop, end, why

log = structlog.get_logger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at who is late. Who is so twice hangs: after a pause of the process all have a turn."""


@asynccontextmanager
async def background(app: FastAPI, health: Health, *loops: Loop) -> AsyncIterator[None]:
    """Run the service's loops while the block lasts. One that ends by itself, or hangs, ends the process."""

    def fail(what: str, **more: object) -> None:
        log.critical(f"{what}; this process ends, to be started again", **more)
        app.state.failed = True
        getattr(app.state, "stop", lambda: None)()

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        fail("a loop has ended", loop=task.get_name(), why=why(task), exc_info=error)

    tasks = [asyncio.create_task(loop.run(), name=loop.pulse.name) for loop in loops]
    tasks.append(asyncio.create_task(_watch(health, lambda late: fail("a loop hangs", late=late)), name="loop watch"))
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
        await end(tasks)


async def _watch(health: Health, hangs: Callable[[dict[str, str]], None]) -> None:
    """Look again and again, until cancelled, for a vital part that is late; `hangs` is told of it."""
    late_before = False
    while True:
        await asyncio.sleep(LOOK_EVERY)
        late = health.complaints(vital_only=True)
        if late and late_before:
            hangs(late)
        late_before = bool(late)


def end_at_last(should_end: Callable[[], bool], patience: float) -> None:
    """Watch from a thread, and end the process with code 1 where it should have ended `patience` seconds ago.

    For what keeps it from ending by itself: code that never lets the event loop go on, or that waits at the end for
    what never comes. The seconds are those that this thread ran: a process that was paused does not hang.
    """

    def watch() -> None:
        seconds = 0
        while seconds < patience:
            time.sleep(1)
            seconds = seconds + 1 if should_end() else 0
        log.critical("this process should have ended and does not: it is ended now", seconds=seconds)
        sys.stderr.flush()
        faulthandler.dump_traceback()
        os._exit(1)

    threading.Thread(target=watch, name="end at last", daemon=True).start()
