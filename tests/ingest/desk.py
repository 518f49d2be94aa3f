"""Ingest's desk, as a person with a key uses it: sources, keys, the audit."""

from __future__ import annotations

from typing import Any

import httpx
from sqlalchemy import text

from tests.builders import Json, batch, page
from tests.ingest.door import SECRET_KEY, Door
from tests.waiting import until


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


async def becomes(door: Door, key: str, status: int) -> None:
    """Return once calls with `key` are answered by `status`."""

    async def answered() -> bool:
        return (await send(door, key)).status_code == status

    await until(answered)


async def becomes_admin(door: Door, key: str) -> None:
    async def lets_in() -> bool:
        return (await ask(door, "GET", "sources", key=key)).status_code == 200

    await until(lets_in)


async def everything(door: Door, path: str, what: str, limit: int = 3, **query: str) -> list[Json]:
    """All pages of a list."""
    found: list[Json] = []
    following: str | None = ""
    while following is not None:
        place = {"cursor": following} if following else {}
        answer = await told(door, "GET", path, params={**query, **place, "limit": str(limit)})
        assert len(answer[what]) <= limit
        found += answer[what]
        following = answer["next"]
    return found


async def rows(door: Door, statement: str, **parameters: Any) -> list[Any]:
    """What the service's own tables hold."""
    async with door.app.state.desk.database.begin() as work:
        return list(await work.execute(text(statement), parameters))
