"""Timelines for profile's tests: absorbed as the consumer does, read page by page, and what a plain list says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import text

from services.profile.domain.graph import Limits
from services.profile.service.absorbing import Profiles
from services.profile.service.history import NOW
from services.profile.service.reading import Filter, Leaf, Reading
from services.profile.service.timekeeping import Timekeeping
from services.profile.store.timeline import Place
from services.profile.upkeep import Timekeeper
from shared.db import Database, Work
from shared.events import Touchpoint
from shared.identifiers import Identifier
from tests.builders import after
from tests.profile.service import Hands
from tests.servers import Servers

ROOMY = Limits(by_kind={"anonymous_id": 1000}, others=5)

TABLES = "fragment, identifier, edge, profile, mark, view, timeline, presence, retention, segment_member, signal"

ALL = Filter()

READING = Reading(consumer="profile", topic="touchpoints")


class Archive:
    """A database with timelines, as one process of the service sees it; its clock is `hands`."""

    def __init__(self, database: Database, hands: Hands, months: int | None = None) -> None:
        self.database = database
        self.hands = hands
        self.keeper = Timekeeper(timekeeping=Timekeeping(months=months, clock=hands), database=database)
        self.profiles = Profiles(limits=ROOMY, zone=UTC, clock=hands)

    def another(self, months: int | None = None) -> Archive:
        """The same database, seen by another process."""
        return Archive(self.database, self.hands, months)

    async def absorb(self, *batches: Sequence[Touchpoint]) -> None:
        """All batches at once, each in a transaction of its own."""
        await asyncio.gather(*(self.database.retrying(partial(self._absorb, batch)) for batch in batches if batch))

    async def _absorb(self, batch: Sequence[Touchpoint], work: Work) -> None:
        await self.keeper.prepare(batch)
        await self.profiles.absorb(batch, work)

    async def keep(self) -> None:
        """What the background does, until nothing is left to do."""
        while await self.keeper.step():
            pass

    async def leaf(self, person: Identifier, asked: Filter = ALL, *, before: Place = NOW, limit: int = 50) -> Leaf:
        return await self.database.retrying(
            lambda work: READING.timeline(person, asked, work, before=before, limit=limit)
        )

    async def whole(
        self, person: Identifier, asked: Filter = ALL, *, before: Place = NOW, limit: int = 50
    ) -> list[tuple[datetime, str, str]]:
        """Page after page; each row as (at, id, source)."""
        found: list[Any] = []
        place: Place | None = before
        while place is not None:
            rows, place = (await self.leaf(person, asked, before=place, limit=limit)).page
            assert len(rows) <= limit
            found += [(row.at, row.touchpoint_id, row.source) for row in rows]
        return found

    async def rows(self, statement: str) -> list[Any]:
        async with self.database.begin() as work:
            return list(await work.execute(text(statement)))

    async def run(self, *statements: str) -> None:
        async with self.database.begin() as work:
            for statement in statements:
                await work.execute(text(statement))

    async def partitions(self) -> list[str]:
        found = await self.rows(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'timeline'::regclass"
        )
        return sorted(row.relname for row in found)

    async def emptied(self) -> None:
        await self.run(f"TRUNCATE {TABLES}")


@asynccontextmanager
async def archive(servers: Servers, months: int | None = None) -> AsyncIterator[Archive]:
    """One with a database of its own."""
    async with servers.installation() as installation, Database.open(installation.database("profile")) as database:
        yield Archive(database, Hands(after(days=1)), months)


def plain(life: Iterable[Touchpoint], asked: Filter, until: datetime | None = None) -> list[tuple[datetime, str, str]]:
    """What a list says of the same question, newest first."""
    found = [
        (each.at, each.id, each.source)
        for each in life
        if asked.since <= each.at
        and (until is None or each.at < until)
        and asked.channel in (None, each.data.channel)
        and asked.name in (None, each.data.name)
        and asked.type in (None, each.data.type)
    ]
    return sorted(found, reverse=True)
