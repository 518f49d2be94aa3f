"""The short way for a service's hot path: headers, query and body in, an `Answer` out.

What ASGI, Starlette and FastAPI do for a request takes longer than ingest's whole work on it. So what is answered here
knows nothing of them; `shared/protocol.py` hands requests over straight from the connection, and `Asgi` does the same
for whoever runs the application behind another server, or in a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope, Send

Headers = Mapping[bytes, bytes]
"""Of a request, by name in lower case; of those that come twice the last."""


class Answer(NamedTuple):
    """A complete answer. Header names are in lower case; no value may be a client's own words."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Hot(Protocol):
    """What answers at an address of the hot path. It turns all its errors into answers."""

    route: str
    """For the metrics: one of a closed set."""

    def refusal(self, headers: Headers, size: int, held: int) -> Answer | None:
        """Asked while a body arrives: why not to read on, if so.

        Of it `size` bytes are there, or announced; of all bodies that are arriving here, `held` bytes are in memory.
        """

    async def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer:
        """The answer to a request that is there as a whole."""


class Arriving:
    """Bytes of bodies that are arriving in a process."""

    def __init__(self) -> None:
        self.held = 0


HotPaths = Mapping[tuple[str, str], Hot]
"""By method and path."""


class Asgi:
    """A `Hot` as an ASGI application."""

    def __init__(self, hot: Hot) -> None:
        self.hot = hot
        self.arriving = Arriving()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["temas.route"] = self.hot.route
        headers = dict(scope["headers"])
        body = bytearray()
        try:
            answer = self._refusal(headers, int(headers.get(b"content-length", 0)))
            more = answer is None
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                piece = message.get("body", b"")
                self.arriving.held += len(piece)
                body += piece
                answer = self._refusal(headers, len(body))
                more = answer is None and message.get("more_body", False)
        finally:
            self.arriving.held -= len(body)
        answer = answer or await self.hot.answer(headers, scope["query_string"], bytes(body))
        described = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": described})
        await send({"type": "http.response.body", "body": answer.body})

    def _refusal(self, headers: Headers, size: int) -> Answer | None:
        return self.hot.refusal(headers, size, self.arriving.held)
