"""Who asks is settled before anything else of a request is looked at.

A *guard* is a dependency of FastAPI's that lets a request pass or raises why not. FastAPI reads and parses a body
before it asks any dependency, so that strangers could have it read megabytes, and would be told what is wrong with
them. `Guarded` puts the guards of a route between the application and the body: not a byte is handed over before all
have let it pass. And `guards_first` has them asked before whatever else a route depends on, in whatever order it names
that. What a route takes of the path, the query and the headers by itself, FastAPI looks at after its dependencies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import TemasError

G = TypeVar("G", bound=Callable[[Request], Awaitable[Any]])

_MARK = "temas_guard"


def guarding(check: G) -> G:
    """Mark the dependency `check` as a guard: it takes the request, reads no body, and may be asked more than once."""
    setattr(check, _MARK, True)
    return check


class Stopped(HTTPException):
    """A guard's refusal, on its way through FastAPI, which lets no other error pass while it reads a body."""

    def __init__(self, error: TemasError) -> None:
        super().__init__(error.status, error.message)
        self.error = error


class Guarded:
    """Asks the guards of the route that answers when a body is to be read for the first time."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passed = False

        async def guarded() -> Message:
            nonlocal passed
            if not passed:
                await _ask(scope)
                passed = True
            return await receive()

        await self.app(scope, guarded, send)


async def _ask(scope: Scope) -> None:
    """Raises Stopped."""
    # Of a router within a router, only what FastAPI keeps for itself knows all dependencies.
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    for check in guards(getattr(route, "dependant", None)):
        try:
            await check(Request(scope))
        except TemasError as error:
            raise Stopped(error) from None


def guards_first(routes: Sequence[BaseRoute]) -> None:
    """Have FastAPI ask the guards of all `routes` before their other dependencies.

    A route's own comes before those of the routers that it is in: it asks for more, and says what is missing.
    """
    for route in iter_route_contexts(routes):
        dependant: Dependant | None = getattr(route, "dependant", None)
        if dependant is not None:
            own: list[Dependant] = []
            others: list[Dependant] = []
            for each in dependant.dependencies:
                (own if _guards(each) else others).append(each)
            dependant.dependencies[:] = [*reversed(own), *others]


def _guards(dependency: Dependant) -> bool:
    return hasattr(dependency.call, _MARK) or any(guards(dependency))


def guards(dependant: Dependant | None) -> Iterator[Callable[[Request], Awaitable[Any]]]:
    """The guards among a route's dependencies, however deep."""
    for each in dependant.dependencies if dependant else ():
        if each.call is not None and hasattr(each.call, _MARK):
            yield each.call
        yield from guards(each)
