"""The load generator is an instrument: it counts what really came back, and from when it was due."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from tests.bench.connection import is_whole
from tests.bench.events import EVENT_BYTES, batch, event
from tests.bench.load import MARK, Load, Outcome, Requests, drive, merged, post, shared_out


class Handler(BaseHTTPRequestHandler):
    """Answers 200, but 429 to every tenth, and takes a break of `stall` seconds once after the twentieth."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # the answer leaves in one piece: two would wait for each other (Nagle and delayed acknowledgement)
    bodies: ClassVar[list[bytes]] = []
    stall: ClassVar[float] = 0.0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:  # one at a time, as a server that is busy
            self.bodies.append(body)
            if len(self.bodies) == 20:
                time.sleep(self.stall)
            status = 429 if len(self.bodies) % 10 == 0 else 200
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def server(stall: float = 0.0) -> Iterator[tuple[str, type[Handler]]]:
    handler = type("Fresh", (Handler,), {"bodies": [], "stall": stall, "lock": threading.Lock()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{running.server_port}", handler
        finally:
            running.shutdown()


def requests(url: str, padding: int = 0) -> Requests:
    return Requests((post(url, "/", MARK + b"x" * padding, "Basic eDo="),), first=500)


@pytest.mark.parametrize("padding", [0, 2_000_000], ids=["small", "larger than a socket takes at once"])
def test_every_request_is_numbered_sent_whole_and_counted_once(padding: int) -> None:
    with server() as (url, handler):
        outcome = drive(Load(url, requests(url, padding), connections=4, seconds=20, count=40))

    assert sorted(int(body[:10]) for body in handler.bodies) == list(range(500, 540))
    assert {len(body) for body in handler.bodies} == {10 + padding}
    assert (outcome.answered, outcome.refused) == (36, 4)


def test_at_a_fixed_rate_waiting_for_a_stalled_server_counts() -> None:
    with server(stall=0.5) as (url, _):
        outcome = drive(Load(url, requests(url), connections=2, seconds=1.0, rate=100))

    late = [latency for latency in outcome.latencies if latency > 0.1]
    assert outcome.answered + outcome.refused == 100
    # 100 a second were due during the break of half a second; with only two connections, two of them were sent.
    assert len(late) > 20
    assert outcome.percentile(99) > 0.35


def test_answers_of_the_warm_up_are_not_counted() -> None:
    with server() as (url, handler):
        outcome = drive(Load(url, requests(url), connections=1, seconds=1.0, rate=50, warm_up=0.6))

    assert len(handler.bodies) == 50
    assert 0 < outcome.answered + outcome.refused < 50


def test_shares_of_a_load_are_the_whole_of_it_and_number_nothing_twice() -> None:
    load = Load("http://127.0.0.1:1", Requests((MARK,)), connections=8, seconds=1, rate=100, count=10)
    shares = [shared_out(load, 2, part) for part in range(2)]

    assert [(share.connections, share.rate, share.count) for share in shares] == [(4, 50, 5), (4, 50, 5)]
    assert shares[0].requests.numbered(3) != shares[1].requests.numbered(3)


def test_outcomes_add_up() -> None:
    one, two = (Outcome(3, 2, 1, 4.0, 0.2, array("d", latencies)) for latencies in ([0.1, 0.2], [0.3, 0.4]))

    whole = merged([one, two])

    assert (whole.sent, whole.answered, whole.refused, whole.rate, whole.percentile(99)) == (6, 4, 2, 1.0, 0.4)


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-le", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\n\r\n{}", True),
    ],
)
def test_an_answer_is_read_to_its_end(answer: bytes, whole: bool) -> None:
    assert is_whole(answer) is whole


def test_an_event_has_the_size_that_the_table_says() -> None:
    assert len(event("u-00001", "0000000000")) == EVENT_BYTES
    assert len(event("u-00001", "0000000000", order=True)) == EVENT_BYTES
    assert batch(1, 10).count(b'"messageId"') == 10
