"""Faults of a whole stack, as they come: servers that are away for a while, hang, or are slow."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from tests.servers import Stack

STOPPED_BY = {"kafka": signal.SIGKILL, "postgres": signal.SIGQUIT}
"""Kafka as by a power cut; PostgreSQL as by `pg_ctl stop -m immediate`."""


@contextmanager
def away(stack: Stack, *servers: str) -> Iterator[None]:
    """`servers` end at the beginning of the block, and are started again after it.

    The supervisor would start them again at once: it is paused meanwhile.
    """
    stack.signal("supervisor", signal.SIGSTOP)
    try:
        for name in servers:
            stack.signal(name, STOPPED_BY[name])
        yield
    finally:
        stack.signal("supervisor", signal.SIGCONT)


@contextmanager
def hanging(stack: Stack, server: str) -> Iterator[None]:
    """`server` answers nothing while the block lasts: its connections stay open."""
    processes = _suspended(stack, server)
    try:
        yield
    finally:
        _resume(processes)


@contextmanager
def slow(stack: Stack, server: str) -> Iterator[None]:
    """`server` works a fifth of the time while the block lasts: it stands still for .4 s, and goes on for .1 s."""
    enough = threading.Event()

    def stutter() -> None:
        while not enough.wait(0.1):
            processes = _suspended(stack, server)
            enough.wait(0.4)
            _resume(processes)

    stuttering = threading.Thread(target=stutter, name=f"slow {server}")
    stuttering.start()
    try:
        yield
        assert stuttering.is_alive(), f"{server} ended, and was not slow to the end"
    finally:
        enough.set()
        stuttering.join()


def _suspended(stack: Stack, server: str) -> list[psutil.Process]:
    """Suspend the processes of `server`, and give them."""
    main = stack.process(server)
    processes: list[psutil.Process] = [main, *main.children(recursive=True)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a connection that has ended
            process.suspend()
    return processes


def _resume(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()
