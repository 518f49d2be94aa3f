"""`GET /v1/pixel/{call}`, and `/pixel/v1/{call}` for RudderStack's clients: a call in the address of an image.

Every answer is an image of one transparent pixel, errors as well: nobody who opens an e-mail should see a broken one.
But the status is the true one. Segment and RudderStack answer 200 whatever happens; here that is only said of what the
log has. A call that can't be used is 400 and kept as rejected, and `Temas-Error` has the code that a body would.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from msgspec.structs import replace

from services.ingest.api.tracking import CALLS, CORS, Preflight, Tracking, told
from services.ingest.domain.pixel import PIXEL
from services.ingest.service.opening import Sending
from services.ingest.service.taking import Ingest, Receipt
from services.ingest.settings import Settings
from shared.errors import TemasError
from shared.hot import Answer, Headers, Hot, Later, lines

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")

# Kept by nobody: an image that is looked at again is another call.
IMAGE = lines(
    [
        ("content-type", "image/gif"),
        ("cache-control", "no-store, no-cache, must-revalidate, max-age=0"),
        ("pragma", "no-cache"),
        ("expires", "0"),
        ("cross-origin-resource-policy", "cross-origin"),
        *(header for header in CORS if header[0] != "content-type"),
    ]
)
PATHS = {
    path: CALLS[call] for call in dict.fromkeys(CALLS.values()) for path in (f"/v1/pixel/{call}", f"/pixel/v1/{call}")
}


def pixels(ingest: Callable[[], Ingest], settings: Settings) -> dict[tuple[str, str], Hot]:
    """Give the handlers of images. HEAD comes first: where GET is routed, HEAD would be routed as GET."""
    heads: dict[tuple[str, str], Hot] = {("HEAD", path): Glance(path) for path in PATHS}
    return {**heads, **{("GET", path): Pixel(path, call, ingest, settings) for path, call in PATHS.items()}}


class Glance(Preflight):
    """The head of an image. Who asks for it (scanners of mail do) has not looked at the image: that is no call."""

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        return Answer(200, IMAGE, b"")


class Pixel(Tracking):
    """The address of an image."""

    def taken(self, receipt: Receipt) -> Answer:
        return Answer(200, IMAGE + told(receipt), GIF)

    def refused(self, error: TemasError) -> Answer:
        # Asked to authenticate, a browser would ask the person who looks at the page.
        headers = [header for header in error.headers.items() if header[0] != "WWW-Authenticate"]
        return Answer(error.status, IMAGE + lines([*headers, ("temas-error", error.code)]), GIF)

    def _sending(self, headers: Headers, query: bytes, body: bytes) -> Sending:
        return replace(super()._sending(headers, query, body), reader=PIXEL, body=query, encoding="")
