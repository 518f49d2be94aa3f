"""What every route of the admin API has at hand, and whom it lets in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from services.ingest.domain.sources import Key
from services.ingest.service.inferring import Inferring
from services.ingest.service.planning import Planning
from services.ingest.service.registry import Registry
from services.ingest.service.rejected import Rejections
from services.ingest.service.sources import Sources
from shared.clock import Clock
from shared.db import Database, Work
from shared.errors import Forbidden, Unauthorized
from shared.guards import guarding
from shared.scopes import Scope

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """The use cases, the database to run them in, and the registry that knows who may."""

    database: Database
    registry: Registry
    clock: Clock
    sources: Sources
    rejected: Rejections
    inferring: Inferring
    planning: Planning

    async def run(self, use: Callable[[Work], Awaitable[T]]) -> T:
        """`use` in one transaction."""
        return await self.database.retrying(use)

    def caller(self, authorization: str | None, scope: Scope) -> Key:
        """The key in an `Authorization` header. Raises Unauthorized, and Forbidden where it lacks `scope`."""
        key = self.registry.current.by_header(authorization or "")
        if key is None or not key.holds(self.clock()):
            raise Unauthorized("this needs a secret key that holds: as HTTP Basic user name, or as Bearer token")
        if not key.may(scope):
            raise Forbidden(f"this key may not do that: use one whose scopes have {scope!r}")
        return key


# Dependencies are coroutines throughout: FastAPI would run plain functions in a thread.


async def _desk(request: Request) -> Desk:
    """The application's, since it started."""
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]


@guarding
async def reader(request: Request) -> Key:
    return (await _desk(request)).caller(request.headers.get("authorization"), "read")


@guarding
async def admin(request: Request) -> Key:
    return (await _desk(request)).caller(request.headers.get("authorization"), "admin")


Reader = Annotated[Key, Depends(reader)]
"""The calling key, which may look at everything here."""

Admin = Annotated[Key, Depends(admin)]
"""The calling key, which may change everything here."""
