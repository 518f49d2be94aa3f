"""A way into FastAPI for the one question that pages wait for.

Routes of this class are documented like any other, from their signatures, and answered with the same models, but
without FastAPI's solving of dependencies: half of what HTTP takes of a decision. So they read a body as the short way
does (direct.py), whatever its content type says, and the two answer the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from services.personalize.schemas import DecideBody
from shared.http import Misread


def quick(check: Callable[[Request], Awaitable[None]]) -> type[APIRoute]:
    """Routes that let pass whom `check` lets pass, and whose endpoint takes a `DecideBody` and the use cases."""

    class Quick(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            async def handle(request: Request) -> Response:
                await check(request)
                body = read(await request.body())
                answer = await self.endpoint(body, request.app.state.decisions)
                return Response(answer.model_dump_json(), media_type="application/json")

            return handle

    return Quick


def read(body: bytes) -> DecideBody:
    """Raises Misread."""
    try:
        return DecideBody.model_validate_json(body)
    except ValidationError as error:
        raise Misread({**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()) from None
