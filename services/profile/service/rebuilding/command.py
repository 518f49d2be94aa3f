"""`rebuild`, from its options to its exit code: opens what is needed, and says what stands in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aiokafka.errors import KafkaError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from services.profile.errors import RebuildRefused
from services.profile.service.absorbing import Profiles
from services.profile.service.rebuilding.bar import Screen
from services.profile.service.rebuilding.person import Person
from services.profile.service.rebuilding.repeated import lost_records, without_repetitions
from services.profile.service.rebuilding.steps import REFUSED, Steps
from services.profile.service.rebuilding.whole import Rebuilding
from services.profile.settings import SERVICE, Settings
from shared import db, ledger, topics
from shared.clock import Clock, system_clock
from shared.db import NOT_ALLOWED, Database, Work, is_away, sqlstate
from shared.errors import OffsetOutOfRange
from shared.events import Touchpoint
from shared.identifiers import Identifier
from shared.replay import Past, Replay
from shared.settings import DatabaseSettings
from shared.stream import StreamLimits


@dataclass(frozen=True)
class Order:
    """What was asked for. `person`: only that one."""

    person: Identifier | None = None
    dry_run: bool = False
    afresh: bool = False
    revert: bool = False
    forget: bool = False
    show: bool = False

    def check(self) -> None:
        """Raises RebuildRefused where not all of what is asked for can be done: then nothing is."""
        tasks = {"--person": self.person is not None, "--revert": self.revert, "--forget": self.forget}
        chosen = [name for name, asked in tasks.items() if asked]
        if len(chosen) > 1:
            raise RebuildRefused(f"{' and '.join(chosen)} are different things: ask for one of them")
        if self.afresh and chosen:
            raise RebuildRefused(
                f"--afresh begins the rebuild of everybody again, and {chosen[0]} is none: leave out one of them"
            )
        if self.dry_run and (self.revert or self.forget):
            raise RebuildRefused(
                f"--dry-run compares with the log, and {chosen[0]} does not: without {chosen[0]} it says whether what "
                f"is served now is what the log says; without --dry-run {chosen[0]} is carried out"
            )


class Preparing(Protocol):
    """Makes what a batch needs before it is absorbed."""

    def prepare(self, batch: Sequence[Touchpoint]) -> Awaitable[None]: ...


Keeper = Callable[[Settings, Database, Clock], Preparing]


async def carried_out(
    order: Order, settings: Settings, migrations: Path, keeper: Keeper, clock: Clock = system_clock
) -> int:
    """The exit code. `migrations`: of this service; `keeper` gives who makes partitions in a database."""
    screen = Screen(show=order.show)
    try:
        order.check()
        async with _Opening(settings, migrations, keeper, clock).steps(screen) as (steps, person):
            return await _done(order, steps, person)
    except (RebuildRefused, OffsetOutOfRange) as error:
        screen.say(str(error))
    except DBAPIError as error:
        if sqlstate(error) != NOT_ALLOWED:
            raise
        screen.say(f"This role may make no schema: GRANT CREATE ON DATABASE ... TO it ({error.orig})")
    except (KafkaError, SQLAlchemyError, OSError) as error:
        if not isinstance(error, KafkaError) and not is_away(error):
            raise
        screen.say(f"a server is away: the same command goes on from here ({error!r})")
    return REFUSED


async def _done(order: Order, steps: Steps, person: Person) -> int:
    if order.revert:
        return await steps.revert()
    if order.forget:
        return await steps.forget()
    if order.person is not None:
        return await steps.person(person, order.person, dry_run=order.dry_run)
    return await steps.rebuild(dry_run=order.dry_run, afresh=order.afresh)


class _Opening:
    """What a rebuild is made of, opened and closed."""

    def __init__(self, settings: Settings, migrations: Path, keeper: Keeper, clock: Clock) -> None:
        self.settings = settings
        self.migrations = migrations
        self.keeper = keeper
        self.clock = clock
        self.profiles = Profiles(limits=settings.limits, zone=settings.time_zone, clock=clock)
        self.remembered = StreamLimits().remembered

    @asynccontextmanager
    async def steps(self, screen: Screen) -> AsyncIterator[tuple[Steps, Person]]:
        live = self.settings.database.db_schema
        async with (
            Database.open(self.settings.database, longest=None) as database,
            Past.open(self.settings.kafka, topics.TOUCHPOINTS) as past,
        ):
            person = Person(
                live=live,
                consumer=SERVICE,
                database=database,
                past=past,
                profiles=self.profiles,
                remembered=self.remembered,
                clock=self.clock,
            )

            @asynccontextmanager
            async def opened(schema: str) -> AsyncIterator[Rebuilding]:
                async with self._rebuilding(schema, database, past) as rebuilding:
                    yield rebuilding

            steps = Steps(live=live, database=database, opened=opened, screen=screen, clock=self.clock)
            yield steps, person

    @asynccontextmanager
    async def _rebuilding(self, schema: str, database: Database, past: Past) -> AsyncIterator[Rebuilding]:
        """Beside the live schema, in `schema`, which is made by the same migrations where there is none."""
        chosen: DatabaseSettings = self.settings.database.model_copy(update={"db_schema": schema})
        await asyncio.to_thread(db.migrate, chosen, self.migrations)
        async with Database.open(chosen, longest=None) as beside:
            keeper = self.keeper(self.settings, beside, self.clock)
            is_cut = await lost_records(past)

            async def absorb(batch: Sequence[Touchpoint], work: Work) -> None:
                if is_cut:
                    named = {ledger.key(each): each for each in batch}
                    async with database.begin() as live:
                        batch = list((await without_repetitions(named, live)).values())
                if batch:
                    await keeper.prepare(batch)
                    await self.profiles.absorb(batch, work)

            yield Rebuilding(
                live=self.settings.database.db_schema,
                beside=schema,
                database=database,
                replay=Replay(
                    past=past,
                    consumer=SERVICE,
                    database=beside,
                    handler=absorb,
                    remembered=self.remembered,
                    clock=self.clock,
                ),
                profiles=self.profiles,
                clock=self.clock,
            )
