"""What operators ask of a service: whether it lives, is ready, how it does, and what it can do.

By default that is answered on the service's own port, which may be public: there a word on life and readiness is for
everybody, and metrics, documentation and the reasons for not being ready take a key that may read. With a port of their
own (`operations_port`) they are answered there alone, without a key, and the service's own port knows nothing of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Any

import msgspec
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from shared.errors import TemasError
from shared.health import Health
from shared.protocol import protocol
from shared.settings import ServiceSettings

Guard = Callable[[Request], Awaitable[Any]]

STATIC = "/static-offline-docs"
"""Where the scripts of the documentation pages are: they need no internet."""

FAILING: dict[int | str, dict[str, Any]] = {
    503: {"description": "Some have not: `complaints` says which, to whoever may read."}
}


def operations(documented: FastAPI, health: Health, reader: Guard | None) -> APIRouter:
    """What operators ask. `reader` lets in who may read; None where the port is theirs alone."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", summary="Alive: every vital part has reported within its deadline", responses=FAILING)
    async def healthz(request: Request) -> Response:
        return await _report(request, health.complaints(vital_only=True), reader)

    @router.get("/readyz", summary="Ready for traffic: every part has reported within its deadline", responses=FAILING)
    async def readyz(request: Request) -> Response:
        return await _report(request, health.complaints(), reader)

    guarded = APIRouter(tags=["operations"], dependencies=[] if reader is None else [Depends(reader)])

    @guarded.get("/metrics", summary="For Prometheus", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    _document(guarded, documented)
    router.include_router(guarded)
    return router


async def _report(request: Request, complaints: dict[str, str], reader: Guard | None) -> Response:
    """What is wrong is said in a word to everybody, and in detail to whoever may read."""
    status = "failing" if complaints else "ok"
    body = {"status": status, "complaints": complaints} if await _may_read(request, reader) else {"status": status}
    told = msgspec.json.encode(body)
    return Response(told, 503 if complaints else 200, {"Cache-Control": "no-store"}, "application/json")


async def _may_read(request: Request, reader: Guard | None) -> bool:
    if reader is None:
        return True
    try:
        await reader(request)
    except TemasError:
        return False
    return True


def _document(router: APIRouter, documented: FastAPI) -> None:
    """Add the OpenAPI document of `documented`, and pages that show it."""
    title, icon = documented.title, f"{STATIC}/favicon.png"

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(msgspec.json.encode(documented.openapi()), media_type="application/json")

    @router.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        script, style = f"{STATIC}/swagger-ui-bundle.js", f"{STATIC}/swagger-ui.css"
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=title,
            swagger_js_url=script,
            swagger_css_url=style,
            swagger_favicon_url=icon,
        )

    @router.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        script = f"{STATIC}/redoc.standalone.js"
        return get_redoc_html(
            openapi_url="/openapi.json",
            title=title,
            redoc_js_url=script,
            redoc_favicon_url=icon,
            with_google_fonts=False,
        )


def scripts() -> StaticFiles:
    """What the documentation pages load; nothing of ours is in it."""
    return StaticFiles(directory=str(files("fastapi_offline") / "static"))


# --- a port of their own ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def apart(app: FastAPI, settings: ServiceSettings, service: str) -> AsyncIterator[None]:
    """Answer with `app` on the operations port, beside the service itself and as long as the block lasts.

    So it says what the service waits for while that starts, and what it still does while it ends.
    """
    server = _Beside(
        uvicorn.Config(
            app,
            host=settings.operations_host,
            port=settings.operations_port or 0,
            http=protocol(service, settings.request_seconds, {}, {}),
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await serving


class _Beside(uvicorn.Server):
    """A server that leaves signals to the one that it stands beside."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
