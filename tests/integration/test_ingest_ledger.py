"""Kafka killed and started again, and the door itself stopped, under load: what clients were told is held against the
log. A, what got a 2xx, is in the log; what is in the log was sent; and memory does not grow.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx

from shared import topics
from shared.events import Touchpoint
from tests.builders import batch, track
from tests.ingest.door import WRITE_KEY, Place, prepared, process, read
from tests.servers import Servers
from tests.waiting import PATIENCE, until

CLIENTS = 16
SMALL = {"TEMAS_KAFKA_DEADLINE": "3", "TEMAS_KAFKA_WAITING_LIMIT": "8000000"}
GROWTH = 60_000_000
"""Bytes. What waits is bounded by 8 MB here; a leak under this load would be hundreds."""


@dataclass
class Told:
    """What clients were told of the ids that they sent."""

    accepted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    statuses: set[int] = field(default_factory=set)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, address: str, name: str) -> None:
        """Batches of 50, one after the other, each with ids of its own, sent once."""
        number = 0
        async with httpx.AsyncClient(base_url=address, auth=(WRITE_KEY, ""), timeout=PATIENCE) as client:
            while not self.enough.is_set():
                ids = [f"{name}-{number + step}" for step in range(50)]
                number += 50
                calls = [track("Viewed", {"filler": "x" * 500}, user=f"u-{id}", messageId=id) for id in ids]
                await self._note(ids, client.post("/v1/batch", json=batch(*calls)))

    async def has_more_than(self, many: int) -> bool:
        return len(self.accepted) > many

    async def _note(self, ids: list[str], answering: object) -> None:
        try:
            answer = await answering  # type: ignore[misc]
        except httpx.TransportError:
            self.unknown.update(ids)
            await asyncio.sleep(0.05)
            return
        self.statuses.add(answer.status_code)
        (self.accepted if answer.status_code == 200 else self.unknown).update(ids)
        if answer.status_code != 200:
            assert (answer.status_code, int(answer.headers["retry-after"]) >= 1) == (503, True), answer.text
            await asyncio.sleep(0.05)


@asynccontextmanager
async def load(address: str, name: str = "c") -> AsyncIterator[Told]:
    """Clients that send all the time, their ids after `name`; what they were told."""
    told = Told()
    sending = [asyncio.create_task(told.send(address, f"{name}{number}")) for number in range(CLIENTS)]
    try:
        yield told
    finally:
        told.enough.set()
        await asyncio.gather(*sending)


async def held_against_the_log(told: Told, place: Place) -> set[str]:
    """The ids in the log, which are all that were accepted, and none that was never sent."""
    log = {each.id for each in await read(place.kafka, topics.TOUCHPOINTS, Touchpoint)}
    assert told.accepted, "nothing was accepted, so nothing was tested"
    assert told.accepted <= log, f"{len(told.accepted - log)} events were accepted and are gone"
    assert log <= told.accepted | told.unknown
    return log


async def test_a_broker_that_is_killed_again_and_again_loses_nothing_that_was_accepted(
    breakable_servers: Servers,
) -> None:
    async with breakable_servers.installation() as mine:
        place = await prepared(mine)
        async with process(place, **SMALL) as (address, running):
            async with load(address) as told:
                await until(partial(told.has_more_than, 5_000))
                before, most = running.memory_info().rss, 0
                for _ in range(2):
                    await breakable_servers.kafka.stop()
                    for _ in range(8):
                        await asyncio.sleep(0.5)
                        most = max(most, running.memory_info().rss)
                    await until(lambda: 503 in told.statuses)
                    await breakable_servers.kafka.start()
                    taken = len(told.accepted)
                    await until(partial(told.has_more_than, taken))
                await asyncio.sleep(2)
                most = max(most, running.memory_info().rss)
            assert told.statuses == {200, 503}
            assert most - before < GROWTH
        await held_against_the_log(told, place)


async def test_a_door_that_is_asked_to_stop_under_full_load_cuts_nothing(breakable_servers: Servers) -> None:
    async with breakable_servers.installation() as mine:
        place = await prepared(mine)
        async with process(place, **SMALL) as (address, running), load(address) as told:
            await until(partial(told.has_more_than, 1_000))
            running.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(running.wait, PATIENCE) in (0, None)
        assert told.statuses == {200}  # what was asked was answered; what came later found nobody
        log = await held_against_the_log(told, place)
        assert not log & told.unknown
