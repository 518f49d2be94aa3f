"""Ingest behind a real HTTP server, before a real Kafka: real clients, hostile clients, and Kafka going away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from segment.analytics.client import Client

from deploy.local.settings import ROOT
from shared import topics
from shared.events import Touchpoint
from shared.settings import KafkaSettings
from tests.builders import Json, batch, page, track
from tests.contract import ready
from tests.ingest.door import SECRET_KEY, WRITE_KEY, Place, prepared, read, served
from tests.secrets import KEY_SIGNING_SECRET
from tests.servers import Installation, Servers, free
from tests.waiting import PATIENCE, in_time


@pytest.fixture(scope="module")
async def place(servers: Servers) -> AsyncIterator[Place]:
    async with servers.installation() as mine:
        yield await prepared(mine)


@pytest.fixture(scope="module")
def kafka(place: Place) -> KafkaSettings:
    return place.kafka


@pytest.fixture(scope="module")
async def address(place: Place) -> AsyncIterator[str]:
    async with served(place, free(1)[0]) as address:
        yield address


async def logged(kafka: KafkaSettings, person: str) -> list[Touchpoint]:
    found = await read(kafka, topics.TOUCHPOINTS, Touchpoint)
    return [each for each in found if person in (each.data.user_id, each.data.anonymous_id)]


async def segment(
    address: str, talk: Callable[[Client], Any], *, key: str = WRITE_KEY, gzip: bool = False
) -> list[str]:
    """Let Segment's own client say what `talk` makes it say; the errors that it reports at its end."""
    errors: list[str] = []

    def run() -> None:
        client = Client(
            key, host=address, gzip=gzip, on_error=lambda error, _: errors.append(str(error)), max_retries=20
        )
        talk(client)
        client.shutdown()

    await asyncio.to_thread(run)
    return errors


# --- real clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gzip", [False, True])
async def test_the_client_of_segment_is_understood(kafka: KafkaSettings, address: str, gzip: bool) -> None:
    person = f"u-{uuid.uuid4()}"
    long_ago = datetime(1997, 1, 1, tzinfo=UTC)

    def talk(client: Client) -> None:
        client.identify(person, {"plan": "pro", "born": long_ago}, anonymous_id=person)
        client.track(person, "Order Completed", {"total": 19.9, "note": "İzmir 😀"}, timestamp=long_ago)
        client.page(person, "Shop", "Basket", {"path": "/basket"})
        client.screen(person, "Shop", "Basket")
        client.group(person, "g-1", {"name": "Example Ltd"})
        client.alias("old", person)
        for n in range(250):
            client.track(person, "Viewed", {"n": n}, message_id=f"m-{n}")

    assert await segment(address, talk, key=SECRET_KEY, gzip=gzip) == []  # a public key joins no users

    found = await logged(kafka, person)
    first, order, *_ = found
    assert Counter(each.data.type for each in found) == {
        "track": 251, "identify": 1, "page": 1, "screen": 1, "group": 1, "alias": 1,
    }  # fmt: skip
    assert first.data.traits["plan"] == "pro"
    assert (order.at, order.properties()) == (long_ago, {"total": 19.9, "note": "İzmir 😀"})
    assert {each.data.channel for each in found} == {"server"}
    assert {(each.source, each.data.trust) for each in found} == {("server", "server")}
    assert [each.id for each in found if each.data.name == "Viewed"] == [f"m-{n}" for n in range(250)]


async def test_the_client_of_segment_is_told_of_a_wrong_key(kafka: KafkaSettings, address: str) -> None:
    person = f"u-{uuid.uuid4()}"
    [error] = await segment(address, lambda client: client.track(person, "Viewed"), key="wrong")
    assert "unauthorized" in error
    assert await logged(kafka, person) == []


# --- hostile clients -------------------------------------------------------------------------------------------------


async def test_a_body_that_does_not_end_is_408_and_one_that_is_given_up_is_forgotten(place: Place) -> None:
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"{" * 10
    [port] = free(1)
    async with served(place, port, request_seconds=0.3) as address:
        reader, slow = await asyncio.open_connection("127.0.0.1", port)
        slow.write(head)
        _, gone = await asyncio.open_connection("127.0.0.1", port)
        gone.write(head)
        await gone.drain()
        gone.close()
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        slow.close()
        async with httpx.AsyncClient(base_url=address, auth=(WRITE_KEY, ""), timeout=PATIENCE) as client:
            assert (await client.post("/v1/page", json=page(user="u"))).status_code == 200


async def test_a_body_that_is_too_large_is_told_while_it_comes(address: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 60_000

    async with httpx.AsyncClient(base_url=address, auth=(WRITE_KEY, ""), timeout=PATIENCE) as client:
        answer = await client.post("/v1/batch", content=endless())
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert (await client.post("/v1/page", json=page(user="u"))).status_code == 200


# --- Kafka going away ------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def fragile(servers: Servers, **settings: Any) -> AsyncIterator[tuple[KafkaSettings, httpx.AsyncClient]]:
    """Ingest before a Kafka that the test may break."""
    async with servers.installation() as mine:
        place = await prepared(mine)
        kafka = place.kafka.model_copy(update={"deadline": 2.0, **settings})
        async with (
            served(replace(place, kafka=kafka), free(1)[0]) as address,
            httpx.AsyncClient(base_url=address, auth=(WRITE_KEY, ""), timeout=PATIENCE) as client,
        ):
            yield kafka, client


async def accepted(client: httpx.AsyncClient, call: Json) -> httpx.Response:
    """Send until it is taken, as clients do."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await client.post("/v1/batch", json=batch(call))).status_code != 200:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            await asyncio.sleep(0.2)
    return answer


async def test_while_kafka_is_away_nothing_is_taken_and_afterwards_everything_once(breakable_servers: Servers) -> None:
    async with fragile(breakable_servers) as (kafka, client):
        person = f"u-{uuid.uuid4()}"
        await accepted(client, page("before", user=person))

        await breakable_servers.kafka.stop()
        refused = await client.post("/v1/batch", json=batch(page("during", user=person)))
        assert (refused.status_code, refused.json()["code"]) == (503, "log_unavailable")
        talking = asyncio.create_task(
            segment(
                str(client.base_url), lambda sdk: [sdk.track(person, "Viewed", message_id=f"m-{n}") for n in range(50)]
            )
        )
        await asyncio.sleep(1)

        await breakable_servers.kafka.start()
        await accepted(client, page("after", user=person))
        assert await talking == []
        names = Counter(each.data.name for each in await logged(kafka, person))
        assert names["before"] == names["after"] == 1
        ids = {each.id for each in await logged(kafka, person) if each.data.name == "Viewed"}
        assert ids == {f"m-{n}" for n in range(50)}


async def test_what_waits_for_a_kafka_that_hangs_is_bounded(breakable_servers: Servers) -> None:
    async with fragile(breakable_servers, waiting_limit=500_000) as (_, client):
        await accepted(client, page(user="first"))
        call = track("Viewed", {"filler": "x" * 20_000}, user="u")

        breakable_servers.kafka.pause()
        try:
            answers = await in_time(asyncio.gather(*(client.post("/v1/track", json=call) for _ in range(60))))
        finally:
            breakable_servers.kafka.resume()

        assert {answer.status_code for answer in answers} == {503}
        said = Counter(answer.json()["code"] for answer in answers)
        assert said["busy"] > 25
        assert said["log_unavailable"] > 5
        await accepted(client, page("after", user="u"))


async def test_who_sends_most_is_refused_first_when_much_is_waiting(breakable_servers: Servers) -> None:
    async with fragile(breakable_servers, waiting_limit=600_000, deadline=20.0) as (kafka, client):
        await accepted(client, page(user="first"))
        call, quiet = track("Viewed", {"filler": "x" * 20_000}, user="loud"), httpx.BasicAuth(SECRET_KEY, "")

        breakable_servers.kafka.pause()
        try:
            loud = [asyncio.create_task(client.post("/v1/track", json=call)) for _ in range(60)]
            refused = await in_time(_first_done(loud, 40))
            waits = asyncio.create_task(client.post("/v1/track", json=track("Bought", user="quiet"), auth=quiet))
            await asyncio.sleep(0.5)
            assert not waits.done()  # it was let in, and waits its turn
        finally:
            breakable_servers.kafka.resume()

        assert {answer.json()["code"] for answer in refused} == {"busy"}
        assert (await waits).status_code == 200
        assert {answer.status_code for answer in await asyncio.gather(*loud)} == {200, 503}
        assert [each.data.name for each in await logged(kafka, "quiet")] == ["Bought"]


async def _first_done(tasks: list[asyncio.Task[httpx.Response]], many: int) -> list[httpx.Response]:
    return [await each for each in itertools.islice(asyncio.as_completed(tasks), many)]


# --- an operator -----------------------------------------------------------------------------------------------------


async def test_a_process_creates_its_topics_serves_and_drains(installation: Installation) -> None:
    [port] = free(1)
    told = {
        "TEMAS_KAFKA_BOOTSTRAP": installation.kafka.bootstrap,
        "TEMAS_KAFKA_PREFIX": installation.kafka.prefix,
        "TEMAS_INGEST_DATABASE_URL": installation.database("ingest").url.get_secret_value(),
        "TEMAS_WRITE_KEY": WRITE_KEY,
        "TEMAS_SECRET_KEY": SECRET_KEY,
        "TEMAS_KEY_SIGNING_SECRET": KEY_SIGNING_SECRET,
        "TEMAS_INGEST_PORT": str(port),
    }

    async def ingest(command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ingest", command, cwd=ROOT, env=os.environ | told
        )

    assert await (await ingest("migrate")).wait() == 0
    await prepared(installation)
    serving = await ingest("serve")
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", auth=(WRITE_KEY, ""), timeout=PATIENCE
        ) as client:
            await ready(client)
            sending = [asyncio.create_task(client.post("/v1/page", json=page(str(n), user="u"))) for n in range(50)]
            await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
            serving.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*sending, return_exceptions=True)
        assert await in_time(serving.wait()) in (0, -signal.SIGTERM)  # uvicorn ends by the signal it got
    finally:
        if serving.returncode is None:
            serving.kill()
    taken = [each for each in answers if isinstance(each, httpx.Response) and each.status_code == 200]
    assert taken
    assert len(await logged(installation.kafka, "u")) >= len(taken)
