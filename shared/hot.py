"""The short way for a service's hot path: headers, query and body in, an `Answer` out.

What ASGI, Starlette and FastAPI do for a request takes longer than ingest's whole work on it, and so does a task of
asyncio. So what is answered here knows nothing of them: it says at once what it can, or names the future that it has to
wait for. `shared/protocol.py` hands requests over straight from the connection; `Asgi` does the same for whoever runs
the application behind another server, or in a test.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from shared.db import FAILURES, is_away
from shared.errors import Invalid, TemasError, Unavailable

log = structlog.get_logger(__name__)

JSON = ("content-type", "application/json")

Headers = Mapping[bytes, bytes]
"""Of a request, by name in lower case; of those that come twice the last."""

SINGLE = frozenset({b"authorization", b"host", b"content-type", b"content-encoding", b"content-length", b"origin"})
"""Headers that a request has once at most. With two, one server would believe the first, and the next one the last."""


def doubled(headers: Iterable[tuple[bytes, bytes]]) -> Invalid | None:
    """Give what is told to a request that has one of the `SINGLE` headers twice; None where it has not."""
    times = Counter([name for name, _ in headers if name in SINGLE])
    twice = sorted(name.decode("ascii") for name, many in times.items() if many > 1)
    if not twice:
        return None
    details = [{"path": name, "code": "header_twice"} for name in twice]
    return Invalid(f"send the header {' and '.join(twice)} once: which of two holds would be a guess", details=details)


class Answer(NamedTuple):
    """A complete answer. `head`: its header lines, as `lines` writes them."""

    status: int
    head: bytes
    body: bytes


class Later(NamedTuple):
    """An answer that can be given once `future` is done, whatever it came to: `answer` then makes it.

    `abandon`: called where the client goes before that; what was not begun need not be done. The future ends, too.
    """

    future: asyncio.Future[Any]
    answer: Callable[[], Answer]
    abandon: Callable[[], None] = lambda: None


def lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines, as they go over the wire. No value may be a client's own words: a line break would end the line."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")


class Hot(Protocol):
    """The handler of an address of the hot path. It turns all its errors into answers."""

    route: str
    """For the metrics: one of a closed set."""

    def refusal(self, headers: Headers, size: int, held: int) -> Answer | None:
        """Asked while a body arrives: why not to read on, if so.

        Of it `size` bytes are there, or announced; of all bodies that are arriving here, `held` bytes are in memory.
        """

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        """The answer to a request that is there as a whole."""


def soon(route: str, answering: Coroutine[Any, Any, Answer]) -> Later:
    """Give the answer of `answering` later. Its errors are said as those of ordinary routes are (shared/http.py)."""
    task = asyncio.get_running_loop().create_task(answering)

    def answer() -> Answer:
        try:
            return task.result()
        except TemasError as error:
            return refused(error)
        except FAILURES as error:
            return refused(away(route, error))

    return Later(task, answer)


def refused(error: TemasError) -> Answer:
    """`error`, as a client is told of it."""
    head = lines(
        [*((name.lower(), value) for name, value in error.headers.items()), ("content-type", "application/json")]
    )
    return Answer(error.status, head, msgspec.json.encode(error.body()))


def away(route: str, error: BaseException) -> Unavailable:
    """Give what clients are told where PostgreSQL is away. Raises `error` where it says something else."""
    if not is_away(error):
        raise error
    log.warning("a server is away", route=route, error=repr(error)[:300])
    return Unavailable("the database does not answer now: send this again in a moment")


class Arriving:
    """Bytes of bodies that are arriving in a process, over all its connections and addresses."""

    def __init__(self) -> None:
        self.held = 0


HotPaths = Mapping[tuple[str, str], Hot]
"""By method and path."""

HotFolders = Mapping[tuple[str, str], Callable[[str], Hot]]
"""By method and the beginning of a path, up to a slash: what answers for the one segment behind it, decoded.

Only of requests without a body. To all others, and behind other servers, an ordinary route answers, which must be there
too, and say the same.
"""


class Asgi:
    """A `Hot` as an ASGI application."""

    def __init__(self, hot: Hot, arriving: Arriving) -> None:
        self.hot = hot
        self.arriving = arriving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["temas.route"] = self.hot.route
        headers = dict(scope["headers"])
        body = bytearray()
        try:
            twice = doubled(scope["headers"])
            answer = refused(twice) if twice else self._refusal(headers, int(headers.get(b"content-length", 0)))
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
        answer = answer or await self._answer(headers, scope["query_string"], bytes(body))
        head = [tuple(line.split(b": ", 1)) for line in answer.head.split(b"\r\n") if line]
        described = [*head, (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": described})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, headers: Headers, query: bytes, body: bytes) -> Answer:
        answer = self.hot.answer(headers, query, body)
        if isinstance(answer, Answer):
            return answer
        await asyncio.wait([answer.future])
        return answer.answer()

    def _refusal(self, headers: Headers, size: int) -> Answer | None:
        return self.hot.refusal(headers, size, self.arriving.held)
