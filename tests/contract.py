"""Checks of what an OpenAPI document says of every route against the service, and the list of routes to be guarded."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psutil
import requests
import schemathesis
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, AuthContext, Case, GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from deploy.local.settings import ROOT
from tests.secrets import KEY_SIGNING_SECRET
from tests.servers import Installation, free
from tests.waiting import PATIENCE, until

Operation = APIOperation[Any, Any, Any, Any]
Asked = tuple[str, str]
"""Method and path."""

# What a call needs depends on its kind, a cursor is the `next` of a page, and a schema is more than any JSON: what
# OpenAPI can't say is refused all the same, and held by name in the tests of each.
SAYS_TOO_LITTLE = ("positive_data_acceptance",)
# Held below: of what schemathesis calls a server's error, one is a promise kept.
OURS = ("not_a_server_error",)
NOT_YET = "not_yet"

OPERATIONAL = frozenset({("GET", "/healthz"), ("GET", "/readyz")})
"""What anybody may ask of every service, which says no more than yes or no."""


# --- the service does what it says -----------------------------------------------------------------------------------


def operations(app: FastAPI, key: str) -> dict[str, Operation]:
    """All that the document of `app` says may be asked, by its label; it will be asked with `key`."""
    documented = schemathesis.openapi.from_dict(app.openapi())

    @documented.auth()
    class SecretKey:
        def get(self, case: Case[Any], context: AuthContext) -> str:
            return key

        def set(self, case: Case[Any], data: str, context: AuthContext) -> None:
            case.headers["Authorization"] = f"Bearer {data}"

    found = (each.ok() for each in documented.get_all_operations() if isinstance(each, Ok))
    return {each.label: each for each in found}


def keeps_its_word(
    operation: Operation,
    address: str,
    session: requests.Session,
    *,
    examples: int,
    opened: bool = True,
    known: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> None:
    """Ask so many questions that its document allows or forbids: no 5xx, no answer that the document does not have.

    `opened`: whether the key that is asked with opens it. `known`: what is there to be asked for, by the names that it
    has in addresses. `without`: checks of schemathesis that do not hold of it.
    """
    excluded: list[Any] = [CHECKS.get_one(name) for name in (*SAYS_TOO_LITTLE, *OURS, *without)]

    @settings(max_examples=max(3, examples // 3), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE), text=st.sampled_from(UNWRITABLE))
    def is_answered(case: Case[Any], text: str) -> None:
        asked = case.as_transport_kwargs(base_url=address)
        body = json.dumps(_spoiled(case.body, text)).encode()  # as schemathesis would not write it
        rest = {name: value for name, value in asked.items() if name in ("method", "url", "params")}
        headers = {**dict(asked["headers"] or {}), "content-type": case.media_type or "application/json"}
        answer = session.request(**rest, data=body, headers=headers)
        assert answer.status_code < 500 or answer.json()["code"] == NOT_YET, (body, answer.text)
        assert answer.status_code != 401 or not opened  # else nothing was tested

    if operation.body:
        is_answered()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=_cases(operation, known or {}))
    def answers(case: Case[Any]) -> None:
        answer = case.call_and_validate(base_url=address, session=session, excluded_checks=excluded)
        assert answer.status_code < 500 or answer.json()["code"] == NOT_YET, answer.text
        assert answer.status_code != 401 or not opened  # else nothing was tested

    answers()


UNWRITABLE = ("\0", "a\0b", "\ud800", "user_id:\ud83d", "\udfff\ud800")
"""What JSON may hold, and PostgreSQL or UTF-8 may not."""


def _spoiled(body: Any, text: str) -> Any:
    """`body` with `text` in place of each text, and as one more name of each object."""
    match body:
        case str():
            return text
        case list():
            return [_spoiled(each, text) for each in body]
        case dict():
            return {**{name: _spoiled(each, text) for name, each in body.items()}, text: text}
    return body


def _cases(operation: Operation, known: Mapping[str, str]) -> st.SearchStrategy[Case[Any]]:
    """Give what the document allows, of anything and of what is there; and what it does not allow."""

    def of_what_is_there(case: Case[Any]) -> Case[Any]:
        case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        return case

    allowed, forbidden = (
        operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    return st.one_of(allowed, allowed.map(of_what_is_there), forbidden)


def shows_what_is_there(
    operation: Operation, address: str, session: requests.Session, key: str, known: Mapping[str, str]
) -> None:
    """Asked for what is there, and for nothing else, it answers 200, as its document says."""
    names = [parameter.name for parameter in operation.path_parameters]
    headers = {"Authorization": f"Bearer {key}"}
    case = operation.Case(path_parameters={name: known[name] for name in names}, headers=headers)
    assert case.call_and_validate(base_url=address, session=session).status_code == 200


def shown(operations: Mapping[str, Operation], known: Mapping[str, str]) -> list[str]:
    """Labels of those that show something, and only of what is known."""
    return [
        label
        for label, each in operations.items()
        if each.method.upper() == "GET" and {parameter.name for parameter in each.path_parameters} <= known.keys()
    ]


def told(installation: Installation, service: str, key: str, **more: str) -> dict[str, str]:
    """Give what the environment of the service says, which works there and has `key` as its secret key."""
    return {
        "TEMAS_KAFKA_BOOTSTRAP": installation.kafka.bootstrap,
        "TEMAS_KAFKA_PREFIX": installation.kafka.prefix,
        f"TEMAS_{service.upper()}_DATABASE_URL": installation.database(service).url.get_secret_value(),
        "TEMAS_SECRET_KEY": key,
        "TEMAS_KEY_SIGNING_SECRET": KEY_SIGNING_SECRET,
        **more,
    }


@asynccontextmanager
async def process(service: str, told: Mapping[str, str]) -> AsyncIterator[tuple[str, psutil.Process]]:
    """The service as an operator starts it, told `told` by its environment, once it is ready; its address."""
    [port] = free(1)
    environment = {**os.environ, **told, f"TEMAS_{service.upper()}_PORT": str(port)}
    serving = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"services.{service}", "serve", cwd=ROOT, env=environment, stdout=DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            await ready(client)
        yield f"http://127.0.0.1:{port}", psutil.Process(serving.pid)
    finally:
        if serving.returncode is None:
            serving.kill()
        await serving.wait()


async def ready(client: httpx.AsyncClient) -> None:
    """Return when the service says that it is."""

    async def serves() -> bool:
        return (await client.get("/readyz")).status_code == 200

    await until(serves)


# --- which routes there are ------------------------------------------------------------------------------------------


def guarded(app: FastAPI, open_to: Collection[Asked] = ()) -> list[Asked]:
    """Method and path of all routes but those that anybody may ask, `open_to` among them.

    Whoever adds a route that needs no key has to say so in a test.
    """
    return [asked for asked in _routes(app) if asked not in OPERATIONAL and asked not in open_to]


def _routes(app: FastAPI) -> Iterator[Asked]:
    hot = {path for _, path in app.state.hot}
    for route in iter_route_contexts(app.routes):
        path = route.path or "without a path"
        for method in sorted((route.methods or {"ANY"}) - {"HEAD"}):
            static = path.startswith("/static") and method == "ANY"
            if path not in hot and not static:
                yield method, path


def address_of(path: str, **values: str) -> str:
    """An address of the route: what stands in braces is what `values` say, or `x`."""
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: values.get(found[1], "x"), path)
