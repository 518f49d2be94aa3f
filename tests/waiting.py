"""Waiting for what must come true, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import FastAPI

from shared.keys import Keyring

T = TypeVar("T")

GLANCE = 0.05
"""Seconds between two looks."""


async def until(holds: Callable[[], Awaitable[T | None]], *, within: float = 30.0) -> T:
    """Wait until `holds` gives something true, and give that. Errors of servers that are away count as not yet."""
    last: object = None
    try:
        async with asyncio.timeout(within):
            while True:
                try:
                    if found := await holds():
                        return found
                    last = found
                except Exception as error:
                    last = error
                await asyncio.sleep(GLANCE)
    except TimeoutError:
        raise AssertionError(f"still not so after {within:.0f} s; at last: {last!r}") from None


async def knows_keys(app: FastAPI) -> None:
    """Return once the service has read all keys: until then it tells whoever has a wrong one to come again."""

    async def complete() -> bool:
        keyring: Keyring = app.state.keyring
        return keyring.complete

    await until(complete)
