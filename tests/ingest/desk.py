"""Ingest's desk, as a person with a key uses it: sources, keys, the audit."""

from __future__ import annotations

from typing import Any

import httpx

from tests.builders import Json, batch, page
from tests.ingest.door import SECRET_KEY, Door


async def ask(
    door: Door, method: str, path: str, body: object = None, *, key: str | None = SECRET_KEY, **rest: Any
) -> httpx.Response:
    """Ask for what stands at `path` below /v1; with the secret key, unless it is another one or None."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return await door.client.request(method, f"/v1/{path}", json=body, auth=None, headers=headers, **rest)


async def told(door: Door, method: str, path: str, body: object = None, **rest: Any) -> Json:
    """The answer to what is asked as `ask` does, which must be a success."""
    answer = await ask(door, method, path, body, **rest)
    assert answer.is_success, answer.text
    found: Json = answer.json()
    return found


async def make_source(door: Door, name: str, **limits: Any) -> Json:
    return await told(door, "PUT", f"sources/{name}", limits)


async def make_key(door: Door, source: str, *scopes: str) -> Json:
    return await told(door, "POST", f"sources/{source}/keys", {"scopes": scopes or ["write"]})


async def send(door: Door, key: str, calls: int = 1, *, user: str = "u-desk") -> httpx.Response:
    """Send so many calls in one batch, with `key`."""
    pages = (page(str(number), user=user) for number in range(calls))
    return await ask(door, "POST", "batch", batch(*pages), key=key)
