"""A load generator light enough not to be what is measured: HTTP/1.1 on plain sockets, about 12 µs a request.

Requests are bytes made beforehand; connections are kept alive and carry one request at a time. Two ways to go:

- without a rate, each connection sends its next request as soon as it has its answer: how much is possible;
- with a rate, requests are due at fixed moments, whatever the server does, and latency counts from the moment a
  request was due, so that one that had to wait for a stalled server is not left out ("coordinated omission").
"""

from __future__ import annotations

import asyncio
import multiprocessing
import selectors
import time
from array import array
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

from tests.bench.connection import Connection

MARK = b"@@@@@@@@@@"
"""Stands in a template where the request's number belongs, ten digits, so that ids are unique."""

LINGER = 10.0
"""Seconds given to the last answers once nothing more is sent."""


@dataclass(frozen=True)
class Requests:
    """Whole HTTP requests: `templates` in turn, numbered from `first`."""

    templates: tuple[bytes, ...]
    first: int = 0

    def numbered(self, index: int) -> bytes:
        template = self.templates[index % len(self.templates)]
        return template.replace(MARK, b"%010d" % (self.first + index))


def post(url: str, path: str, body: bytes, authorization: str) -> bytes:
    """A template that posts `body`, JSON. `MARK`s in it keep its length."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(url: str, path: str, authorization: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: {authorization}\r\n\r\n".encode()


@dataclass(frozen=True)
class Load:
    """What to send where. `count` ends it early; `rate` is in requests a second, None for as many as possible."""

    url: str
    requests: Requests
    connections: int
    seconds: float
    rate: float | None = None
    count: int | None = None
    # Seconds at the beginning whose answers are not counted.
    warm_up: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What came back. `latencies` are in seconds, of counted answers with status 200; `busy` is our share of a core."""

    # Requests sent, those of the warm-up too; of the others, those with status 200 and those without.
    sent: int
    answered: int
    refused: int
    seconds: float
    busy: float
    latencies: array[float] = field(repr=False)

    @property
    def rate(self) -> float:
        """Answers with status 200 a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """The latency that `percent` of the answers did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


# --- when requests are due -------------------------------------------------------------------------------------------


class Pace(Protocol):
    """Says when requests are due, until it is `over`."""

    def due(self, now: float) -> float | None:
        """The moment at which the next request was due, if that is not later than `now`; takes it."""

    def pause(self, now: float) -> float:
        """Seconds until the next is due, at most."""

    def over(self, now: float) -> bool: ...


class Flat:
    """A connection that is free is a request that is due."""

    def __init__(self, start: float, load: Load) -> None:
        self.end = start + load.seconds
        self.left = load.count if load.count is not None else 1 << 62

    def due(self, now: float) -> float | None:
        if self.over(now):
            return None
        self.left -= 1
        return now

    def pause(self, now: float) -> float:
        return max(0.0, min(0.1, self.end - now))

    def over(self, now: float) -> bool:
        return now >= self.end or self.left <= 0


class Fixed:
    """One request every 1/rate seconds."""

    def __init__(self, start: float, load: Load, rate: float) -> None:
        self.start = start
        self.interval = 1 / rate
        self.taken = 0
        self.total = int(load.seconds * rate) if load.count is None else load.count

    def due(self, now: float) -> float | None:
        due = self.start + self.taken * self.interval
        if due > now or self.over(now):
            return None
        self.taken += 1
        return due

    def pause(self, now: float) -> float:
        return max(0.0, min(0.1, self.start + self.taken * self.interval - now))

    def over(self, now: float) -> bool:
        return self.taken >= self.total


# --- the loop --------------------------------------------------------------------------------------------------------


def drive(load: Load) -> Outcome:
    """Send `load` from this process, on one thread. Blocks until the last answer."""
    # epoll counts in milliseconds, which at a fixed rate would be most of what is measured; select in microseconds.
    with selectors.SelectSelector() if load.rate else selectors.DefaultSelector() as selector:
        return _Drive(load, selector).run()


class _Drive:
    def __init__(self, load: Load, selector: selectors.BaseSelector) -> None:
        self.load = load
        self.selector = selector
        self.connections = [Connection(load.url, selector) for _ in range(load.connections)]
        # First in, first out: a connection that idles for seconds would be closed by the server.
        self.free = deque(self.connections)
        self.sent = self.under_way = self.answered = self.refused = 0
        self.latencies: array[float] = array("d")

    def run(self) -> Outcome:
        began, busy = time.perf_counter(), time.process_time()
        self.counted_from = self.last = began + self.load.warm_up
        try:
            self._turn(Fixed(began, self.load, self.load.rate) if self.load.rate else Flat(began, self.load))
        finally:
            for connection in self.connections:
                connection.close()
        return Outcome(
            sent=self.sent,
            answered=self.answered,
            refused=self.refused + self.under_way,
            seconds=self.last - self.counted_from,
            busy=(time.process_time() - busy) / (time.perf_counter() - began),
            latencies=self.latencies,
        )

    def _turn(self, pace: Pace) -> None:
        now = time.perf_counter()
        stop = now + self.load.seconds + LINGER
        while (self.under_way or not pace.over(now)) and now < stop:
            while self.free and (due := pace.due(now)) is not None:
                self._send(due)
            for key, events in self.selector.select(pace.pause(now) if self.free else 0.1):
                self._serve(key.data, events)
            now = time.perf_counter()

    def _send(self, due: float) -> None:
        self.free.popleft().send(self.load.requests.numbered(self.sent), due)
        self.sent += 1
        self.under_way += 1

    def _serve(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            connection.went_out()
        if events & selectors.EVENT_READ:
            status = connection.came_in()
            if status is not None and connection.due:
                self._note(connection, status)

    def _note(self, connection: Connection, status: int) -> None:
        now = time.perf_counter()
        if now >= self.counted_from:
            self.last = now
            if status == 200:
                self.answered += 1
                self.latencies.append(now - connection.due)
            else:
                self.refused += 1
        self.under_way -= 1
        connection.due = 0.0
        self.free.append(connection)


# --- in processes of their own ---------------------------------------------------------------------------------------


class Generator:
    """Drives loads in `processes` children, so that measuring does not wait for whoever asked for it."""

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        # Spawned, not forked: a copy of a running event loop is nothing to build on.
        self.pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))

    async def run(self, load: Load) -> Outcome:
        """Send `load`, shared out evenly; the sum of what came back."""
        loop = asyncio.get_running_loop()
        shares = [shared_out(load, self.processes, part) for part in range(self.processes)]
        return merged(await asyncio.gather(*(loop.run_in_executor(self.pool, drive, share) for share in shares)))

    def close(self) -> None:
        self.pool.shutdown()


def shared_out(load: Load, parts: int, part: int) -> Load:
    """The share of `load` that the process number `part` of `parts` sends; no two shares number alike."""
    return replace(
        load,
        requests=replace(load.requests, first=load.requests.first + part * 100_000_000),
        connections=max(1, load.connections // parts),
        rate=load.rate / parts if load.rate else None,
        count=load.count // parts if load.count is not None else None,
    )


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    latencies = array("d")
    for outcome in outcomes:
        latencies.extend(outcome.latencies)
    return Outcome(
        sent=sum(outcome.sent for outcome in outcomes),
        answered=sum(outcome.answered for outcome in outcomes),
        refused=sum(outcome.refused for outcome in outcomes),
        seconds=max(outcome.seconds for outcome in outcomes),
        busy=sum(outcome.busy for outcome in outcomes),
        latencies=latencies,
    )
