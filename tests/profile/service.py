"""The profile service on real servers, and its neighbours played: an ingest that writes, readers of what it gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import FastAPI

from services.profile.app import build
from services.profile.settings import Settings
from shared import topics
from shared.events import (
    Churn,
    CloudEvent,
    Engagement,
    LifetimeValue,
    Scored,
    ShownScores,
    Touchpoint,
    Valuation,
    encode,
)
from shared.health import Health
from shared.kafka import Kafka, admin, connection, token
from shared.settings import KafkaSettings
from shared.topics import Topic
from tests.builders import Json, after
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY
from tests.servers import Installation
from tests.waiting import PATIENCE, knows_keys, until

E = TypeVar("E", bound=CloudEvent)

SECRET = SECRET_KEY

NOON = after(days=1)
"""What time it is: late enough for the lives in tests, and so early that these are news."""

NEEDED = (topics.TOUCHPOINTS, topics.SCORES, topics.KEYS, *topics.given_by("profile"))


@dataclass
class Hands:
    """A clock that a test sets."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Service:
    """The running service, asked over HTTP, and the topics around it."""

    app: FastAPI
    client: httpx.AsyncClient
    kafka: Kafka
    hands: Hands
    settings: Settings

    async def send(self, method: str, path: str, **rest: Any) -> httpx.Response:
        return await self.client.request(method, path, auth=(SECRET, ""), **rest)

    async def tell(self, *touchpoints: Touchpoint, key: str | None = None) -> str:
        """Append touchpoints to the log, as ingest does; give the position. `key`: another one than their owners."""
        records = [((key or each.owner.value).encode(), encode(each)) for each in touchpoints]
        return token(await self.kafka.log(topics.TOUCHPOINTS).append(records))

    async def score(self, profile_id: str, scores: ShownScores) -> None:
        """Append scores, as scoring does."""
        valuation = Valuation(
            profile_id=profile_id,
            version=scores.version,
            as_of=self.hands.now,
            engagement=None
            if scores.engagement is None
            else Engagement(score=scores.engagement, positive=1, negative=0),
            churn=None if scores.churn_risk is None else Churn(p_alive=1, risk=scores.churn_risk, horizon_weeks=13),
            ltv=None if scores.ltv is None else _ltv(scores.ltv),
        )
        event = Scored(id=f"{profile_id}:{scores.version}", source="scoring", time=self.hands.now, data=valuation)
        await self.kafka.log(topics.SCORES).append([(profile_id.encode(), encode(event))])

    async def ask(self, person: str, **query: str) -> httpx.Response:
        return await self.send("GET", f"/v1/profiles/{quote(person, safe='')}", params=query)

    async def view(self, person: str, position: str | None = None) -> Json:
        """The view, once `position` shows."""
        answer = await self.ask(person, **({"after": position} if position else {}))
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def shows(self, person: str, *touchpoints: Touchpoint) -> Json:
        """The view once these touchpoints, appended now, show."""
        return await self.view(person, await self.tell(*touchpoints))

    async def becomes(self, person: str, path: str, value: Any) -> Json:
        """The view, once what stands at `path` (dots between) is `value`."""

        async def look() -> Json | None:
            seen = await self.view(person)
            found: Any = seen
            for step in path.split("."):
                found = found.get(step) if isinstance(found, Mapping) else None
            return seen if found == value else None

        seen = await until(look)
        assert seen is not None
        return seen

    async def read(self, topic: Topic, event: type[E], key: str) -> list[E]:
        """Everything that the topic holds under `key`, in the order of the log."""
        return await read(self.settings.kafka, topic, event, key)


async def read(kafka: KafkaSettings, topic: Topic, event: type[E], key: str) -> list[E]:
    """Everything that the topic holds under `key`, in the order of the log."""
    consumer = AIOKafkaConsumer(**connection(kafka), auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(kafka.prefix + topic.name, number) for number in range(topic.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[E] = []
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                records = (await consumer.getmany(partition, timeout_ms=500)).get(partition, ())
                mine = (record for record in records if record.key == key.encode())
                found += [msgspec.json.decode(record.value, type=event) for record in mine]
        return found
    finally:
        await consumer.stop()


def _ltv(value: float) -> LifetimeValue:
    return LifetimeValue(
        value=value, low=value, high=value, horizon_months=12, expected_purchases=1, expected_value=value
    )


def settings(installation: Installation, **rest: Any) -> Settings:
    """The service's settings, with patience for a machine that runs tests. Its clock stands still: nothing waits."""
    told = {
        "secret_key": SECRET,
        "key_signing_secret": KEY_SIGNING_SECRET,
        "patience": PATIENCE,
        "drain": 3.0,
        "scores_within": 0,
        **rest,
    }
    return Settings(kafka=installation.kafka, database=installation.database("profile"), **told)


async def make_topics(installation: Installation) -> None:
    """Create the topics, and return once the broker lists them: it answers a little before it does."""
    await installation.create(*NEEDED)

    async def listed() -> bool:
        async with admin(installation.kafka) as client:
            there = set(await client.list_topics())
        return all(installation.kafka.prefix + topic.name in there for topic in NEEDED)

    await until(listed)


@asynccontextmanager
async def running(chosen: Settings, hands: Hands | None = None) -> AsyncIterator[Service]:
    """The service at work, for as long as the block lasts."""
    hands = hands or Hands()
    app = build(chosen, hands)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://profile") as client,
        Kafka.open(chosen.kafka, Health()) as kafka,
    ):
        await knows_keys(app)
        yield Service(app, client, kafka, hands, chosen)


async def share(installation: Installation, processes: int) -> bool:
    """Tell whether so many processes of the service share the partitions, each with some of them."""
    async with admin(installation.kafka) as client:
        (answer,) = await client.describe_consumer_groups([f"{installation.kafka.prefix}profile"])
    ((_, _, state, _, _, members, *_),) = answer.groups
    return state == "Stable" and len(members) == processes
