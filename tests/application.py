"""An application as services have theirs, of routes that a test makes up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request

from shared.auth import operator
from shared.errors import Unauthorized
from shared.health import Health
from shared.http import create_app
from shared.settings import ServiceSettings
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY

OPERATOR = {"authorization": f"Bearer {SECRET_KEY}"}
"""Headers of whoever may read what is for operators."""


def settings(port: int = 1, **rest: Any) -> ServiceSettings:
    """Settings of a service that needs no server."""
    return ServiceSettings(port=port, secret_key=SECRET_KEY, key_signing_secret=KEY_SIGNING_SECRET, **rest)


def made(
    *,
    routers: Sequence[APIRouter],
    service: str = "tests",
    health: Health | None = None,
    chosen: ServiceSettings | None = None,
    **rest: Any,
) -> FastAPI:
    """An application with `routers`, whose operator has the secret key of `chosen`, and nobody else has any."""
    chosen = chosen or settings()
    return create_app(
        service=service,
        title="Tested",
        description="",
        settings=chosen,
        reader=operator(chosen.secret_key, _nobody),
        health=health or Health(),
        lifespan=nothing,
        routers=routers,
        **rest,
    )


async def _nobody(request: Request) -> None:
    raise Unauthorized("this needs a secret key")


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield
