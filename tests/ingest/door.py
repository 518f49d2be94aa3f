"""Ingest at work in this process, before a real Kafka: what a client sends, and what the log then holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import FastAPI

from services.ingest.app import build
from services.ingest.settings import Settings
from shared import http, topics
from shared.errors import TopicsMissing
from shared.events import CloudEvent, Rejected, Touchpoint
from shared.kafka import admin
from shared.settings import DatabaseSettings, KafkaSettings
from shared.topics import Topic
from tests import contract, secrets
from tests.contract import ready
from tests.servers import Installation
from tests.waiting import PATIENCE

WRITE_KEY, SECRET_KEY = secrets.WRITE_KEY, secrets.SECRET_KEY

E = TypeVar("E", bound=CloudEvent)


@dataclass(frozen=True)
class Door:
    """`client` speaks to the application directly, with the write key as HTTP Basic user name."""

    app: FastAPI
    client: httpx.AsyncClient
    place: Place

    @property
    def kafka(self) -> KafkaSettings:
        return self.place.kafka

    async def ask(self, method: str, path: str, **rest: Any) -> httpx.Response:
        return await self.client.request(method, path, **rest)

    async def post(self, path: str, body: object, **rest: Any) -> httpx.Response:
        return await self.ask("POST", path, json=body, **rest)

    async def touchpoints(self, *, of: str) -> list[Touchpoint]:
        """Those of the user or visitor `of`, in the log's order."""
        found = await read(self.kafka, topics.TOUCHPOINTS, Touchpoint)
        return [each for each in found if of in (each.data.user_id, each.data.anonymous_id)]

    async def rejected(self, *, holding: bytes) -> list[Rejected]:
        """Those whose bytes hold these."""
        found = await read(self.kafka, topics.REJECTED, Rejected)
        return [each for each in found if holding in each.data.body]


@dataclass(frozen=True)
class Place:
    """Where an ingest works: its Kafka, with its topics in it, and its database."""

    kafka: KafkaSettings
    database: DatabaseSettings

    def settings(self, **rest: Any) -> Settings:
        told = {"kafka": self.kafka, "database": self.database, "write_key": WRITE_KEY, "secret_key": SECRET_KEY}
        return Settings(**{**told, "key_signing_secret": secrets.KEY_SIGNING_SECRET, **rest})


async def prepared(installation: Installation) -> Place:
    """The topics of ingest, there for everybody to see: a broker that has just created one may not list it yet."""
    wanted = topics.given_by("ingest")
    await installation.create(*wanted)
    async with asyncio.timeout(PATIENCE), admin(installation.kafka) as client:
        while True:
            try:
                await topics.require(client, wanted, prefix=installation.kafka.prefix)
            except TopicsMissing:
                await asyncio.sleep(0.1)
            else:
                return Place(installation.kafka, installation.database("ingest"))


@asynccontextmanager
async def opened(place: Place, **rest: Any) -> AsyncIterator[Door]:
    """The service, started and ended as a server would, once it knows its keys."""
    async with starting(place, **rest) as door:
        await ready(door.client)
        yield door


@asynccontextmanager
async def starting(place: Place, **rest: Any) -> AsyncIterator[Door]:
    """The same, from its first moment on."""
    app = build(place.settings(**rest))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://ingest", auth=(WRITE_KEY, "")) as client,
    ):
        yield Door(app, client, place)


@asynccontextmanager
async def served(place: Place, port: int, **rest: Any) -> AsyncIterator[str]:
    """The service behind a real HTTP server, once it knows its keys; its address."""
    settings = place.settings(port=port, **rest)
    server = http.server(build(settings), settings, "ingest")
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done(), serving
        await asyncio.sleep(0.02)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            await ready(client)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def process(place: Place, **more: str) -> AsyncIterator[tuple[str, psutil.Process]]:
    """The service as an operator starts it, told `more` by its environment; its address."""
    told = {
        "TEMAS_KAFKA_BOOTSTRAP": place.kafka.bootstrap,
        "TEMAS_KAFKA_PREFIX": place.kafka.prefix,
        "TEMAS_INGEST_DATABASE_URL": place.database.url.get_secret_value(),
        "TEMAS_WRITE_KEY": WRITE_KEY,
        "TEMAS_SECRET_KEY": SECRET_KEY,
        "TEMAS_KEY_SIGNING_SECRET": secrets.KEY_SIGNING_SECRET,
        **more,
    }
    async with contract.process("ingest", told) as running:
        yield running


async def read(kafka: KafkaSettings, topic: Topic, event: type[E]) -> list[E]:
    """Everything that the topic holds, partition after partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        name = kafka.prefix + topic.name
        partitions = [TopicPartition(name, number) for number in range(topic.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records = []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                batch = await consumer.getmany(partition, timeout_ms=200)
                records += batch.get(partition, [])
        return [msgspec.json.decode(record.value, type=event) for record in records]
    finally:
        await consumer.stop()
