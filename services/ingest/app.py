"""The composition root: builds every resource once, in this order, and closes them in reverse.

Kafka first: without its topics there is nothing to serve, and the process says so and ends. Then the use case. When it
closes, requests have been answered already; Kafka acknowledges what is still under way.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.ingest import api
from services.ingest.service import Ingest
from services.ingest.settings import SERVICE, Settings
from shared import topics
from shared.clock import Clock, system_clock
from shared.health import Health
from shared.http import create_app
from shared.kafka import Kafka

DESCRIPTION = (
    "Takes in every touchpoint, in the form that the SDKs of Segment and RudderStack send it. A call is answered "
    "when the log has it: one that can be used as a touchpoint, any other as rejected, with the reasons."
)


def build(settings: Settings, clock: Clock = system_clock) -> FastAPI:
    """The service, to be served."""
    health = Health()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(app, settings, health, clock):
            yield

    routes = api.tracking_routes(settings)
    app = create_app(
        service=SERVICE,
        title="Temas ingest",
        description=DESCRIPTION,
        health=health,
        lifespan=lifespan,
        routers=[],
        largest_body=2 * settings.body_limit,  # never reached: the tracking API has its own, and says it to browsers
        hot={(method, route.path): route.endpoint for route in routes for method in ("POST", "OPTIONS")},
    )
    app.router.routes[:0] = routes  # for the methods that they do not take
    api.document(app)
    return app


@asynccontextmanager
async def running(app: FastAPI, settings: Settings, health: Health, clock: Clock) -> AsyncIterator[None]:
    """Everything that the service is made of, while the block lasts."""
    async with Kafka.open(settings.kafka, health) as kafka:
        await kafka.require(topics.given_by(SERVICE))
        app.state.ingest = Ingest(
            settings,
            touchpoints=kafka.log(topics.TOUCHPOINTS),
            rejected=kafka.log(topics.REJECTED),
            clock=clock,
            fresh_id=lambda: str(uuid.uuid4()),
        )
        yield
