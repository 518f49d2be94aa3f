"""SIGTERM under load: what was begun is ended, what was accepted is kept, and nobody notices but by a short wait."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import psutil
import pytest

from tests.builders import Json, batch, track
from tests.e2e.ledger import Client, Ledger, Person, attempt, truth
from tests.e2e.temas import CONSUMERS, Temas, connected, unique
from tests.servers import Stack
from tests.waiting import PATIENCE, until

ENOUGH = 100
"""Events that clients get accepted before the test begins, and again after it."""


@pytest.fixture
async def temas(stack: Stack) -> AsyncIterator[Temas]:
    async with connected(stack) as temas:
        yield temas


@dataclass
class Load:
    """Some people, whose contacts come in all the time, and the ledger of it."""

    people: list[Person]
    ledger: Ledger = field(default_factory=Ledger)


@asynccontextmanager
async def load(temas: Temas) -> AsyncIterator[Load]:
    people = [Person(unique("drained")) for _ in range(5)]
    coming, enough = Load(people), asyncio.Event()
    logins = [login for person in people for login in person.logins()]
    assert coming.ledger.note(logins, await attempt(temas, logins))
    clients = [Client(unique("c"), temas, people, coming.ledger, random.Random(number)) for number in range(4)]
    running = [asyncio.create_task(client.run(enough)) for client in clients]
    try:
        await until(lambda: len(coming.ledger.accepted) > ENOUGH)
        yield coming
        so_far = len(coming.ledger.accepted)
        await until(lambda: len(coming.ledger.accepted) > so_far + ENOUGH)
    finally:
        enough.set()
        await asyncio.gather(*running)


async def _drained(temas: Temas, service: str) -> None:
    """SIGTERM, the process's end, and the life of the next one. Nothing is left to complain of in its log."""
    process, log = temas.stack.process(service), temas.stack.home.log_file(service)
    said = log.stat().st_size
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(psutil.wait_procs, [process], timeout=PATIENCE)
    assert not process.is_running(), f"{service} still runs long after SIGTERM"
    lines = [json.loads(line) for line in log.read_bytes()[said:].splitlines() if line.startswith(b"{")]
    assert "Application shutdown complete." in {line["event"] for line in lines}
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []
    await until(lambda: temas.ask(service, "/readyz"))


async def _exactly_what_was_accepted(temas: Temas, coming: Load) -> None:
    await temas.settled()
    mine = truth(
        record for record in await temas.log() if any(person.name.encode() in record.value for person in coming.people)
    )
    assert coming.ledger.accepted - mine.ids == set()
    assert mine.ids - coming.ledger.accepted - coming.ledger.unknown == set()
    for person in coming.people:
        view = await temas.profile(f"user_id:{person.name}")
        purchases = (await temas.scores(f"user_id:{person.name}"))["purchases"]
        assert view["touchpoints"]["count"] == mine.touchpoints[person.name]
        assert view["computed"]["order_count"] == purchases["count"] == mine.orders[person.name]


async def test_ingest_ends_what_it_began_and_loses_nothing(temas: Temas) -> None:
    async with load(temas) as coming:
        begun = [await HalfSent.begin(temas, track("Slow", user=coming.people[0].name)) for _ in range(10)]
        draining = asyncio.create_task(_drained(temas, "ingest"))
        await until(lambda: _refuses_connections(temas))
        for request in begun:
            assert await request.end() == b"HTTP/1.1 200 OK"
            coming.ledger.accepted.add(request.call["messageId"])
        await draining
    await _exactly_what_was_accepted(temas, coming)


async def _refuses_connections(temas: Temas) -> bool:
    """Tell whether it no longer takes new ones: then it has heard the signal."""
    async with httpx.AsyncClient(timeout=PATIENCE) as newcomer:
        try:
            await newcomer.get(temas.stack.url("ingest") + "/healthz")
        except httpx.ConnectError:
            return True
    return False


@dataclass
class HalfSent:
    """A request of which the head and half of the body have been sent."""

    call: Json
    rest: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def begin(cls, temas: Temas, call: Json) -> HalfSent:
        call = {**call, "messageId": unique("m")}
        body = json.dumps(batch(call)).encode()
        key = b64encode(f"{temas.stack.environment['TEMAS_WRITE_KEY']}:".encode()).decode()
        url = httpx.URL(temas.stack.url("ingest"))
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = ["POST /v1/batch HTTP/1.1", "Host: temas", f"Authorization: Basic {key}", f"Content-Length: {len(body)}"]
        half = len(body) // 2
        writer.write("\r\n".join([*head, "", ""]).encode() + body[:half])
        await writer.drain()
        return cls(call, body[half:], reader, writer)

    async def end(self) -> bytes:
        """Send the rest. Gives the answer's first line, after all of the answer has come."""
        self.writer.write(self.rest)
        await self.writer.drain()
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert await self.reader.readexactly(len(b'{"success": true}')) == b'{"success": true}'
        self.writer.close()
        return head.split(b"\r\n", 1)[0]


async def test_consumers_that_are_asked_to_end_lose_and_double_nothing(temas: Temas) -> None:
    async with load(temas) as coming:
        await asyncio.gather(*(_drained(temas, service) for service in CONSUMERS))
    await _exactly_what_was_accepted(temas, coming)
