"""The composition root: builds every resource once, in this order, and closes them in reverse.

Kafka first: without its topics there is nothing to serve, and the process says so and ends. Then the database, which
connects when it is first used; then the use cases; then the loops, which end before what they use is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.profile import api
from services.profile.api.desk import Desk
from services.profile.api.views import views
from services.profile.consumer import stream
from services.profile.publisher import (
    Backlog,
    ComputedFiller,
    Counter,
    ProfilePublisher,
    SegmentFiller,
    Sweeper,
    Timekeeper,
)
from services.profile.service.absorbing import Profiles
from services.profile.service.background import Sweeping
from services.profile.service.counting import Counting
from services.profile.service.defined import Definitions
from services.profile.service.defining import Defining
from services.profile.service.explaining import Explaining
from services.profile.service.filling import Filling
from services.profile.service.groups import Groups
from services.profile.service.previewing import Previewing
from services.profile.service.proposing import Proposals
from services.profile.service.publishing import Publications
from services.profile.service.reading import Reading
from services.profile.service.ruling import Rulings
from services.profile.service.segments import Segments
from services.profile.service.timekeeping import Timekeeping
from services.profile.service.traits import TraitHistory
from services.profile.settings import SERVICE, Settings
from shared import topics
from shared.clock import Clock, system_clock
from shared.db import Database
from shared.health import Health
from shared.http import background, create_app
from shared.kafka import Kafka
from shared.keys import KeyReader, Keyring
from shared.lookups import Lookups
from shared.outbox import Publisher

DESCRIPTION = "The unified view of each customer: who they are, what happened, which segments and stage they are in."


def build(settings: Settings, clock: Clock = system_clock) -> FastAPI:
    """The service, to be served."""
    health = Health()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(app, settings, health, clock):
            yield

    app = create_app(
        service=SERVICE,
        title="Temas profile",
        description=DESCRIPTION,
        health=health,
        lifespan=lifespan,
        routers=[api.router()],
        folders=views(lambda: app.state.keyring, lambda: app.state.desk),
    )
    return app


@asynccontextmanager
async def running(app: FastAPI, settings: Settings, health: Health, clock: Clock) -> AsyncIterator[None]:
    """Everything that the service is made of, while the block lasts."""
    async with (
        Kafka.open(settings.kafka, health) as kafka,
        Database.open(settings.database) as database,
        Lookups.open(settings.database) as lookups,
    ):
        await kafka.require((topics.TOUCHPOINTS, topics.SCORES, topics.KEYS, *topics.given_by(SERVICE)))
        app.state.keyring = keyring = Keyring(settings.secret_key, clock)

        segments, counting = Segments(clock), Counting(clock)
        publications = Publications(clock, settings.time_zone)
        profiles = Profiles(
            limits=settings.limits, zone=settings.time_zone, clock=clock, scores_within=settings.scores_within
        )
        current = Definitions(settings.time_zone)
        rulings = Rulings(profiles, clock)
        app.state.desk = Desk(
            database=database,
            lookups=lookups,
            reading=Reading(consumer=SERVICE, topic=settings.kafka.prefix + topics.TOUCHPOINTS.name),
            explaining=Explaining(settings.limits),
            rulings=rulings,
            proposals=Proposals(rulings, clock),
            segments=segments,
            groups=Groups(),
            traits=TraitHistory(),
            previewing=Previewing(current, clock),
            counting=counting,
            defining=Defining(current, clock),
            patience=settings.patience,
        )

        out = ProfilePublisher(
            publications=publications, database=database, kafka=kafka, batch=settings.publish_batch, clock=clock
        )
        filler = SegmentFiller(segments=segments, database=database, batch=settings.fill_batch)
        past = Filling(current, clock, batch=settings.past_batch, marks=settings.fill_batch)
        computed = ComputedFiller(filling=past, database=database)
        backlog = Backlog(publications=publications, database=database)
        keeper = Timekeeper(timekeeping=Timekeeping(months=settings.timeline_months, clock=clock), database=database)
        publisher = Publisher(
            name="profiles",
            publish=out.publish,
            health=health,
            every=settings.publish_every,
            full=settings.publish_batch,
        )
        sweeper = Sweeper(sweeping=Sweeping(clock), database=database, batch=settings.fill_batch, told=publisher.nudge)
        counter = Counter(counting=counting, database=database)
        consumer = stream(
            settings=settings.kafka,
            profiles=profiles,
            prepare=keeper.prepare,
            database=database,
            kafka=kafka,
            health=health,
            clock=clock,
            after_commit=publisher.nudge,
        )
        async with background(
            app,
            consumer.run(),
            publisher.run(),
            KeyReader(service=SERVICE, settings=settings.kafka, keyring=keyring, health=health).run(),
            Publisher(name="segments", publish=filler.fill, health=health).run(),
            Publisher(name="deleted segments", publish=filler.empty, health=health, idle=1.0).run(),
            Publisher(name="due", publish=sweeper.sweep, health=health, idle=0.25).run(),
            Publisher(name="counts", publish=counter.count, health=health, idle=10.0).run(),
            Publisher(name="computed", publish=computed.fill, health=health, idle=0.5).run(),
            Publisher(name="backlog", publish=backlog.look, health=health, idle=1.0).run(),
            Publisher(name="timeline", publish=keeper.step, health=health, idle=10.0).run(),
        ):
            yield
