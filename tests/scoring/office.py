"""The scoring service on real servers, and what stands around it: a client, an ingest, a profile service.

Only the two neighbours are played: touchpoints and memberships are appended to the topics as those services would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import FastAPI
from sqlalchemy import text

from services.scoring.app import build
from services.scoring.settings import Settings
from shared import topics
from shared.clock import Clock, system_clock
from shared.db import Database
from shared.events import DeadLetter, Identified, Membership, Scored, Touchpoint, Valuation, encode
from shared.health import Health
from shared.identifiers import Identifier
from shared.kafka import Kafka, admin, connection
from tests.builders import Json
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY
from tests.servers import Installation
from tests.waiting import knows_keys, until

T = TypeVar("T")

SECRET = SECRET_KEY


def settings(installation: Installation, **rest: Any) -> Settings:
    told = {"secret_key": SECRET, "key_signing_secret": KEY_SIGNING_SECRET, "drain": 3.0, **rest}
    return Settings(kafka=installation.kafka, database=installation.database("scoring"), **told)


async def make_topics(installation: Installation) -> None:
    """Create all topics, and return once the broker lists them: it answers a little before it does."""
    await installation.create()

    async def listed() -> bool:
        async with admin(installation.kafka) as client:
            there = set(await client.list_topics())
        return all(installation.kafka.prefix + topic.name in there for topic in topics.TOPICS)

    await until(listed)


@dataclass(frozen=True)
class Office:
    """The running service, asked over HTTP, and the topics it reads and writes."""

    app: FastAPI
    client: httpx.AsyncClient
    kafka: Kafka
    database: Database

    async def send(self, method: str, path: str, body: Any = None, **rest: Any) -> httpx.Response:
        return await self.client.request(method, path, json=body, auth=(SECRET, ""), **rest)

    async def get(self, path: str, **parameters: Any) -> Json:
        answer = await self.send("GET", path, params=parameters)
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body

    async def scores(self, name: str, **parameters: Any) -> Json:
        return await self.get(f"/v1/scores/{name}", **parameters)

    async def refit(self, **body: Any) -> Json:
        """Ask for a model, and wait until it is ready, active or failed. Gives it."""
        answer = await self.send("POST", "/v1/models/refit", body)
        assert answer.status_code == 202, answer.text

        async def ended() -> Json | None:
            model = await self.get(f"/v1/models/{answer.json()['id']}")
            return model if model["status"] != "fitting" else None

        return await until(ended)

    async def tell(self, *touchpoints: Touchpoint) -> None:
        """Append touchpoints to the log, as ingest does."""
        await self.kafka.log(topics.TOUCHPOINTS).append(
            [(str(each.owner).encode(), encode(each)) for each in touchpoints]
        )

    async def say(self, *memberships: Membership) -> None:
        """Append memberships, as the profile service does."""
        events = [
            Identified(id=f"{each.profile_id}:{each.version}", source="profile", time=system_clock(), data=each)
            for each in memberships
        ]
        await self.kafka.log(topics.IDENTITIES).append(
            [(event.data.profile_id.encode(), encode(event)) for event in events]
        )

    async def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """What the service's own tables hold."""
        async with self.database.begin() as work:
            return list(await work.execute(text(statement), parameters))

    async def applied(self, topic: topics.Topic, count: int) -> None:
        """Wait until that many of the topic's records are behind the consumer."""

        async def behind() -> bool:
            name = self.kafka.settings.prefix + topic.name
            rows = await self.rows("SELECT sum(next_offset) FROM stream_offset WHERE topic = :topic", topic=name)
            return int(rows[0][0] or 0) >= count

        await until(behind)

    async def quiet(self) -> None:
        """Wait until nothing is left to be scored, or to be brought up to the active model."""

        async def nothing_waits() -> bool:
            dirty = await self.rows("SELECT 1 FROM score WHERE version > published LIMIT 1")
            return not dirty and not await self.rows("SELECT 1 FROM model WHERE marked_through IS NOT NULL")

        await until(nothing_waits)

    async def sent(self) -> list[Valuation]:
        """Everything in the `scores` topic, in the order of the log."""
        return [msgspec.json.decode(value, type=Scored).data for value in await self._everything(topics.SCORES)]

    async def put_aside(self) -> list[str]:
        """Why records were put aside: nothing should be, in a test that did not mean it."""
        letters = await self._everything(topics.dead("scoring"))
        return [msgspec.json.decode(value, type=DeadLetter).data.reason for value in letters]

    async def _everything(self, topic: topics.Topic) -> list[bytes]:
        name = self.kafka.settings.prefix + topic.name
        consumer = AIOKafkaConsumer(**connection(self.kafka.settings), enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(name, number) for number in range(topic.partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[bytes] = []
            while any([await consumer.position(each) < ends[each] for each in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [record.value for record in records]
            return found
        finally:
            await consumer.stop()


def membership(*identifiers: str, version: int = 1, profile_id: str = "", redirect: str | None = None) -> Membership:
    """A profile with these identifiers, called after the first one."""
    return Membership(
        profile_id=profile_id or f"p-{identifiers[0].partition(':')[2]}",
        version=version,
        identifiers=tuple(sorted(Identifier.parse(each) for each in identifiers)),
        redirect=redirect,
    )


def latest(valuations: Sequence[Valuation]) -> dict[str, Valuation]:
    """Of each profile the scores of the highest version: what every reader ends up with."""
    found: dict[str, Valuation] = {}
    for each in valuations:
        if each.profile_id not in found or each.version > found[each.profile_id].version:
            found[each.profile_id] = each
    return found


@asynccontextmanager
async def open_office(
    chosen: Settings, clock: Clock = system_clock, *, puts_aside: bool = False
) -> AsyncIterator[Office]:
    """The service at work, for as long as the block lasts. `puts_aside`: the test means some records to be."""
    app = build(chosen, clock)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://scoring") as client,
        Kafka.open(chosen.kafka, Health()) as kafka,
        Database.open(chosen.database) as database,
    ):
        await knows_keys(app)
        office = Office(app, client, kafka, database)
        yield office
        letters = await office.put_aside()
        assert puts_aside or not letters, letters
