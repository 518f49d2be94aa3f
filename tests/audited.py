"""Changes, and what the audit of a service says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from tests.builders import Json
from tests.contract import Asked


@dataclass(frozen=True)
class Example:
    """A change that succeeds, and what the audit's `object` then begins with, and its action. `beside`: the actions of
    further rows, where it changes other objects, too."""

    address: str
    object: str
    action: str
    body: Any = None
    beside: Sequence[str] = ()


@dataclass(frozen=True)
class Auditor:
    """Somebody with a key that may change things, and its id."""

    client: httpx.AsyncClient
    key: str
    id: str

    async def ask(self, method: str, address: str, body: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"}
        return await self.client.request(method, address, json=body, headers=headers, auth=None)

    async def page(self, **query: Any) -> Json:
        headers = {"authorization": f"Bearer {self.key}"}
        answer = await self.client.get("/v1/audit", params=query, headers=headers, auth=None)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def changes(self, **query: Any) -> list[Json]:
        """What was changed, the oldest first."""
        return list(reversed((await self.page(limit=500, **query))["changes"]))

    async def time_line(self, object: str) -> list[str]:
        """What has become of an object, the oldest first."""
        return [each["action"] for each in await self.changes(object=object)]

    async def of_persons(self, after: int) -> list[Json]:
        """What somebody has changed since; what Temas did by itself goes on beside."""
        return [each for each in await self.changes() if each["id"] > after and not each["actor"].startswith("temas:")]

    async def leaves_a_row(self, method: str, example: Example) -> Json:
        """Make the change; give the one row of its object, once it says who it was, and what was before and after."""
        last = max((each["id"] for each in await self.changes()), default=0)
        answer = await self.ask(method, example.address, example.body)
        assert answer.is_success, answer.text
        rows = await self.of_persons(last)
        assert [each["actor"] for each in rows] == [self.id] * (1 + len(example.beside)), rows
        mine = [each for each in rows if each["object"].startswith(example.object)]
        assert [each["action"] for each in mine] == [example.action], rows
        assert sorted(each["action"] for each in rows if each not in mine) == sorted(example.beside)
        assert mine[0]["before"] != mine[0]["after"]
        return mine[0]


DEAD_LETTERS: Mapping[Asked, str] = {
    ("POST", f"/v1/dead-letters/{what}"): "tests/scoring/test_dead_letters.py holds it for all services: one code"
    for what in ("replay", "discard")
}


def changing(app: FastAPI) -> set[Asked]:
    """Method and path of everything that the document of `app` says may be asked, but for what only looks."""
    return {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if method.upper() not in ("GET", "HEAD", "OPTIONS")
    }
