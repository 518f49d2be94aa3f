"""What every route of the admin API has at hand, and whom it lets in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
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

    def caller(self, authorization: str | None, scope: Scope, sources: Collection[str]) -> Key:
        """The key in an `Authorization` header, which may do what needs `scope` to what is of `sources`.

        `sources`: those that the request names; empty where it is about all of them. Raises Unauthorized and Forbidden.
        """
        key = self.registry.current.by_header(authorization or "")
        if key is None or not key.holds(self.clock()):
            raise Unauthorized("this needs a secret key that holds: as HTTP Basic user name, or as Bearer token")
        if not key.opens_ingest:
            raise Forbidden(f"this key is not for ingest: it was narrowed to {key.narrowing}")
        if not key.may(scope):
            raise Forbidden(f"this key may not do that: use one whose scopes have {scope!r}")
        own = key.narrowing.sources
        if own is not None and not (sources and own.issuperset(sources)):
            raise Forbidden(
                f"this key is for the sources {', '.join(sorted(own))} alone: it opens /v1/sources/… of those, and the "
                "plan and the list of rejected events with ?source="
            )
        return key


# Dependencies are coroutines throughout: FastAPI would run plain functions in a thread.


async def _desk(request: Request) -> Desk:
    """The application's, since it started."""
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]


Naming = Callable[[Request], Collection[str]]
"""Gives the sources that a request names."""


def _of_all(request: Request) -> Collection[str]:
    return ()


def _named(request: Request) -> Collection[str]:
    return (request.path_params["name"],)


def _asked(request: Request) -> Collection[str]:
    return request.query_params.getlist("source")


def _key(scope: Scope, sources: Naming = _of_all) -> Callable[[Request], Awaitable[Key]]:
    """A dependency that gives the calling key, which may do what needs `scope` to what is of `sources`."""

    @guarding
    async def caller(request: Request) -> Key:
        return (await _desk(request)).caller(request.headers.get("authorization"), scope, sources(request))

    return caller


reader = _key("read")
looking_at_people = _key("read:people")
changing = _key("admin")


# Keys that are narrowed to some sources may do these only to what is of all sources, and so not at all.
Reader = Annotated[Key, Depends(reader)]
"""The calling key, which may look at what shows no person."""

PeopleReader = Annotated[Key, Depends(looking_at_people)]
"""The calling key, which may look at everything."""

Admin = Annotated[Key, Depends(changing)]
"""The calling key, which may change everything."""

# The same, also for keys that are narrowed to the source that stands in the path.
ReaderOfNamed = Annotated[Key, Depends(_key("read", _named))]
AdminOfNamed = Annotated[Key, Depends(_key("admin", _named))]

# The same, also for keys that are narrowed to the source in `?source=`.
ReaderOfAsked = Annotated[Key, Depends(_key("read", _asked))]
PeopleReaderOfAsked = Annotated[Key, Depends(_key("read:people", _asked))]
AdminOfAsked = Annotated[Key, Depends(_key("admin", _asked))]
