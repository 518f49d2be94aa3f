"""`tests.waiting` for what can be looked at without awaiting it."""

from __future__ import annotations

from collections.abc import Callable

from tests import waiting


async def until(holds: Callable[[], object], *, within: float = 10.0) -> None:
    """Return once `holds`. Raises AssertionError where it does not within that many seconds."""

    async def look() -> object:
        return holds()

    await waiting.until(look, within=within)
