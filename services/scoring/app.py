"""Composition root: builds every resource once, in the order below, and closes them in reverse.

1. Kafka, whose topics must be there. 2. PostgreSQL, which may come later. 3. The use cases. 4. The loops: consumer,
publisher, fits. Closing ends the loops first, so that nothing begins what could not be written down, then the fit that
runs, then lets Kafka acknowledge what is under way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.scoring import api
from services.scoring.consumer import stream
from services.scoring.publisher import Backlog, ScorePublisher
from services.scoring.service.fits import Fits
from services.scoring.service.models import Models
from services.scoring.service.reports import Reports
from services.scoring.service.scores import Scores
from services.scoring.settings import SERVICE, Settings
from shared import topics
from shared.auth import guard, operator
from shared.background import background
from shared.clock import Clock, system_clock
from shared.db import Database
from shared.dead_letter_queue import DeadLetterQueue
from shared.dead_letter_replays import replaying
from shared.health import Health
from shared.http import create_app
from shared.kafka import Kafka
from shared.key_records import KeySignatures
from shared.keys import KeyReader, Keyring
from shared.outbox import Publisher

DESCRIPTION = "What each customer is worth: engagement, RFM, churn and lifetime value, and the models behind them."

NEEDED = (topics.TOUCHPOINTS, topics.IDENTITIES, topics.KEYS, *topics.given_by(SERVICE))

LOOKED_AT_EVERY = 5.0
"""Seconds. How many profiles wait is a number for graphs."""

FITS_ASKED_EVERY = 1.0
"""Seconds. Another process, or an operator's command, may have asked for one."""


def build(settings: Settings, clock: Clock = system_clock) -> FastAPI:
    """The service, to be served."""
    health = Health()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(app, settings, health, clock):
            yield

    return create_app(
        service=SERVICE,
        title="Temas scoring",
        description=DESCRIPTION,
        settings=settings,
        reader=operator(settings.secret_key, guard("read")),
        health=health,
        lifespan=lifespan,
        routers=[api.router()],
    )


@asynccontextmanager
async def running(app: FastAPI, settings: Settings, health: Health, clock: Clock) -> AsyncIterator[None]:
    """Everything open and every loop at work, for as long as the block lasts."""
    terms = settings.terms()
    async with Kafka.open(settings.kafka, health) as kafka, Database.open(settings.database) as database:
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
        models = Models(database, clock)
        scores = Scores(database, models, terms, clock)
        app.state.database, app.state.models, app.state.scores = database, models, scores
        app.state.reports = Reports(database, models, terms, clock)

        to_publish = ScorePublisher(scores=scores, log=kafka.log(topics.SCORES), batch=settings.publish_batch)
        publisher = Publisher(name="scores", publish=to_publish.publish, health=health)
        fits = Fits(
            database=database,
            settings=settings.database,
            models=models,
            terms=terms,
            lease=settings.fit_lease,
            clock=clock,
        )
        app.state.fits = fits
        fitter = Publisher(name="models", publish=fits.step, health=health, idle=FITS_ASKED_EVERY)
        fits.after, models.after = fitter.nudge, fitter.nudge
        backlog = Publisher(name="backlog", publish=Backlog(scores, clock).look, health=health, idle=LOOKED_AT_EVERY)
        consumer = stream(
            settings=settings.kafka,
            scores=scores,
            database=database,
            kafka=kafka,
            health=health,
            clock=clock,
            after_commit=publisher.nudge,
        )
        app.state.dead_letters = letters = DeadLetterQueue(database, prefix=settings.kafka.prefix, clock=clock)
        replays = replaying(letters, consumer, health)
        loops = (kafka, consumer, publisher, keys, fitter, backlog, replays)
        try:
            async with background(app, health, *loops):
                yield
        finally:
            await fits.close()
