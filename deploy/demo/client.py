"""The four services by HTTP, as anybody's programs would call them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from deploy.demo.answers import (
    Decision,
    DecisionRecord,
    Expectation,
    Model,
    Models,
    RfmReport,
    Top,
    ValueReport,
)
from deploy.demo.errors import DemoFailed, NotThere
from shared.events import Valuation, View

SERVICES = ("ingest", "profile", "scoring", "personalize")

PATIENCE = 60.0
"""Seconds for which a call that was answered "later" is sent again."""

LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

T = TypeVar("T")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Addresses:
    """Where the services are, and the keys that open them: what `.temas/local.env` says."""

    urls: Mapping[str, str]
    write_key: str
    secret_key: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """From the stack's environment. Raises DemoFailed, naming the variable that is missing."""
        try:
            return cls(
                urls={service: environment[f"TEMAS_{service.upper()}_URL"] for service in SERVICES},
                write_key=environment["TEMAS_WRITE_KEY"],
                secret_key=environment["TEMAS_SECRET_KEY"],
            )
        except KeyError as missing:
            raise DemoFailed(
                f"the stack's environment has no {missing}: type `make down` and then `make demo`."
            ) from None


class Temas:
    """A client. Every method is one call; what is answered with 429 or 503 is sent again, as Retry-After says."""

    def __init__(self, addresses: Addresses, http: httpx.AsyncClient) -> None:
        self.addresses = addresses
        self.http = http

    @classmethod
    @asynccontextmanager
    async def open(cls, addresses: Addresses) -> AsyncIterator[Self]:
        # Proxies of the environment are for the internet; everything here is on this machine.
        async with httpx.AsyncClient(timeout=30.0, trust_env=False) as http:
            yield cls(addresses, http)

    # --- ingest ------------------------------------------------------------------------------------------------------

    async def accept(self, touchpoints: Sequence[Json]) -> str:
        """Post touchpoints; give their `Temas-Position` once they are accepted, which means: safely in the log."""
        body = {"batch": touchpoints}
        answer = await self._send("ingest", "POST", "/v1/batch", body=body, key=self.addresses.write_key)
        if "Temas-Position" not in answer.headers:
            raise DemoFailed(f"ingest accepted none of {len(touchpoints)} touchpoints: `make logs` says why.")
        return answer.headers["Temas-Position"]

    # --- profile -----------------------------------------------------------------------------------------------------

    async def profile(self, person: str, after: str | None = None) -> View:
        """The unified view of `person` (kind:value), with everything up to the position `after` in it."""
        return await self._get("profile", f"/v1/profiles/{_person(person)}", View, after=after)

    async def put_segment(self, segment_id: str, body: Json) -> None:
        await self._send("profile", "PUT", f"/v1/segments/{segment_id}", body=body)

    # --- scoring -----------------------------------------------------------------------------------------------------

    async def scores(self, person: str) -> Valuation:
        return await self._get("scoring", f"/v1/scores/{_person(person)}", Valuation)

    async def refit(self, as_of: str) -> str:
        """Ask for models of what was known at `as_of`, to be active once they are ready. Gives the model's id."""
        answer = await self._send("scoring", "POST", "/v1/models/refit", body={"as_of": as_of, "activate": True})
        return str(answer.json()["id"])

    async def models(self) -> Sequence[Model]:
        return (await self._get("scoring", "/v1/models", Models)).models

    async def value_report(self, as_of: str, until: str) -> ValueReport:
        """What was expected of all customers at `as_of`, and what came until `until`."""
        return await self._get("scoring", "/v1/metrics/value", ValueReport, as_of=as_of, until=until)

    async def top_customers(self, as_of: str, until: str, limit: int) -> Sequence[Expectation]:
        """The most valuable customers at `as_of`, with what they did until `until`."""
        query = {"as_of": as_of, "until": until, "limit": str(limit)}
        return (await self._get("scoring", "/v1/metrics/value/top", Top, **query)).customers

    async def rfm_report(self, as_of: str, until: str) -> RfmReport:
        return await self._get("scoring", "/v1/metrics/rfm", RfmReport, as_of=as_of, until=until)

    # --- personalize -------------------------------------------------------------------------------------------------

    async def put_offer(self, offer_id: str, body: Json) -> None:
        await self._send("personalize", "PUT", f"/v1/offers/{offer_id}", body=body)

    async def decide(self, person: str, placement: str, limit: int) -> Decision:
        body = {"profile": person, "placement": placement, "channel": "web", "context": {}, "limit": limit}
        return _read(await self._send("personalize", "POST", "/v1/decide", body=body), Decision)

    async def decision(self, decision_id: str) -> DecisionRecord:
        """The whole record of a decision, with every candidate."""
        return await self._get("personalize", f"/v1/decisions/{decision_id}", DecisionRecord)

    # --- all ---------------------------------------------------------------------------------------------------------

    async def metrics(self, service: str) -> str:
        """What the service tells Prometheus."""
        return (await self._send(service, "GET", "/metrics")).text

    async def _get(self, service: str, path: str, kind: type[T], **query: str | None) -> T:
        given = {name: value for name, value in query.items() if value is not None}
        return _read(await self._send(service, "GET", path, query=given), kind)

    async def _send(
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        key: str | None = None,
    ) -> httpx.Response:
        request = self.http.build_request(method, self.addresses.urls[service] + path, params=query or None, json=body)
        auth = httpx.BasicAuth(key or self.addresses.secret_key, "")
        until = time.monotonic() + PATIENCE
        answer = await self._once(request, auth)
        while answer.status_code in LATER and time.monotonic() < until:
            await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
            answer = await self._once(request, auth)
        if answer.is_error:
            refused = NotThere if answer.status_code == HTTPStatus.NOT_FOUND else DemoFailed
            raise refused(f"{service} answered {method} {path} with {answer.status_code}: {_message(answer)}")
        return answer

    async def _once(self, request: httpx.Request, auth: httpx.Auth) -> httpx.Response:
        try:
            return await self.http.send(request, auth=auth)
        except httpx.HTTPError as error:
            reason = f"{request.url}: {str(error) or type(error).__name__}"
            raise DemoFailed(f"no answer from {reason}: `make status` and `make logs` say more.") from error


def _person(person: str) -> str:
    """`kind:value` as it stands in a path."""
    return quote(person, safe=":")


def _read(answer: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise DemoFailed(f"{answer.url.path} was answered with a body we can't read: {error}") from error


def _message(answer: httpx.Response) -> str:
    """The error's text, as the service says it."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
