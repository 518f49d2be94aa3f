"""The hot path: the tracking API of Segment and RudderStack, answered the short way (shared/hot.py).

FastAPI is beside it: `documentation.py` tells it what is here. Browsers send from other origins, so every answer
carries the headers of CORS, errors as well: a script could not read them else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote_plus

import msgspec

from services.ingest import metrics
from services.ingest.domain.bodies import BATCH, CALL
from services.ingest.errors import Busy, TooLarge
from services.ingest.service.opening import Sending
from services.ingest.service.taking import Ingest, Receipt, Taken, Taking
from services.ingest.settings import Settings
from shared.errors import TemasError
from shared.events import CallType
from shared.hot import Answer, Headers, Hot, Later, lines
from shared.tracing import traceparent

BATCH_PATHS = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch")
CALLS: Mapping[str, CallType] = {
    "track": "track", "identify": "identify", "page": "page", "screen": "screen", "group": "group", "alias": "alias",
    "t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias",
}  # fmt: skip

# By name: `*` does not cover Authorization.
CORS = [
    ("content-type", "application/json"),
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "Temas-Position, Temas-Rejected, Retry-After, X-RateLimit-Reset"),
]
PREFLIGHT = [
    *CORS,
    ("access-control-allow-methods", "POST, OPTIONS"),
    (
        "access-control-allow-headers",
        "authorization, content-type, content-encoding, temas-user-token, anonymousid, sentat, traceparent, "
        "x-retry-count, "
        "rsa-retry-attempt, rsa-retry-reason, rsa-since-first-attempt, rsa-since-last-attempt",
    ),
    ("access-control-max-age", "86400"),
]
HEAD = lines(CORS)
# Exactly this, with exactly 200: some clients take any other success for a failure, and send again.
SUCCESS = b'{"success": true}'


def tracking(ingest: Callable[[], Ingest], settings: Settings) -> dict[tuple[str, str], Hot]:
    """Give the handlers of the tracking API's addresses. `ingest` gives the use case once the service has started."""
    paths: dict[str, CallType | None] = {**dict.fromkeys(BATCH_PATHS), **{f"/v1/{name}": CALLS[name] for name in CALLS}}
    posts = {("POST", path): Tracking(path, call, ingest, settings) for path, call in paths.items()}
    return {**posts, **{("OPTIONS", path): Preflight(path) for path in paths}}


class Tracking:
    """One address of the tracking API. `call`: the kind of call that it takes; None where it takes batches."""

    def __init__(self, route: str, call: CallType | None, ingest: Callable[[], Ingest], settings: Settings) -> None:
        self.route = route
        self.call = call
        self.reader = BATCH if call is None else CALL
        self.ingest = ingest
        self.largest = settings.body_limit
        self.most = settings.arriving_limit

    def refusal(self, headers: Headers, size: int, held: int) -> Answer | None:
        if size > self.largest:
            return self.refused(TooLarge(f"a body may have {self.largest} bytes: send smaller batches"))
        if held > self.most:
            return self.refused(Busy("too much is arriving at once: send this again in a moment"))
        return None

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        metrics.BODY_BYTES.observe(len(body))
        try:
            taking = self.ingest().take(self._sending(headers, query, body))
        except TemasError as error:
            return self.refused(error)
        return Later(taking.future, lambda: self._concluded(taking), taking.abandon)

    def _concluded(self, taking: Taken | Taking) -> Answer:
        try:
            return self.taken(taking.receipt())
        except TemasError as error:
            return self.refused(error)

    def taken(self, receipt: Receipt) -> Answer:
        """Tell where the touchpoints stand, and how many calls were put aside: never is one dropped in silence."""
        return Answer(200, HEAD + told(receipt), SUCCESS)

    def refused(self, error: TemasError) -> Answer:
        return Answer(error.status, HEAD + lines(error.headers.items()), msgspec.json.encode(error.body()))

    def _sending(self, headers: Headers, query: bytes, body: bytes) -> Sending:
        return Sending(
            reader=self.reader,
            body=body,
            call=self.call,
            encoding=text(headers, b"content-encoding"),
            authorization=text(headers, b"authorization"),
            query_key=written(query),
            origin=text(headers, b"origin") or None,
            user_agent=text(headers, b"user-agent"),
            user_token=text(headers, b"temas-user-token"),
            traceparent=traceparent(text(headers, b"traceparent")),
        )


class Preflight:
    """The question of a browser, before it sends from another origin."""

    def __init__(self, route: str) -> None:
        self.route = route

    def refusal(self, headers: Headers, size: int, held: int) -> Answer | None:
        return None

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        return Answer(200, lines(PREFLIGHT), b"")


def text(headers: Headers, name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


# Sought, and not read: an address has room for thousands of fields, and who sends them needs no key.
_WRITE_KEY = re.compile(rb"(?:^|&)writeKey=([^&]+)")


def written(query: bytes) -> str | None:
    """The `writeKey` of an address, if it has one."""
    found = _WRITE_KEY.search(query) if query else None
    return unquote_plus(found[1].decode("latin-1")) if found else None


def told(receipt: Receipt) -> bytes:
    position = b"temas-position: %b\r\n" % receipt.position.encode() if receipt.position else b""
    return position + (b"temas-rejected: %d\r\n" % receipt.rejected if receipt.rejected else b"")
