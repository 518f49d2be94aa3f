"""The composition root: builds every resource once, in this order, and closes them in reverse.

Kafka first: without its topics there is nothing to serve, and the process says so and ends. Then the database, which
connects when it is first used; then what is known by heart, the use cases, and the loops, which end before what they
use is closed. By then requests have been answered; Kafka acknowledges what is still under way.

Nothing that needs the database takes part in the readiness of this process, once sources and keys have been read: the
door stays open while PostgreSQL is away.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.ingest import api
from services.ingest.api.desk import Desk, reader
from services.ingest.consumer import Queue
from services.ingest.domain.proof import nothing_verifies
from services.ingest.publisher import KeyPublisher
from services.ingest.service.counts import Counts
from services.ingest.service.inferring import Inferring
from services.ingest.service.looking import Tail
from services.ingest.service.planning import Planning
from services.ingest.service.present import CommonClock
from services.ingest.service.registry import Registry
from services.ingest.service.rejected import Rejections
from services.ingest.service.sources import Sources
from services.ingest.service.sweeping import Sweeper
from services.ingest.service.taking import Ingest
from services.ingest.service.tokens import RememberedTokens
from services.ingest.settings import SERVICE, Settings
from shared import topics
from shared.auth import UserTokens, operator
from shared.background import background
from shared.clock import Clock, system_clock
from shared.db import Database
from shared.dead_letter_queue import DeadLetterQueue
from shared.dead_letter_replays import replaying
from shared.health import Health
from shared.http import create_app
from shared.kafka import Kafka
from shared.key_records import KeySignatures
from shared.outbox import Publisher

DESCRIPTION = (
    "Takes in every touchpoint, in the form that the SDKs of Segment and RudderStack send it. A call is answered "
    "when the log has it: one that can be used as a touchpoint, any other as rejected, with the reasons."
)

NEEDED = topics.given_by(SERVICE)

TELL_EVERY = 0.5
"""Seconds between two looks for keys that the other services do not know yet."""


def build(settings: Settings, clock: Clock = system_clock) -> FastAPI:
    """The service, to be served."""
    health = Health()
    tokens = UserTokens(settings, clock, health)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.tokens = tokens
        async with running(app, settings, health, clock):
            yield

    app = create_app(
        service=SERVICE,
        title="Temas ingest",
        description=DESCRIPTION,
        settings=settings,
        reader=operator(settings.secret_key, reader),
        health=health,
        lifespan=lifespan,
        routers=api.routers(),
        largest_body=2 * settings.body_limit,  # more than what clients may send: of that they are told in their own way
        hot=api.hot(lambda: app.state.ingest, settings),
    )
    api.document(app)
    return app


@asynccontextmanager
async def running(app: FastAPI, settings: Settings, health: Health, clock: Clock) -> AsyncIterator[None]:
    """Everything that the service is made of, while the block lasts."""
    clock = CommonClock(clock)
    async with Kafka.open(settings.kafka, health, clock) as kafka, Database.open(settings.database) as database:
        await kafka.require(NEEDED)
        touchpoints = kafka.log(topics.TOUCHPOINTS)

        registry = Registry(settings, database, health, clock)
        counts = Counts(database, clock, health)
        app.state.ingest = Ingest(
            settings,
            registry=registry,
            counts=counts,
            touchpoints=touchpoints,
            rejected=kafka.log(topics.REJECTED),
            clock=clock,
            fresh_id=fresh_id,
            subject=RememberedTokens(app.state.tokens, clock).subject
            if settings.takes_user_tokens
            else nothing_verifies,
        )

        rejections = Rejections(registry=registry, touchpoints=touchpoints, clock=clock, fresh_id=fresh_id)
        app.state.desk = Desk(
            database=database,
            registry=registry,
            clock=clock,
            sources=Sources(clock, proves=settings.takes_user_tokens),
            planning=Planning(clock),
            inferring=Inferring(Tail(settings.kafka)),
            rejected=rejections,
        )

        queue = Queue(
            settings=settings.kafka, rejections=rejections, database=database, kafka=kafka, health=health, clock=clock
        )
        sweeper = Sweeper(settings, database, clock, health)
        keys = KeyPublisher(
            database=database, kafka=kafka, signatures=KeySignatures(settings.key_signing_secrets), clock=clock
        )
        # That others are told late of keys, or that dead letters wait, is no reason to close the door.
        telling = Publisher(name="keys", publish=keys.publish, health=health, idle=TELL_EVERY, gates=False)
        app.state.dead_letters = letters = DeadLetterQueue(database, prefix=settings.kafka.prefix, clock=clock)
        replays = replaying(letters, queue.stream(Health()), health, gates=False)
        loops = (kafka, registry, counts, queue, sweeper, telling, replays, app.state.tokens)
        async with background(app, health, *loops):
            yield


def fresh_id() -> str:
    """For what comes without an id of its own."""
    return str(uuid.uuid4())
