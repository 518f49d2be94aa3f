"""A service with a log of its own, and an operator's hand that rebuilds beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from services.profile.cli import MIGRATIONS, timekeeper
from services.profile.service.rebuilding.command import Order, carried_out
from shared import topics
from shared.db import Database
from shared.events import Touchpoint, encode
from shared.identifiers import Identifier
from shared.kafka import admin
from shared.replay import Bounds, Past
from tests.profile.database import rows
from tests.profile.service import Service, make_topics, running, settings
from tests.servers import Servers
from tests.waiting import until

FACTS = {
    "fragment": "kind, value, state::text",
    "identifier": "kind, value, seen_rank, seen_at, seen_happened_at, seen_id, owner_kind, owner_value, "
    "claimed_rank, claimed_at, claimed_happened_at, claimed_id, profile_id",
    "edge": "*",
    "timeline": "kind, value, at, touchpoint_id, source, received_at, type, name, channel, properties::text,"
    " identifiers::text, traits::text",
    "presence": "*",
    "computed_part": "kind, value, trait, revision, state::text",
    "group_fragment": "group_id, state::text",
}
"""What follows from the log, byte for byte."""

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class World:
    service: Service
    database: Database
    past: Past

    async def rebuild(self, **order: Any) -> int:
        """The exit code."""
        asked = Order(show=True, **order)
        return await carried_out(asked, self.service.settings, MIGRATIONS, timekeeper, self.service.hands)

    async def post(self, *touchpoints: Touchpoint) -> None:
        """Append them, anywhere in the log."""
        await asyncio.gather(*(self.service.tell(each, key=each.id) for each in touchpoints))

    async def tell(self, *touchpoints: Touchpoint) -> None:
        """Append them, and wait until everything is absorbed."""
        await self.post(*touchpoints)
        await self.settled()

    async def tell_in_any_order(self, life: Iterable[Touchpoint], random: Random) -> None:
        """Each up to three times, shuffled, each time in another partition."""
        copies = [each for each in life for _ in range(random.choice((1, 1, 2, 3)))]
        random.shuffle(copies)
        await asyncio.gather(*(self.service.tell(each, key=f"k{random.randrange(99)}") for each in copies))
        await self.settled()

    async def write(self, *values: Touchpoint | bytes, at: datetime) -> None:
        """Append what may be no touchpoint at all, as if it had been written `at`."""
        topic = self.service.settings.kafka.prefix + topics.TOUCHPOINTS.name
        for each in values:
            value = each if isinstance(each, bytes) else encode(each)
            await self.service.kafka.producer.send_and_wait(topic, value, timestamp_ms=int(at.timestamp() * 1000))

    async def define(self, **computed: Any) -> None:
        """Define computed traits, and wait until views show them."""
        for trait, formula in computed.items():
            answer = await self.service.send("PUT", f"/v1/computed/{trait}", json={"name": trait, **formula})
            assert answer.status_code == 200, answer.text

        async def look() -> bool:
            listed = (await self.service.send("GET", "/v1/computed")).json()["computed"]
            return {each["id"] for each in listed if each["status"] == "ready"} == computed.keys()

        await until(look)

    async def settled(self) -> None:
        """Wait until everything is absorbed and published."""

        async def look() -> bool:
            bounds = await self.bounds()
            found = await rows(
                self.database, "SELECT partition, next_offset FROM stream_offset WHERE topic LIKE '%points'"
            )
            stored = {row.partition: row.next_offset for row in found}
            marked = await rows(self.database, "SELECT 1 FROM mark LIMIT 1")
            return not marked and all(stored.get(number, -1) >= each.end for number, each in bounds.items())

        await until(look)

    async def bounds(self) -> dict[int, Bounds]:
        return await self.past.bounds()

    async def cut(self) -> None:
        """The log loses all that it has."""
        name = self.service.settings.kafka.prefix + topics.TOUCHPOINTS.name
        ends = {number: each.end for number, each in (await self.bounds()).items()}
        async with admin(self.service.settings.kafka) as client:
            await client.delete_records(
                {
                    TopicPartition(name, number): RecordsToDelete(before_offset=end)
                    for number, end in ends.items()
                    if end
                }
            )

        async def gone() -> bool:
            return all(each.first == ends[number] for number, each in (await self.bounds()).items())

        await until(gone)

    async def facts(self, schema: str = "profile") -> Rows:
        """Every row of what follows from the log."""
        found = {name: await rows(self.database, f"SELECT {what} FROM {schema}.{name}") for name, what in FACTS.items()}
        return {name: sorted(map(tuple, every), key=repr) for name, every in found.items()}

    async def run(self, *statements: str) -> None:
        async with self.database.begin() as work:
            for statement in statements:
                await work.exec_driver_sql(statement)

    async def versions(self) -> dict[str, int]:
        found = await rows(self.database, "SELECT profile_id, version FROM profile")
        return {str(row.profile_id): row.version for row in found}

    async def kept(self) -> bool:
        """Whether what was there before a rebuild, or one that is not finished, still is."""
        return bool(await rows(self.database, "SELECT 1 FROM pg_namespace WHERE nspname LIKE 'profile\\_%'"))

    async def mended(self) -> None:
        """What the log says, and nothing kept: so that the next test finds it as this one did."""
        for order in ({"forget": True}, {}, {"forget": True}):
            assert await self.rebuild(**order) == 0
        await self.settled()

    async def timeline(self, person: Identifier) -> list[str]:
        answer = await self.service.send("GET", f"/v1/profiles/{person}/timeline", params={"limit": "100"})
        assert answer.status_code == 200, answer.text
        return [each["touchpoint_id"] for each in answer.json()["touchpoints"]]


@asynccontextmanager
async def world(servers: Servers) -> AsyncIterator[World]:
    """A fresh one; limits are those of the small world that lives are drawn from."""
    async with servers.installation() as installation:
        await make_topics(installation)
        small = settings(installation, limits_by_kind={"anonymous_id": 3}, identifier_limit=2)
        async with (
            running(small) as service,
            Database.open(installation.database("profile")) as database,
            Past.open(small.kafka, topics.TOUCHPOINTS) as past,
        ):
            yield World(service, database, past)
