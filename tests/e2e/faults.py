"""Faults of a whole stack, as they come: servers that are away for a while, or hang."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

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
    main = stack.process(server)
    processes: list[psutil.Process] = [main, *main.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()
