"""The personalize service on real servers, and what stands around it: a client, an ingest, a profile service.

Only the two neighbours are played: views and touchpoints are appended to the topics as those services would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import httpx
import jwt
from fastapi import FastAPI
from sqlalchemy import text

from services.personalize.app import build
from services.personalize.settings import Settings
from shared import topics
from shared.clock import Clock, system_clock
from shared.db import Database
from shared.events import KnownIdentifier, Profiled, Touchpoint, View, encode
from shared.health import Health
from shared.identifiers import Identifier
from shared.kafka import Kafka, admin
from tests.builders import Json
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY, USER_TOKEN_SECRET
from tests.servers import Installation
from tests.waiting import knows_keys, until

T = TypeVar("T")

SECRET, TOKENS = SECRET_KEY, USER_TOKEN_SECRET


def settings(installation: Installation, **rest: Any) -> Settings:
    """The service's settings: nobody held out, and patience with a machine that runs tests, unless `rest` says so."""
    told = {
        "holdout": 0.0,
        "patience": 60.0,  # as good as for ever, for a read that PostgreSQL answers
        "secret_key": SECRET,
        "key_signing_secret": KEY_SIGNING_SECRET,
        "user_token_secret": TOKENS,
        "drain": 3.0,
        **rest,
    }
    return Settings(kafka=installation.kafka, database=installation.database("personalize"), **told)


async def make_topics(installation: Installation) -> None:
    """Create all topics, and return once the broker lists them: it answers a little before it does."""
    await installation.create()

    async def listed() -> bool:
        async with admin(installation.kafka) as client:
            there = set(await client.list_topics())
        return all(installation.kafka.prefix + topic.name in there for topic in topics.TOPICS)

    await until(listed)


@dataclass(frozen=True)
class Desk:
    """The running service, asked over HTTP, and the topics it reads."""

    app: FastAPI
    client: httpx.AsyncClient
    kafka: Kafka
    clock: Clock

    @property
    def database(self) -> Database:
        database: Database = self.app.state.database
        return database

    async def send(self, method: str, path: str, body: Any = None, **rest: Any) -> httpx.Response:
        return await self.client.request(method, path, json=body, auth=(SECRET, ""), **rest)

    async def put_offer(self, id: str, **fields: Any) -> Json:
        """Put an offer for everybody in the placement `home`, and wait until decisions know it."""
        body = {"name": id, "kind": "content", "placements": ["home"], "value": 10.0, **fields}
        answer = await self.send("PUT", f"/v1/offers/{id}", body)
        assert answer.status_code == 200, answer.text
        version = answer.json()["version"]
        knowledge = self.app.state.decisions.knowledge
        await until(lambda: _is(id in knowledge.offers and knowledge.offers[id].version == version))
        found: Json = answer.json()
        return found

    async def decide(self, profile: str = "anonymous_id:a-1", **rest: Any) -> Json:
        answer = await self.send("POST", "/v1/decide", {"profile": profile, "placement": "home", "limit": 10, **rest})
        assert answer.status_code == 200, answer.text
        decision: Json = answer.json()
        return decision

    async def record(self, decision: Mapping[str, Any]) -> Json:
        answer = await self.send("GET", f"/v1/decisions/{decision['decision_id']}")
        assert answer.status_code == 200, answer.text
        record: Json = answer.json()
        return record

    async def candidates(self, profile: str = "anonymous_id:a-1", **rest: Any) -> dict[str, Json]:
        """A new decision's candidates, by offer."""
        record = await self.record(await self.decide(profile, **rest))
        return {candidate["offer_id"]: candidate for candidate in record["candidates"]}

    async def tell(self, *touchpoints: Touchpoint) -> None:
        """Append touchpoints to the log, as ingest does."""
        await self.kafka.log(topics.TOUCHPOINTS).append(
            [(str(each.owner).encode(), encode(each)) for each in touchpoints]
        )

    async def publish(self, *views: View) -> None:
        """Append views, as the profile service does."""
        for each in views:
            event = Profiled(id=f"{each.profile_id}:{each.version}", source="profile", time=self.clock(), data=each)
            await self.kafka.log(topics.PROFILES).append([(each.profile_id.encode(), encode(event))])

    async def know(self, *views: View) -> None:
        """Publish views, and wait until decisions are made from each of them."""
        await self.publish(*views)
        for each in views:
            await until(partial(self._knows, each))

    async def _knows(self, view: View) -> bool:
        decision = await self.decide(f"profile_id:{view.profile_id}")
        if view.redirect is not None:
            return bool(decision["profile_id"] == view.redirect)
        return bool(decision["profile_version"] == view.version)

    async def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """Give what the service's own tables hold."""
        async with self.database.begin() as work:
            return list(await work.execute(text(statement), parameters))


def view(*identifiers: str, version: int = 1, **rest: Any) -> View:
    """A profile with these identifiers, the first of which it was seen with first."""
    named = [Identifier.parse(each) for each in identifiers]
    known = tuple(KnownIdentifier(each.kind, each.value, "2026-03-01T10:00:00.000Z") for each in named)
    fields = {"profile_id": f"p-{identifiers[0].partition(':')[2]}", "root": identifiers[0], **rest}
    return View(version=version, identifiers=known, **fields)


def user_token(user: str, **claims: Any) -> str:
    told = {"sub": user, "aud": "temas", "exp": system_clock() + timedelta(minutes=5), **claims}
    return jwt.encode({name: value for name, value in told.items() if value is not None}, TOKENS, "HS256")


@asynccontextmanager
async def open_desk(chosen: Settings, clock: Clock = system_clock) -> AsyncIterator[Desk]:
    """The service at work, for as long as the block lasts."""
    app = build(chosen, clock)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://personalize") as client,
        Kafka.open(chosen.kafka, Health()) as kafka,
    ):
        await knows_keys(app)
        await until(lambda: _is(not app.state.decisions.customers.behind))
        yield Desk(app, client, kafka, clock)


async def _is(true: bool) -> bool:
    return true
