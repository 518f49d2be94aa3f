"""Waiting for what must come true, instead of sleeping and hoping.

No test judges the machine: how long something may take is never part of what is tested, and every bound on waiting is
there to end a hang.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

from fastapi import FastAPI

from shared.keys import Keyring

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds after which something that a test waits for is taken to hang, on however slow a machine."""

GLANCE = 0.05
"""Seconds between two looks."""


@overload
async def until(holds: Callable[[], Awaitable[T | None]], *, within: float = PATIENCE) -> T: ...


@overload
async def until(holds: Callable[[], T | None], *, within: float = PATIENCE) -> T: ...


async def until(holds: Callable[[], object], *, within: float = PATIENCE) -> object:
    """Wait until `holds` gives something true, and give that. Errors of servers that are away count as not yet."""
    last: object = None
    try:
        async with asyncio.timeout(within):
            while True:
                try:
                    found = holds()
                    if inspect.isawaitable(found):
                        found = await found
                    if found:
                        return found
                    last = found
                except Exception as error:
                    last = error
                await asyncio.sleep(GLANCE)
    except TimeoutError:
        raise AssertionError(f"still not so after {within:.0f} s; at last: {last!r}") from None


async def in_time(awaited: Awaitable[T]) -> T:
    """Give what `awaited` gives. Raises TimeoutError where it hangs."""
    async with asyncio.timeout(PATIENCE):
        return await awaited


async def knows_keys(app: FastAPI) -> None:
    """Return once the service has read all keys: until then it tells whoever has a wrong one to come again."""

    async def complete() -> bool:
        keyring: Keyring = app.state.keyring
        return keyring.complete

    await until(complete)
