"""`POST /events`: CloudEvents 1.0 over HTTP, answered as the tracking API answers.

Webhooks may ask first whether they may deliver here (CloudEvents' "HTTP 1.1 Web Hooks for Event Delivery"). Anybody
may ask and is told yes: what decides is the key that comes with the delivery.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from services.ingest.api.tracking import PREFLIGHT, Preflight, Tracking
from services.ingest.domain.binding import reader
from services.ingest.service.opening import Sending
from services.ingest.service.taking import Ingest
from services.ingest.settings import Settings
from shared.hot import Answer, Headers, Hot, Later, lines

PATH = "/events"

ATTRIBUTES = (
    "specversion", "id", "source", "type", "subject", "time", "dataschema", "userid", "anonymousid", "channel",
)  # fmt: skip


def events(ingest: Callable[[], Ingest], settings: Settings) -> dict[tuple[str, str], Hot]:
    """Give the handlers of the address that CloudEvents are sent to."""
    return {("POST", PATH): Events(PATH, None, ingest, settings), ("OPTIONS", PATH): Asked(PATH)}


class Events(Tracking):
    """The address that takes one event, or a batch: its headers say which."""

    def _sending(self, headers: Headers, query: bytes, body: bytes) -> Sending:
        return replace(super()._sending(headers, query, body), reader=reader(headers.items()))


class Asked(Preflight):
    """The question of a browser or of a webhook, before it sends."""

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        if b"webhook-request-origin" in headers:
            allowed = [("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*"), ("allow", "POST")]
            return Answer(200, lines(allowed), b"")
        return Answer(200, lines(_PREFLIGHT), b"")


_NAMED = ", ".join(f"ce-{name}" for name in ATTRIBUTES)
_PREFLIGHT = [
    (name, f"{value}, {_NAMED}" if name == "access-control-allow-headers" else value) for name, value in PREFLIGHT
]
