"""The hot path: bare ASGI, so that a request costs little more than its calls.

FastAPI is around it (errors, metrics, documentation) but not in it: `documentation.py` tells it what is here. Browsers
send from other origins, so every answer carries the headers of CORS, errors as well: a script could not read them else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.ingest import metrics
from services.ingest.api.arriving import Bodies, Gone
from services.ingest.service import Receipt, Sending
from services.ingest.settings import Settings
from shared.errors import TemasError
from shared.events import CallType
from shared.tracing import traceparent

BATCH_PATHS = ("/v1/batch", "/v1/b", "/beacon/v1/batch")
CALLS: Mapping[str, CallType] = {
    "track": "track", "identify": "identify", "page": "page", "screen": "screen", "group": "group", "alias": "alias",
    "t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias",
}  # fmt: skip

Headers = list[tuple[bytes, bytes]]

# By name: `*` does not cover Authorization.
CORS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Temas-Position, Temas-Rejected, Retry-After"),
]
PREFLIGHT: Headers = [
    *CORS,
    (b"access-control-allow-methods", b"POST, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, content-encoding, anonymousid, sentat, traceparent, x-retry-count, "
        b"rsa-retry-attempt, rsa-retry-reason, rsa-since-first-attempt, rsa-since-last-attempt",
    ),
    (b"access-control-max-age", b"86400"),
]
# Exactly this, with exactly 200: some clients take any other success for a failure, and send again.
SUCCESS = b'{"success": true}'


def tracking_routes(settings: Settings) -> list[Route]:
    """The routes of the tracking API. Batches come first: most of what is sent comes in them."""
    bodies = Bodies(settings)
    calls: Iterable[tuple[str, CallType | None]] = (
        *((path, None) for path in BATCH_PATHS),
        *((f"/v1/{name}", call) for name, call in CALLS.items()),
    )
    return [Route(path, Tracking(path, call, bodies), methods=["POST", "OPTIONS"]) for path, call in calls]


class Tracking:
    """One address of the tracking API. `call`: the kind of call that it takes; None where it takes batches."""

    def __init__(self, path: str, call: CallType | None, bodies: Bodies) -> None:
        self.path = path
        self.call = call
        self.bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["temas.route"] = self.path
        if scope["method"] == "OPTIONS":
            await _answer(send, 200, b"", PREFLIGHT)
            return
        try:
            receipt = await scope["app"].state.ingest.take(await self._sending(scope, receive))
        except TemasError as error:
            await _answer(send, error.status, msgspec.json.encode(error.body()), [*CORS, *_ascii(error.headers)])
        except Gone:
            await _answer(send, 400, b"", [])  # unheard; said for the metrics
        else:
            await _answer(send, 200, SUCCESS, [*CORS, *_told(receipt)])

    async def _sending(self, scope: Scope, receive: Receive) -> Sending:
        headers = dict(scope["headers"])
        body = await self.bodies.read(headers, receive)
        metrics.BODY_BYTES.observe(len(body))
        return Sending(
            call=self.call,
            body=body,
            encoding=_text(headers, b"content-encoding").strip().lower(),
            authorization=_text(headers, b"authorization"),
            query_key=_query_key(scope["query_string"]),
            user_agent=_text(headers, b"user-agent"),
            traceparent=traceparent({"traceparent": _text(headers, b"traceparent")}),
        )


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _query_key(query: bytes) -> str | None:
    return next(iter(parse_qs(query.decode("latin-1")).get("writeKey", ())), None) if query else None


def _told(receipt: Receipt) -> Headers:
    """Where the touchpoints stand, and how many calls were put aside: never is one dropped in silence."""
    told = {"Temas-Position": receipt.position, "Temas-Rejected": str(receipt.rejected or "")}
    return _ascii({name: value for name, value in told.items() if value})


def _ascii(headers: Mapping[str, Any]) -> Headers:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


async def _answer(send: Send, status: int, body: bytes, headers: Headers) -> None:
    described: Headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*described, *headers]})
    await send({"type": "http.response.body", "body": body})
