"""The composition root: builds every resource once, in this order, and closes them in reverse.

Kafka first: without its topics there is nothing to serve, and the process says so and ends. Then the database, which
connects when it is first used; then what is kept in memory and the use cases; then the loops. At the end the loops stop
first; then the decision records that still wait are written down, while Kafka is still open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import structlog
from fastapi import FastAPI

from services.personalize import api, metrics
from services.personalize.api.direct import direct
from services.personalize.consumer import stream
from services.personalize.publisher import DecisionLog
from services.personalize.service.chance import Pool
from services.personalize.service.customers import Customers
from services.personalize.service.decisions import Decisions, Records
from services.personalize.service.knowledge import Knowledge
from services.personalize.service.learning import Learning
from services.personalize.service.offers import Offers
from services.personalize.settings import SERVICE, Settings
from shared import topics
from shared.auth import UserTokens, guard, operator
from shared.background import background
from shared.clock import Clock, system_clock
from shared.db import Database, is_away
from shared.dead_letter_queue import DeadLetterQueue
from shared.dead_letter_replays import replaying
from shared.health import Health
from shared.http import create_app
from shared.kafka import Kafka
from shared.key_records import KeySignatures
from shared.keys import KeyReader, Keyring
from shared.outbox import Publisher

log = structlog.get_logger(__name__)

DESCRIPTION = "What to offer this person, here, now, and whether to say anything at all. It learns from every answer."

NEEDED = (topics.TOUCHPOINTS, topics.PROFILES, topics.KEYS, *topics.given_by(SERVICE))

LARGEST_BODY = 100_000
"""Bytes."""

LOOK_BACK = timedelta(days=90)
"""How far back exposures matter: caps and rests may not be longer."""

FORGET_EVERY = 30.0
"""Seconds between two looks for what is too old to be kept."""


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
        title="Temas personalize",
        description=DESCRIPTION,
        settings=settings,
        reader=operator(settings.secret_key, guard("read")),
        health=health,
        lifespan=lifespan,
        routers=[api.router(tokens)],
        largest_body=LARGEST_BODY,
        beside=direct(lambda: app.state.keyring, lambda: app.state.decisions, LARGEST_BODY),
    )
    return app


@asynccontextmanager
async def running(app: FastAPI, settings: Settings, health: Health, clock: Clock) -> AsyncIterator[None]:
    """Everything that the service is made of, while the block lasts."""
    async with (
        Kafka.open(settings.kafka, health) as kafka,
        Database.open(settings.database) as database,
        Database.open(settings.database) as reads,
    ):
        await kafka.require(NEEDED)
        app.state.keyring = keyring = Keyring(settings.secret_key, clock, SERVICE)
        keys = KeyReader(
            service=SERVICE,
            settings=settings.kafka,
            signatures=KeySignatures(settings.key_signing_secrets),
            keyring=keyring,
            dead=kafka.log(topics.dead(SERVICE)),
            health=health,
        )

        knowledge = await _knowledge(database, settings)
        customers = Customers(
            reads,
            follows=lambda: health.parts["consumer"].complaint is None,
            clock=clock,
            patience=settings.patience,
            at_once=settings.database.pool_size,
            look_back=LOOK_BACK,
            remembered=settings.remembered,
        )
        learning = Learning(
            database,
            clock=clock,
            windows=settings.windows,
            kept=timedelta(days=settings.kept),
            at_once=settings.sweep_batch,
        )
        records = DecisionLog(kafka.log(topics.DECISIONS), limit=settings.records_limit)

        loops = _loops(settings, health, knowledge, learning, records)
        records.after = loops["decisions"].nudge
        consumer = stream(
            settings=settings.kafka,
            customers=customers,
            learning=learning,
            database=database,
            kafka=kafka,
            health=health,
            clock=clock,
            after_commit=loops["knowledge"].nudge,
        )

        app.state.dead_letters = letters = DeadLetterQueue(database, prefix=settings.kafka.prefix, clock=clock)
        loops["dead letters"] = replaying(letters, consumer, health)

        app.state.database = database
        app.state.offers = Offers(database, clock=clock, after=loops["knowledge"].nudge)
        app.state.decisions = Decisions(
            database,
            customers=customers,
            knowledge=knowledge,
            policy=settings.policy,
            chance=Pool(np.random.default_rng()),
            records=Records(records.put, records.find),
            shown_for=timedelta(minutes=settings.shown_for),
            clock=clock,
        )
        try:
            async with background(app, health, kafka, consumer, keys, app.state.tokens, *loops.values()):
                yield
        finally:
            await records.flush(settings.drain)


def _loops(
    settings: Settings, health: Health, knowledge: Knowledge, learning: Learning, records: DecisionLog
) -> dict[str, Publisher]:
    """What goes on beside requests and the consumer, each under the name that health and metrics know it by."""
    turns: dict[str, tuple[Callable[[], Coroutine[Any, Any, int]], float]] = {
        "knowledge": (knowledge.refresh, settings.refresh_every),
        "decisions": (records.publish, 0.2),
        "windows": (learning.close_windows, settings.sweep_every),
        "retention": (learning.forget, FORGET_EVERY),
    }
    return {name: Publisher(name=name, publish=turn, health=health, idle=idle) for name, (turn, idle) in turns.items()}


async def _knowledge(database: Database, settings: Settings) -> Knowledge:
    """What decisions rest on, before the first question comes; empty while the database is away."""
    knowledge = Knowledge(database, *settings.priors)
    metrics.KNOWLEDGE_AGE.set_function(lambda: knowledge.age)
    try:
        await knowledge.refresh()
    except Exception as error:
        if not is_away(error):
            raise
        log.warning("the database does not answer yet: no offers until it does", error=repr(error)[:300])
    return knowledge
