"""The composition root: builds every resource once, in this order, and closes them in reverse.

Kafka first: without its topics there is nothing to serve, and the process says so and ends. Then the database, which
connects when it is first used; then the use cases; then the loops, which end before what they use is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI

from services.profile import api
from services.profile.api.desk import Desk
from services.profile.api.views import views
from services.profile.consumer import stream
from services.profile.publisher import ProfilePublisher
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
from services.profile.upkeep import Backlog, ComputedFiller, Counter, SegmentFiller, Sweeper, Timekeeper
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
from shared.lookups import Lookups
from shared.outbox import Publisher
from shared.tasks import Loop

DESCRIPTION = "The unified view of each customer: who they are, what happened, which segments and stage they are in."

NEEDED = (topics.TOUCHPOINTS, topics.SCORES, topics.KEYS, *topics.given_by(SERVICE))


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
        settings=settings,
        reader=operator(settings.secret_key, guard("read")),
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
        await kafka.require(NEEDED)
        made = _Made(settings, kafka=kafka, database=database, lookups=lookups, health=health, clock=clock)
        app.state.keyring = made.keyring
        app.state.desk = made.desk()
        app.state.dead_letters = made.dead_letters
        async with background(app, health, kafka, *made.stream_and_publications(), *made.upkeep()):
            yield


class _Made:
    """The use cases, what answers with them, and the loops that run them."""

    def __init__(
        self,
        settings: Settings,
        *,
        kafka: Kafka,
        database: Database,
        lookups: Lookups,
        health: Health,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.kafka = kafka
        self.database = database
        self.lookups = lookups
        self.health = health
        self.clock = clock
        self.keyring = Keyring(settings.secret_key, clock, SERVICE)
        self.profiles = Profiles(
            limits=settings.limits, zone=settings.time_zone, clock=clock, scores_within=settings.scores_within
        )
        self.publications = Publications(clock, settings.time_zone)
        self.definitions = Definitions(settings.time_zone)
        self.segments = Segments(clock)
        self.counting = Counting(clock)
        self.keeper = Timekeeper(
            timekeeping=Timekeeping(months=settings.timeline_months, clock=clock), database=database
        )
        self.publisher = self._publisher()
        self.dead_letters = DeadLetterQueue(database, prefix=settings.kafka.prefix, clock=clock)

    def desk(self) -> Desk:
        """What every route has at hand."""
        rulings = Rulings(self.profiles, self.clock)
        return Desk(
            database=self.database,
            lookups=self.lookups,
            reading=Reading(consumer=SERVICE, topic=self.settings.kafka.prefix + topics.TOUCHPOINTS.name),
            explaining=Explaining(self.settings.limits),
            rulings=rulings,
            proposals=Proposals(rulings, self.clock),
            segments=self.segments,
            groups=Groups(),
            traits=TraitHistory(),
            previewing=Previewing(self.definitions, self.clock),
            counting=self.counting,
            defining=Defining(self.definitions, self.clock),
            patience=self.settings.patience,
        )

    def stream_and_publications(self) -> Iterator[Loop]:
        """Kafka in and out."""
        consumer = stream(
            settings=self.settings.kafka,
            profiles=self.profiles,
            prepare=self.keeper.prepare,
            database=self.database,
            kafka=self.kafka,
            health=self.health,
            clock=self.clock,
            after_commit=self.publisher.nudge,
        )
        yield consumer
        yield self.publisher
        yield replaying(self.dead_letters, consumer, self.health)
        yield self._key_reader()

    def _key_reader(self) -> KeyReader:
        return KeyReader(
            service=SERVICE,
            settings=self.settings.kafka,
            signatures=KeySignatures(self.settings.key_signing_secrets),
            keyring=self.keyring,
            dead=self.kafka.log(topics.dead(SERVICE)),
            health=self.health,
        )

    def upkeep(self) -> Iterator[Loop]:
        """What is done a step at a time, with how many seconds of rest when there is nothing to do."""
        marks = self.settings.fill_batch
        filler = SegmentFiller(segments=self.segments, database=self.database, batch=marks)
        past = Filling(self.definitions, self.clock, batch=self.settings.past_batch, marks=marks)
        sweeper = Sweeper(sweeping=Sweeping(self.clock), database=self.database, batch=marks, told=self.publisher.nudge)
        for name, step, idle in (
            ("segments", filler.fill, 0.2),
            ("deleted segments", filler.empty, 1.0),
            ("due", sweeper.sweep, 0.25),
            ("counts", Counter(counting=self.counting, database=self.database).count, 10.0),
            ("computed", ComputedFiller(filling=past, database=self.database).fill, 0.2),
            ("backlog", Backlog(publications=self.publications, database=self.database).look, 1.0),
            ("timeline", self.keeper.step, 10.0),
        ):
            yield Publisher(name=name, publish=step, health=self.health, idle=idle)

    def _publisher(self) -> Publisher:
        out = ProfilePublisher(
            publications=self.publications,
            database=self.database,
            kafka=self.kafka,
            batch=self.settings.publish_batch,
            clock=self.clock,
            longest_hold=timedelta(seconds=self.settings.publish_hold),
        )
        return Publisher(
            name="profiles",
            publish=out.publish,
            health=self.health,
            every=self.settings.publish_every,
            full=self.settings.publish_batch,
        )
