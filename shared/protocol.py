"""The connection of one client: uvicorn's HTTP over httptools, with what uvicorn leaves to others.

- An end to all that a client can draw out: uvicorn waits for ever for the rest of a request or for answers to be read,
  and reads a head of any length.
- An answer for a half-closed connection: on a client that has said all it had to say, uvicorn hangs up.
- The short way of `shared/hot.py`, from the connection to the answer and back in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
import structlog
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.hot import Answer, Arriving, Hot, HotFolders, HotPaths, Later, doubled, refused
from shared.metrics import CUT_SHORT, Requests

log = structlog.get_logger(__name__)
A = TypeVar("A", Answer, Answer | Later)

HEAD_BYTES = 64 * 1024
"""Of a request's line and headers together."""

LINGER = 1.0
"""Seconds that a client which is hung up on has to read why."""

BODY = frozenset({b"content-length", b"transfer-encoding"})
"""Headers of a request that has a body."""

JSON = b"content-type: application/json\r\n"
OUR_FAULT = Answer(500, JSON, b'{"code":"internal_error","message":"this is our fault; it was logged"}')


class Protocol(HttpToolsProtocol):
    """A connection on which a request must be there, head and body, `seconds` after its first byte."""

    service: str
    seconds: float
    hot: HotPaths
    folders: HotFolders
    requests: Requests
    arriving: Arriving

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.flow: Flow = Flow(transport, self)
        self.head: int | None = 0  # bytes of a head that is arriving, from earlier reads
        self.read = 0  # bytes of this read
        self.begun = False  # whether a head began within this read, behind what else is in it
        self.since: float | None = self.loop.time()  # that a request is arriving; or, at first, that none is
        self.watch = self.loop.call_later(self.seconds, self._look)
        self.over = False  # what else it sends is thrown away
        self.why: Answer | None = None  # what it is still to be told, after the answers that it waits for

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.cancel()
        if isinstance(self.cycle, Exchange):
            self.cycle.forget()
            self.cycle.abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.over:
            return
        self.read, self.begun = len(data), False
        idle = self.timeout_keep_alive_task  # uvicorn ends it, whatever comes
        super().data_received(data)
        if self.head is not None and not self.over:
            self.head += self._head_size() if self.begun else self.read
            if self.head > HEAD_BYTES:
                self._end_head()
        elif self._is_idle() and self.timeout_keep_alive_task is None:  # what came began no request: the time goes on
            until = self.loop.time() + self.timeout_keep_alive if idle is None else idle.when()
            self.timeout_keep_alive_task = self.loop.call_at(until, self.timeout_keep_alive_handler)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's hangs up, asyncio lets one choose
        """The client sends no more; true where it still has an answer to get."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def _is_idle(self) -> bool:
        """Tell whether nothing is arriving, and everything was answered."""
        return self.since is None and (self.cycle is None or self.cycle.response_complete) and not self.over

    # --- a request arrives -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head, self.begun = 0, True
        self.since = self.loop.time()

    def starts_anew(self) -> None:
        """A request that is arriving has its time from now on: before, it was not read."""
        if self.since is not None:
            self.since = self.loop.time()

    def on_headers_complete(self) -> None:
        if self.over:
            return
        # Only where what was read may hold more than a head can be too long: most reads are smaller than that.
        if (self.head or 0) + self.read > HEAD_BYTES and self._head_size() > HEAD_BYTES:
            self._end_head()
            return
        self.head = None
        method = self.parser.get_method().decode("ascii")
        path, _, query = self.url.partition(b"?")
        hot = self.hot.get((method, path.decode("latin-1"))) or self._behind(method, path)
        free = self.cycle is None or self.cycle.response_complete  # else it is pipelined: uvicorn knows how to queue it
        if hot is None or not free or self.expect_100_continue or self.parser.should_upgrade():
            super().on_headers_complete()
        else:
            self.cycle = Exchange(self, hot, method, query)  # type: ignore[assignment]  # as far as uvicorn looks

    def _behind(self, method: str, path: bytes) -> Hot | None:
        """Give what answers for the last segment of `path`, where nothing has to be known of the request but that."""
        folder, slash, last = path.rpartition(b"/")
        make = self.folders.get((method, (folder + slash).decode("latin-1")))
        if make is None or not last.isascii() or b"#" in self.url or any(name in BODY for name, _ in self.headers):
            return None
        segment = unquote(last.decode("ascii"))
        return None if not segment or "/" in segment else make(segment)

    def on_body(self, body: bytes) -> None:
        if self.over:
            return
        if isinstance(self.cycle, Exchange):
            self.cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.since = None
        if self.over:
            return
        if isinstance(self.cycle, Exchange):
            self.cycle.arrived()
        else:
            super().on_message_complete()

    # --- what takes too long, or has no end --------------------------------------------------------------------------

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _end_head(self) -> None:
        self._end(431, "head_too_large", f"a request's line and headers may have {HEAD_BYTES} bytes")

    def _look(self) -> None:
        """Look whether the client has had its time, for a request that arrives or for answers that it does not read.

        One timer a connection, not one a request.
        """
        now, full = self.loop.time(), self.flow.full
        began = full if full is not None else self.since
        if began is None or (full is None and (self.flow.held or self.pipeline)):  # what we don't read is not late
            began = now
        left = began + self.seconds - now
        if left > 0:
            self.watch = self.loop.call_later(left, self._look)
        elif full is not None:
            self.transport.abort()  # closing it would wait until all is read
        else:
            self._end(408, "too_slow", f"the request did not arrive within {self.seconds:g} s: send it again")

    def _end(self, status: int, code: str, message: str) -> None:
        """Hang up on the request that is arriving, after all before it were answered; and say why, unless it was
        answered itself already.
        """
        self.watch.cancel()
        CUT_SHORT.labels(self.service, code).inc()
        self.over = True
        if self.head is None and self.cycle.response_started:
            self._hang_up()
            return
        self.why = Answer(status, JSON, msgspec.json.encode({"code": code, "message": message}))
        if self.head is None or self.cycle is None or self.cycle.response_complete:
            self._hang_up()

    def _hang_up(self) -> None:
        if self.why is not None:
            self.write(self.why, last=True)
        # Closed at once, with what it sent unread, the connection would be reset before the client has read the answer.
        self.loop.call_later(LINGER, self.transport.close)
        self.loop.call_later(LINGER + self.seconds, self.transport.abort)  # closing waits until all is read

    def on_response_complete(self) -> None:
        last = self.why is not None and not self.pipeline
        super().on_response_complete()
        if last:
            self._hang_up()

    def write(self, answer: Answer, *, last: bool) -> None:
        """Write an answer, in one piece. `last`: the connection is closed after it."""
        if self.transport.is_closing():
            return
        common = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        close = b"connection: close\r\n" if last else b""
        length = b"content-length: %d\r\n\r\n" % len(answer.body)
        self.transport.write(b"".join((STATUS_LINE[answer.status], common, answer.head, close, length, answer.body)))


class Flow(FlowControl):
    """Reads nothing more while requests wait for their turn, or answers to be read.

    uvicorn reads on with every request that it begins or answers: whoever sends without waiting would fill the memory.
    """

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        super().__init__(transport)
        self.protocol = protocol
        self.held = False  # whether more would be read, if it were not for that
        self.full: float | None = None  # since when the client reads no answers

    def resume_reading(self) -> None:
        # Of a request whose turn it is while others wait behind it, all has arrived.
        if self.protocol.pipeline or self.write_paused:
            self.held = True
        elif not self._transport.is_closing():
            if self.held:
                self.held = False
                self.protocol.starts_anew()
            super().resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.full = self.protocol.loop.time()
        self.held = True
        self.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.full = None
        self.resume_reading()


class Exchange:
    """One request for a hot address, and its answer. It has what uvicorn looks for in a request of its own."""

    def __init__(self, protocol: Protocol, hot: Hot, method: str, query: bytes) -> None:
        self.protocol = protocol
        self.hot = hot
        self.method = method
        self.query = query
        self.headers = dict(protocol.headers)
        self.body: list[bytes] = []
        self.size = 0
        self.began = perf_counter()
        self.keep_alive = protocol.parser.should_keep_alive()
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False
        self.message_event = NOBODY_WAITS
        self.later: Later | None = None
        twice = doubled(protocol.headers) if len(self.headers) < len(protocol.headers) else None
        if twice is not None:
            self._say(refused(twice))
        else:
            self._check(int(self.headers.get(b"content-length", 0)))

    def take(self, piece: bytes) -> None:
        """The next piece of the body."""
        if not self.response_complete:
            self.body.append(piece)
            self.size += len(piece)
            self.protocol.arriving.held += len(piece)
            self._check(self.size)

    def forget(self) -> None:
        """Forget what has arrived, and no longer count its bytes as held."""
        self.protocol.arriving.held -= self.size
        self.size = 0
        self.body.clear()

    def arrived(self) -> None:
        """All of the body is there."""
        self.more_body = False
        if self.response_complete:
            return
        body = b"".join(self.body)
        self.forget()
        answer = self._made(lambda: self.hot.answer(self.headers, self.query, body))
        if isinstance(answer, Answer):
            self._say(answer)
        else:
            self.later = answer
            answer.future.add_done_callback(lambda _: self._say(self._made(answer.answer)))

    def abandon(self) -> None:
        """The client has gone. Whoever works for it is told."""
        if self.later is not None and not self.response_complete:
            self.later.abandon()

    def _made(self, make: Callable[[], A]) -> A | Answer:
        """Give what `make` gives; a bug in it must not leave a client without an answer."""
        try:
            return make()
        except Exception:
            log.exception("unexpected error", route=self.hot.route)
            return OUR_FAULT

    def _check(self, size: int) -> None:
        refusal = self.hot.refusal(self.headers, size, self.protocol.arriving.held)
        if refusal is not None:
            # What is still to come is read and thrown away: a client that is hung up on would not see the answer.
            self.forget()
            self._say(refusal)

    def _say(self, answer: Answer) -> None:
        self.protocol.requests.note(self.method, self.hot.route, answer.status, perf_counter() - self.began)
        self.response_started = self.response_complete = True
        if not self.disconnected:
            self.protocol.write(answer, last=not self.keep_alive)
            if not self.keep_alive:
                self.protocol.transport.close()
            self.protocol.on_response_complete()


class _Nobody:
    """Stands where an ASGI application would wait for more."""

    def set(self) -> None:
        pass


NOBODY_WAITS = _Nobody()


def protocol(service: str, seconds: float, hot: HotPaths, folders: HotFolders) -> type[asyncio.Protocol]:
    """The class of `service`'s connections."""
    members: dict[str, Any] = {"service": service, "seconds": seconds, "hot": hot, "folders": folders}
    members |= {"requests": Requests(service), "arriving": Arriving()}
    return type("Protocol", (Protocol,), members)
