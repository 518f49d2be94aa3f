"""What a connection does with clients that are slow, endless, half gone or in a hurry. Real sockets throughout."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from fastapi import APIRouter, Request
from prometheus_client import REGISTRY
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from shared.errors import TooManyRequests
from shared.hot import Answer, Headers, Later, lines, soon
from shared.http import server
from shared.protocol import HEAD_BYTES, Protocol
from tests.application import made, settings
from tests.servers import free
from tests.waiting import in_time, until

LARGEST = 200_000
MOST = 300_000
SECONDS = 0.5


class Echo:
    """A hot address that gives back what it was sent; the answer waits for `wait`."""

    route = "/hot"

    def __init__(self) -> None:
        self.held = 0
        self.asked = 0
        self.wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.goes_on()

    def refusal(self, headers: Headers, size: int, held: int) -> Answer | None:
        self.held = held
        return Answer(413, b"", b"too large") if size > LARGEST or held > MOST else None

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        self.asked += 1
        if body == b"crash":
            raise ZeroDivisionError
        return Later(self.wait, lambda: self._echo(query, body))

    def _echo(self, query: bytes, body: bytes) -> Answer:
        if body == b"crash later":
            raise ZeroDivisionError
        return Answer(200, lines([("query", query.decode())]), body)

    def waits(self) -> None:
        self.wait = asyncio.get_running_loop().create_future()

    def goes_on(self) -> None:
        if not self.wait.done():
            self.wait.set_result(None)


class Named:
    """A hot address in a folder: says what was behind it."""

    route = "/people/{name:path}"

    def __init__(self, name: str) -> None:
        self.name = name

    def refusal(self, headers: Headers, size: int, held: int) -> Answer | None:
        return None

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        return soon(self.route, self._answer(query))

    async def _answer(self, query: bytes) -> Answer:
        await asyncio.sleep(0)
        if query == b"away":
            raise ConnectionRefusedError
        if query == b"crash":
            raise ZeroDivisionError
        if query == b"busy":
            raise TooManyRequests("not so fast")
        return Answer(200, b"", json.dumps({"short": self.name}).encode())


class Client:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        head = (await in_time(self.reader.readuntil(b"\r\n\r\n"))).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def closed(self) -> bool:
        """Whether nothing more comes, and the connection ends."""
        return await in_time(self.reader.read()) == b""


class Place:
    def __init__(self, port: int, echo: Echo, running: uvicorn.Server) -> None:
        self.port = port
        self.echo = echo
        self.running = running

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    echo, router, [port] = Echo(), APIRouter(), free(1)

    @router.post("/cold")
    async def cold(request: Request) -> dict[str, str]:
        body = await request.body()
        if body == b"crash":
            raise ZeroDivisionError
        return {"body": body.decode()}

    @router.post("/unread")
    async def unread() -> None:
        raise ZeroDivisionError

    @router.get("/half")
    async def half() -> StreamingResponse:
        return StreamingResponse(broken())

    async def broken() -> AsyncIterator[bytes]:
        yield b"half of it"
        raise ZeroDivisionError

    @router.get("/people/{name:path}")
    async def long_way(name: str) -> dict[str, str]:
        return {"long": name}

    chosen = settings(port, request_seconds=SECONDS)
    app = made(routers=[router], chosen=chosen, hot={("POST", "/hot"): echo}, folders={("GET", "/people/"): Named})
    running = server(app, chosen, "tests")
    serving = asyncio.create_task(running.serve())
    await until(lambda: _started(running))
    yield Place(port, echo, running)
    echo.goes_on()
    running.should_exit = True
    await serving


async def _started(running: uvicorn.Server) -> bool:
    return running.started


def request(body: bytes = b"{}", path: str = "/hot", *headers: str) -> bytes:
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("temas_http_cut_short_total", {"service": "tests", "reason": reason}) or 0


# --- the short way does what the long way does ------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/hot", "/cold"])
async def test_a_connection_serves_one_request_after_the_other(place: Place, path: str) -> None:
    async with place.client() as client:
        for body in (b"one", b"two"):
            await client.send(request(body, path))
            status, _, said = await client.answer()
            assert status == 200
            assert body in said


async def test_a_body_comes_in_pieces_and_a_query_stays_as_it_is(place: Place) -> None:
    async with place.client() as client:
        head, body = b"POST /hot?a=%20b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"x" * 100_000
        await client.send(head, b"%x\r\n" % len(body), body[:1], body[1:], b"\r\n", b"0\r\n\r\n")
        status, headers, said = await client.answer()
    assert (status, headers["query"], said) == (200, "a=%20b", body)
    assert "date" in headers


async def test_requests_sent_before_the_first_is_answered_are_answered_in_order(place: Place) -> None:
    place.echo.waits()
    async with place.client() as client:
        await client.send(request(b"1") + request(b"2") + request(b"3", "/cold") + request(b"4"))
        place.echo.goes_on()
        said = [(await client.answer())[2] for _ in range(4)]
    assert said == [b"1", b"2", json.dumps({"body": "3"}, separators=(",", ":")).encode(), b"4"]


async def test_a_client_that_asks_whether_to_go_on_is_told_so(place: Place) -> None:
    async with place.client() as client:
        head, _, body = request(b"{}", "/hot", "Expect: 100-continue").partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await client.send(body)
        assert (await client.answer())[0] == 200


async def test_a_client_that_wants_no_other_request_is_hung_up_on(place: Place) -> None:
    async with place.client() as client:
        await client.send(request(b"{}", "/hot", "Connection: close"))
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await client.closed()


@pytest.mark.parametrize("body", [b"crash", b"crash later"])
async def test_what_goes_wrong_inside_is_told_as_json(place: Place, body: bytes) -> None:
    async with place.client() as client:
        await client.send(request(body))
        status, _, said = await client.answer()
        assert (status, json.loads(said)["code"]) == (500, "internal_error")
        await client.send(request(b"fine"))
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("path", ["/hot", "/cold", "/unread"])
async def test_after_a_bug_the_connection_goes_on_and_it_is_logged_and_counted_once(
    place: Place, caplog: pytest.LogCaptureFixture, path: str, pipelined: bool
) -> None:
    def failed() -> float:
        labels = {"service": "tests", "method": "POST", "route": path, "status": "500"}
        return REGISTRY.get_sample_value("temas_http_requests_total", labels) or 0

    before = failed()
    bad, good = request(b"crash", path), request(b"fine", "/cold")
    with capture_logs() as logged, caplog.at_level("DEBUG", "uvicorn.error"):
        async with place.client() as client:
            await client.send(*([bad + good + bad + good] if pipelined else [bad]))
            said = [await client.answer()]
            for each in (good, bad, good):
                if not pipelined:
                    await client.send(each)
                said.append(await client.answer())
    assert [status for status, *_ in said] == [500, 200, 500, 200]
    assert [json.loads(body).get("code") for *_, body in said] == ["internal_error", None] * 2
    assert failed() == before + 2
    assert [(each["event"], each["route"]) for each in logged] == [("unexpected error", path)] * 2
    assert [each for each in caplog.records if each.levelname in ("ERROR", "CRITICAL")] == []


async def test_a_bug_behind_half_an_answer_ends_the_connection_and_is_logged_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a client would take what it has for the whole."""
    with capture_logs() as logged:
        async with place.client() as client:
            await client.send(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n")
            said = await in_time(client.reader.read())
    assert b"half of it" in said
    assert not said.endswith(b"0\r\n\r\n")
    [found] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert logged == []
    assert found.exc_info is not None
    assert getattr(found.exc_info[1], "__notes__", None) == ["route: /half"]


SAID_TWICE = [
    ("Authorization: Bearer a", "Authorization: Bearer b"),
    ("Authorization: Bearer a", "AUTHORIZATION: Bearer a"),
    ("Host: y",),
    ("Content-Type: text/plain", "Content-Type: application/json"),
    ("Content-Encoding: gzip", "Content-Encoding: br"),
    ("Origin: https://a.example", "Origin: https://b.example"),
]


@pytest.mark.parametrize("twice", SAID_TWICE, ids=lambda each: each[-1])
@pytest.mark.parametrize("path", ["/hot", "/cold", "/people/a", "/nowhere"])
async def test_what_may_be_said_once_is_not_said_twice(place: Place, path: str, twice: tuple[str, ...]) -> None:
    """One of two servers in a row would believe the first, and the other one the last."""
    name = twice[-1].partition(":")[0].lower()
    bad = request(b"{}", path, *twice)
    if path == "/people/a":
        bad = b"\r\n".join([b"GET /people/a HTTP/1.1", b"Host: x", *(each.encode() for each in twice), b"", b""])
    async with place.client() as client:
        await client.send(bad + bad + request(b"fine"))  # the second one waits for its turn, and goes another way
        for _ in range(2):
            status, _, said = await client.answer()
            assert (status, json.loads(said)["details"]) == (400, [{"path": name, "code": "header_twice"}])
        assert (await client.answer())[2] == b"fine"
    assert place.echo.asked == 1


async def test_other_headers_come_as_often_as_they_like(place: Place) -> None:
    async with place.client() as client:
        for path in ("/hot", "/cold"):
            await client.send(
                request(b"{}", path, "Accept: a", "Accept: b", "X-Forwarded-For: a", "X-Forwarded-For: b")
            )
            assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    "framing",
    [
        ("Content-Length: 2", "Content-Length: 2"),
        ("Content-Length: 2", "Content-Length: 3"),
        ("Content-Length: 2, 2",),
        ("Content-Length: +2",),
        ("Content-Length: 2", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 2"),
        ("Transfer-Encoding: identity", "Content-Length: 2"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
    ],
    ids=" and ".join,
)
@pytest.mark.parametrize("path", ["/hot", "/cold"])
async def test_a_body_whose_end_two_servers_could_see_in_two_places_is_refused(
    place: Place, path: str, framing: tuple[str, ...]
) -> None:
    async with place.client() as client:
        head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *framing, "", ""]).encode()
        await client.send(head + b"0\r\n\r\n" + request(b"smuggled"))
        said = await in_time(client.reader.read())  # and the connection ends
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"smuggled" not in said
    assert place.echo.asked == 0


async def test_other_methods_are_refused_by_name(place: Place) -> None:
    async with place.client() as client:
        await client.send(b"GET /hot HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, said = await client.answer()
    assert (status, json.loads(said)["code"]) == (405, "method_not_allowed")


async def test_both_ways_are_counted_by_route(place: Place) -> None:
    def answered(route: str) -> float:
        labels = {"service": "tests", "method": "POST", "route": route, "status": "200"}
        return REGISTRY.get_sample_value("temas_http_requests_total", labels) or 0

    before = answered("/hot"), answered("/cold")
    async with place.client() as client:
        await client.send(request() + request(path="/cold"))
        await client.answer()
        await client.answer()
    assert (answered("/hot"), answered("/cold")) == (before[0] + 1, before[1] + 1)


async def asked(client: Client, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    await client.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return await client.answer()


async def test_one_segment_behind_a_folder_is_answered_the_short_way_and_all_else_as_before(place: Place) -> None:
    said = {}
    async with place.client() as client:
        for target in ("a", "a%20b%25%3F?c", "a/b", "a%2Fb", "", "a#b", "http://x/people/a"):
            address = target if target.startswith("http") else f"/people/{target}"
            status, _, body = await asked(client, address)
            assert status == 200
            said[target] = json.loads(body)
    assert said == {
        "a": {"short": "a"},
        "a%20b%25%3F?c": {"short": "a b%?"},
        "a/b": {"long": "a/b"},
        "a%2Fb": {"long": "a/b"},
        "": {"long": ""},
        "a#b": {"long": "a"},
        "http://x/people/a": {"long": "a"},
    }


async def test_what_has_a_body_behind_a_folder_goes_the_long_way(place: Place) -> None:
    async with place.client() as client:
        await client.send(b"GET /people/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nxxxxx")
        assert json.loads((await client.answer())[2]) == {"long": "a"}
        assert json.loads((await asked(client, "/people/a"))[2]) == {"short": "a"}
        assert (await asked(client, "/people/a", "DELETE"))[0] == 405


async def test_what_goes_wrong_while_somebody_waits_is_told_by_its_kind(place: Place) -> None:
    kinds = {"away": (503, "unavailable"), "crash": (500, "internal_error"), "busy": (429, "too_many_requests")}
    async with place.client() as client:
        for kind, told in kinds.items():
            status, _, said = await asked(client, f"/people/a?{kind}")
            assert (status, json.loads(said)["code"]) == told


# --- bodies that are too much ----------------------------------------------------------------------------------------


async def test_a_body_that_is_announced_as_too_large_is_refused_before_it_comes(place: Place) -> None:
    async with place.client() as client:
        await client.send(b"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        assert (await client.answer())[0] == 413
    assert place.echo.asked == 0


async def test_a_body_that_turns_out_too_large_is_refused_while_it_comes_and_the_connection_goes_on(
    place: Place,
) -> None:
    async with place.client() as client:
        await client.send(request(b"x" * (LARGEST + 1)), request(b"small"))
        assert [(await client.answer())[0] for _ in range(2)] == [413, 200]
    assert place.echo.asked == 1


async def test_bodies_that_arrive_are_bounded_together_and_those_that_never_do_are_forgotten(place: Place) -> None:
    head = b"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 190000\r\n\r\n"
    async with place.client() as first, place.client() as second:
        await first.send(head + b"x" * 180_000)
        await second.send(head + b"x" * 180_000)
        assert (await second.answer())[0] == 413  # each by itself is small enough
    async with place.client() as client:
        await client.send(request(b"x" * 1_000))
        assert (await client.answer())[0] == 200
    assert place.echo.held == 1_000


# --- clients that are slow, endless or half gone ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /hot HTT",
        b"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Le",
        b"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxxx",
        b"POST /cold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxxx",
    ],
    ids=["line", "head", "body", "body, the long way"],
)
async def test_a_request_that_does_not_arrive_is_408_by_name(place: Place, sent: bytes) -> None:
    before = counted("too_slow")
    async with place.client() as client:
        for piece in (sent[:5], sent[5:]):
            await client.send(piece)
        status, _, said = await client.answer()
        assert (status, json.loads(said)["code"]) == (408, "too_slow")
        assert await client.closed()
    assert counted("too_slow") == before + 1


async def test_a_request_that_comes_drop_by_drop_gets_no_more_time_for_it(place: Place) -> None:
    async with place.client() as client:
        await client.send(b"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        dripping = asyncio.create_task(client.send(*[b"x"] * 500))
        assert (await client.answer())[0] == 408
        dripping.cancel()


async def test_a_client_that_says_nothing_is_hung_up_on(place: Place) -> None:
    async with place.client() as client:
        await client.reader.read()
        assert client.reader.at_eof()


@pytest.mark.parametrize("sent", [b"GET /" + b"x" * 2 * HEAD_BYTES, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * HEAD_BYTES])
async def test_a_head_without_end_is_431(place: Place, sent: bytes) -> None:
    async with place.client() as client:
        client.writer.write(sent)
        assert (await client.answer())[0] == 431


@pytest.mark.parametrize("path", ["/hot", "/cold"])
async def test_a_head_is_measured_by_itself_however_much_comes_with_it(place: Place, path: str) -> None:
    """In one write, so that a head and what follows it may be read at once."""
    async with place.client() as client:
        client.writer.write(request(b"x" * 150_000, path))
        assert (await client.answer())[0] == 200
    async with place.client() as client:
        client.writer.write(request(b"x" * 1_000, path, f"X: {'y' * (HEAD_BYTES - 100)}"))
        assert (await client.answer())[0] == 200
    async with place.client() as client:
        client.writer.write(request(b"x" * 1_000, path, f"X: {'y' * HEAD_BYTES}"))
        assert (await client.answer())[0] == 431
        assert await client.closed()


LATE = b"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxxx"
ENDLESS = 100_000_000
LONG = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * HEAD_BYTES


@pytest.mark.parametrize(
    ("second", "status"), [(LATE, 408), (LATE[:40], 408), (LONG, 431)], ids=["body", "head", "long"]
)
@pytest.mark.parametrize("earlier", [("/hot",), ("/cold", "/hot")])
async def test_why_a_request_is_cut_short_is_said_in_its_turn(
    place: Place, earlier: tuple[str, ...], second: bytes, status: int
) -> None:
    """Or else the answer to the first would be taken for that to a request which nobody has read."""
    place.echo.waits()
    async with place.client() as client:
        await client.send(*(request(b"first", path) for path in earlier), second)
        await asyncio.sleep(3 * SECONDS)
        place.echo.goes_on()
        assert [(await client.answer())[0] for _ in (*earlier, "the second")] == [*(200 for _ in earlier), status]
        assert await client.closed()


async def test_what_follows_a_long_body_is_no_long_head(place: Place) -> None:
    async with place.client() as client:
        rest = request(b"second")
        client.writer.write(request(b"x" * 150_000) + rest[:20])
        assert (await client.answer())[0] == 200
        await client.send(rest[20:])
        assert (await client.answer())[2] == b"second"


async def test_a_body_that_was_refused_already_gets_no_other_answer(place: Place) -> None:
    async with place.client() as client:
        await client.send(b"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")
        assert (await client.answer())[0] == 413
        assert await client.closed()


@pytest.mark.parametrize(
    ("first", "then", "status"),
    [
        (request(b"x"), b"\r\n", 200),
        (b"POST /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 200001\r\n\r\n", b"x" * 200_001, 413),
    ],
    ids=["an empty line", "the refused body"],
)
async def test_what_begins_no_request_holds_no_connection(place: Place, first: bytes, then: bytes, status: int) -> None:
    async with place.client() as client:
        await client.send(first)
        assert (await client.answer())[0] == status
        await client.send(then)
        assert await client.closed()


async def test_a_client_that_reads_no_answers_is_not_read_and_then_hung_up_on(place: Place) -> None:
    many = request(b"x" * 1000) * 50
    async with place.client() as client:
        sent = 0
        with suppress(TimeoutError, ConnectionError):
            while sent < ENDLESS:
                client.writer.write(many)
                async with asyncio.timeout(2 * SECONDS):
                    await client.writer.drain()
                sent += len(many)
        assert sent < ENDLESS / 2  # what the system keeps on both sides, and not what we keep
        await until(lambda: _nobody(place))


async def test_a_client_that_sends_without_waiting_is_read_no_faster_than_it_is_answered(place: Place) -> None:
    place.echo.waits()
    async with place.client() as client:
        client.writer.write(request(b"x" * 1000) * 5000)
        await asyncio.sleep(3 * SECONDS)
        (connection,) = place.running.server_state.connections
        assert isinstance(connection, Protocol)
        assert len(connection.pipeline) < 1000
        place.echo.goes_on()
        for _ in range(5000):
            assert (await client.answer())[0] == 200


async def _nobody(place: Place) -> bool:
    return not place.running.server_state.connections


@pytest.mark.parametrize("path", ["/hot", "/cold"])
async def test_a_client_that_has_said_all_still_gets_its_answer(place: Place, path: str) -> None:
    place.echo.waits()
    async with place.client() as client:
        await client.send(request(b"all", path))
        client.writer.write_eof()
        await asyncio.sleep(0.05)
        place.echo.goes_on()
        status, _, said = await client.answer()
        assert status == 200
        assert b"all" in said
        assert await client.closed()


async def test_a_client_that_leaves_before_its_answer_harms_nobody(place: Place) -> None:
    place.echo.waits()
    async with place.client() as leaving:
        await leaving.send(request(b"bye"))
    await asyncio.sleep(0.05)
    place.echo.goes_on()
    async with place.client() as client:
        await client.send(request(b"hello"))
        assert (await client.answer())[0] == 200


async def test_what_is_no_http_is_hung_up_on(place: Place) -> None:
    async with place.client() as client:
        await client.send(b"\x16\x03\x01 hello \r\n\r\n")
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 400 ")
