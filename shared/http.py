"""HTTP: what the four services' applications have in common.

Every error is JSON `{"code", "message", "details"?}` with the right status; what operators ask is answered; requests
are counted by route template; SIGTERM lets requests end.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import chain
from typing import Any

import msgspec
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import logs, metrics
from shared.addresses import Addressed
from shared.background import end_at_last
from shared.db import FAILURES
from shared.errors import Invalid, TemasError
from shared.guards import Guarded, Stopped, guards_first
from shared.health import Health
from shared.hot import Arriving, Asgi, HotFolders, HotPaths, away, doubled
from shared.operations import STATIC, Guard, apart, operations, scripts
from shared.protocol import protocol
from shared.settings import ServiceSettings

log = structlog.get_logger(__name__)

OWN_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False}
"""Off: FastAPI's own looks into the environment on every request, and we have ours."""

ENDS_WITHIN = 40.0
"""Seconds that a process may take to end after its requests have: its loops end, and what they use is closed."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Refusal(BaseModel):
    """Every error: a code that stays, a sentence for people, and for bad fields their paths."""

    code: str
    message: str
    details: list[dict[str, Any]] | None = None


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer instead, for its documentation."""
    return {status: {"model": Refusal} for status in statuses}


REFUSALS = refusals(400, 401, 403, 413, 422, 503)
"""What every route that takes a key may answer instead, for its documentation."""


class Json(Response):
    """An answer made from a msgspec struct, or from anything msgspec writes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def create_app(
    *,
    service: str,
    title: str,
    description: str,
    settings: ServiceSettings,
    reader: Guard,
    health: Health,
    lifespan: Lifespan,
    routers: Sequence[APIRouter],
    largest_body: int = 1_000_000,
    hot: HotPaths | None = None,
    beside: HotPaths | None = None,
    folders: HotFolders | None = None,
) -> FastAPI:
    """The service's application: its `routers`, and what all services have. Past `largest_body` bytes it says 413.

    `reader` lets in who may read what is for operators. `hot`: what is answered the short way, and refused here for
    other methods. `beside` and `folders`: what is answered that way, too, and has ordinary routes among `routers` that
    say the same.
    """
    app = _application(service, title, description, lifespan, largest_body)
    app.state.health = health
    app.state.hot = hot or {}
    app.state.short = {**app.state.hot, **(beside or {})}
    app.state.folders = folders or {}
    arriving = Arriving()
    for (method, path), answering in app.state.hot.items():
        app.router.routes.append(Route(path, Asgi(answering, arriving), methods=[method]))
    if settings.operations_port is None:
        _operate(app, app, health, reader)
    else:
        operated = _application(service, title, description, _nothing, largest_body)
        _operate(operated, app, health, None)
        app.router.lifespan_context = _both(lifespan, operated, settings, service)
    for router in routers:
        app.include_router(router)
    guards_first(app.routes)
    return app


def _application(service: str, title: str, description: str, lifespan: Lifespan, largest_body: int) -> FastAPI:
    """An application without routes: how it takes requests, and how it tells errors."""
    app = FastAPI(
        title=title,
        description=description,
        version="1",
        lifespan=lifespan,
        telemetry=OWN_TELEMETRY,
        redirect_slashes=False,  # it answers with an address made of what the client says in `Host`
        openapi_url=None,  # the documentation's addresses are in operations.py
    )
    app.add_middleware(Guarded)
    app.add_middleware(_Limited, largest=largest_body)
    app.add_middleware(_Unambiguous)
    app.add_middleware(Addressed)
    app.add_middleware(_Unfailing)
    app.add_middleware(_Measured, service=service)
    app.add_exception_handler(TemasError, _temas_error)
    app.add_exception_handler(Stopped, _stopped)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    for failure in FAILURES:
        app.add_exception_handler(failure, _server_away)
    return app


def _operate(app: FastAPI, documented: FastAPI, health: Health, reader: Guard | None) -> None:
    """Have `app` answer what operators ask of `documented`."""
    app.mount(STATIC, scripts())
    app.include_router(operations(documented, health, reader))


@asynccontextmanager
async def _nothing(app: FastAPI) -> AsyncIterator[None]:
    yield


def _both(lifespan: Lifespan, operated: FastAPI, settings: ServiceSettings, service: str) -> Lifespan:
    """The service's `lifespan`, with what answers on the operations port around it."""

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[None]:
        async with apart(operated, settings, service), lifespan(app):
            yield

    return both


# --- errors ----------------------------------------------------------------------------------------------------------


async def _temas_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TemasError)  # noqa: S101 - registered for nothing else
    return Json(error.body(), status_code=error.status, headers=dict(error.headers))


async def _stopped(request: Request, error: Exception) -> Response:
    assert isinstance(error, Stopped)  # noqa: S101 - registered for nothing else
    return await _temas_error(request, error.error)


class Misread(Invalid):
    """What was sent is not of the form that the documentation has. `faults` as pydantic tells them."""

    status = 422

    def __init__(self, faults: Iterable[Any]) -> None:
        details = [_told(fault) for fault in faults]
        message = "; ".join(f"{detail['path']}: {detail['message']}" for detail in details)
        super().__init__(message, details=details)


def _told(fault: Any) -> dict[str, str]:
    """A fault as a client is told of it."""
    path, code, message = ".".join(str(step) for step in fault["loc"]), fault["type"], fault["msg"]
    message = message.removeprefix("Value error, ")  # what pydantic puts before our own words
    if code == "json_invalid":  # its path ends with how many characters could be read
        path, message = "body", f"is no JSON: {fault['ctx']['error']}, at character {fault['loc'][-1]}"
    elif isinstance(fault.get("input"), bytes):  # FastAPI reads as JSON only what says that it is
        message = "send JSON, with the header Content-Type: application/json"
    return {"path": path, "code": code, "message": message}


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    return await _temas_error(request, Misread(error.errors()))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    codes = {400: "invalid_request", 404: "no_such_route", 405: "method_not_allowed", 413: "too_large"}
    body = {"code": codes.get(error.status_code, "http_error"), "message": str(error.detail)}
    headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else error.headers
    return Json(body, status_code=error.status_code, headers=headers)


def _allowed(request: Request) -> list[str]:
    """The methods that this address answers to: a route knows its own only, and not those beside it.

    An address that has a name of its own, such as a list's `preview`, is not one of those that a name stands in.
    """

    def answered(method: str) -> bool:
        asked = {**request.scope, "method": method, "fastapi": {}}
        return any(route.matches(asked)[0] is Match.FULL for route in request.app.routes)

    own = [route.methods or () for route in iter_route_contexts(request.app.routes) if route.path == request.url.path]
    return sorted({*chain(*own)}) or [method for method in sorted(metrics.METHODS) if answered(method)]


async def _server_away(request: Request, error: Exception) -> Response:
    return await _temas_error(request, away(_route(request.scope), error))


class _Unfailing:
    """Answers 500 for a bug, and logs it once.

    Starlette's own handler for this raises the error again behind the answer. The server then logs it a second time and
    closes the connection, on which the client may have sent its next request already.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if scope["type"] != "http" or begun:
                error.add_note(f"route: {_route(scope)}")
                raise  # half an answer can't be mended: the server logs this, and hangs up
            log.exception("unexpected error", route=_route(scope))
            body = {"code": "internal_error", "message": "this is our fault; it was logged"}
            await Json(body, status_code=500)(scope, receive, send)


# --- measuring -------------------------------------------------------------------------------------------------------


def _route(scope: Scope) -> str:
    """The whole template of the route that answered, a closed set, whatever address was asked for.

    Of a router within a router, `route` knows only its own part; the whole is in what FastAPI keeps for itself.
    """
    answered = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return scope.get("temas.route") or getattr(answered, "path", None) or "unmatched"


class _Measured:
    """Counts and times every request by route template and status."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self.app = app
        self.requests = metrics.Requests(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        began = time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            self.requests.note(scope["method"], _route(scope), status, time.perf_counter() - began)


class _Unambiguous:
    """Refuses requests that say twice what may be said once (`shared/hot.py`)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        twice = doubled(scope["headers"]) if scope["type"] == "http" else None
        answering = self.app if twice is None else Json(twice.body(), status_code=twice.status)
        await answering(scope, receive, send)


class _Limited:
    """Stops reading a body that is too large. FastAPI has such a limit too, but answers in plain text."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self.app = app
        self.largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.largest:
                raise HTTPException(413, f"the body has more than {self.largest} bytes: send it in parts")
            return message

        await self.app(scope, counted, send)


# --- running ---------------------------------------------------------------------------------------------------------


def server(app: FastAPI, settings: ServiceSettings, service: str) -> uvicorn.Server:
    """What answers for `app`."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=protocol(service, settings.request_seconds, app.state.short, app.state.folders),
            access_log=False,
            log_config=None,
            backlog=4096,
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is by address
            timeout_graceful_shutdown=int(settings.drain),
        )
    )


def settle_down() -> None:
    """Take what was made at the start, and stays, out of the garbage collector's sight.

    It is 150,000 objects, and each look through all of them stops every request for a tenth of a second. What a request
    makes is mostly gone without the collector's help, so that it need not look often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def serve(app: FastAPI, settings: ServiceSettings, service: str) -> None:
    """Answer until SIGTERM or SIGINT; then take no new connection, let what runs end, and close. Exits 1 on failure."""
    logs.configure(service, settings.log_level)
    running = server(app, settings, service)
    app.state.stop = lambda: setattr(running, "should_exit", True)
    # uvicorn raises the signal that ended it once more when all is closed: being asked to end is no failure.
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: None)
    health: Health = app.state.health
    end_at_last(lambda: running.should_exit or bool(health.complaints(vital_only=True)), settings.drain + ENDS_WITHIN)
    log.info("starting", port=settings.port)
    settle_down()
    running.run()
    if not running.started or getattr(app.state, "failed", False):
        sys.exit(1)
