"""One kept-alive HTTP/1.1 connection on a plain socket, driven by whoever watches its selector."""

from __future__ import annotations

import selectors
import socket
from urllib.parse import urlsplit


class Connection:
    """A kept-alive connection with at most one request under way. `due` is that request's moment; 0 when idle."""

    def __init__(self, url: str, selector: selectors.BaseSelector) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.address = (parts.hostname, parts.port)
        self.selector = selector
        self.due = 0.0
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(self.address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # a batch leaves in one call
        self.socket.setblocking(False)
        self.selector.register(self.socket, selectors.EVENT_READ, self)
        self.unsent = memoryview(b"")
        self.answer = b""

    def close(self) -> None:
        self.selector.unregister(self.socket)
        self.socket.close()

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.unsent = memoryview(request)
        self.flush()
        if self.unsent:
            self.selector.modify(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def flush(self) -> None:
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self.unsent = memoryview(b"")  # the server hung up: reading will say so

    def went_out(self) -> None:
        """The socket takes more: send on, and stop asking once all has left."""
        self.flush()
        if not self.unsent:
            self.selector.modify(self.socket, selectors.EVENT_READ, self)

    def came_in(self) -> int | None:
        """Read; the status once the answer is whole, 0 where the server hung up, None where more is to come."""
        try:
            received = self.socket.recv(65_536)
        except BlockingIOError:
            return None
        except OSError:
            received = b""
        if not received:
            self.close()
            self.open()
            return 0
        self.answer += received
        if not is_whole(self.answer):
            return None
        status = int(self.answer[9:12])
        self.answer = b""
        return status


def is_whole(answer: bytes) -> bool:
    """Whether all of an answer has come. Ours carry Content-Length, in whatever case."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = answer.find(b"content-length: ", 0, head)
    if at < 0:
        at = answer[:head].lower().find(b"content-length: ")
    if at < 0:
        return True
    end = answer.find(b"\r\n", at)
    return len(answer) >= head + 4 + int(answer[at + 16 : end])
