"""The publisher: at once when nudged, patient when a server is away, and nothing that was marked stays unsent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from shared.errors import LogUnavailable
from shared.health import Health
from shared.outbox import Publisher
from tests.integration.counting import Counting, counting
from tests.servers import Servers, started_servers
from tests.waiting import PATIENCE, in_time, until

LONG = 10 * PATIENCE
"""Seconds of idling that no test waits for."""


@asynccontextmanager
async def publishing(publisher: Publisher) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(publisher.run())
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Rounds:
    """A `publish` that does what its script says, and then finds nothing to do."""

    script: list[int | Exception] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    async def __call__(self) -> int:
        self.at.append(time.monotonic())
        step = self.script.pop(0) if self.script else 0
        if isinstance(step, Exception):
            raise step
        return step

    async def reached(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.at) >= count

        await until(enough)


def publisher(rounds: Rounds, *, name: str, idle: float = LONG, health: Health | None = None) -> Publisher:
    return Publisher(name=name, publish=rounds, health=health or Health(), idle=idle)


def metric(name: str, publisher: str) -> float:
    return REGISTRY.get_sample_value(f"temas_publisher_{name}_total", {"publisher": publisher}) or 0


# --- nudges ----------------------------------------------------------------------------------------------------------


async def test_it_goes_on_while_there_is_something_and_then_rests() -> None:
    async with publishing(publisher(rounds := Rounds([100, 100, 7]), name="goes-on")):
        await rounds.reached(4)
        await asyncio.sleep(0.1)
        assert len(rounds.at) == 4
    assert metric("published", "goes-on") == 207


async def test_a_nudge_ends_the_rest_at_once() -> None:
    async with publishing(resting := publisher(rounds := Rounds(), name="nudged")):
        await rounds.reached(1)
        resting.nudge()
        await rounds.reached(2)


async def test_a_nudge_during_a_round_is_not_forgotten() -> None:
    nudged = Rounds()

    async def publish() -> int:
        if len(nudged.at) == 0:
            busy.nudge()  # marked after this round had looked
        return await nudged()

    busy = Publisher(name="busy", publish=publish, health=Health(), idle=LONG)
    async with publishing(busy):
        await nudged.reached(2)


async def test_without_a_nudge_it_looks_again_by_itself() -> None:
    async with publishing(publisher(rounds := Rounds(), name="idle", idle=0.05)):
        await rounds.reached(4)
    assert min(later - earlier for earlier, later in zip(rounds.at, rounds.at[1:], strict=False)) >= 0.045


# --- servers that are away -------------------------------------------------------------------------------------------


async def test_while_a_server_is_away_it_tries_ever_more_slowly_and_then_is_quick_again() -> None:
    away: Sequence[Exception] = [LogUnavailable("away"), ConnectionRefusedError(), TimeoutError()] * 2
    hiccups: Sequence[int | Exception] = [5, LogUnavailable("away")] * 9
    rounds = Rounds([*away, *hiccups])
    async with publishing(publisher(rounds, name="away", idle=0.02)):
        await rounds.reached(len(away) + len(hiccups) + 1)
    pauses = [later - earlier for earlier, later in zip(rounds.at, rounds.at[1:], strict=False)]
    least = [0.5 * 0.02 * 2**doubled for doubled in range(len(away) + 1)]  # half of what it doubled to
    for pause, at_least in zip(pauses, least[:-1], strict=False):
        assert at_least <= pause
    assert min(pauses[len(away) + 1 :: 2]) < least[-1]  # as after any first failure: it does not go on doubling
    assert metric("failures", "away") == len(away) + 9
    assert metric("published", "away") == 5 * 9


async def test_trying_is_no_reason_to_be_called_late() -> None:
    health = Health()
    rounds = Rounds([LogUnavailable("away")] * 100)
    async with publishing(publisher(rounds, name="health", idle=0.01, health=health)):
        assert health.complaints() == {"publisher health": "has not reported yet"}
        await rounds.reached(3)
        assert health.complaints() == {}


async def test_a_mistake_of_ours_ends_it_loudly() -> None:
    with pytest.raises(KeyError):
        await in_time(publisher(Rounds([KeyError("ours")]), name="bug").run())


# --- the whole pattern, on real servers ------------------------------------------------------------------------------

DIRTY = "CREATE TABLE state (key text PRIMARY KEY, version bigint NOT NULL, dirty boolean NOT NULL)"
MARK = text("""
    INSERT INTO state (key, version, dirty) VALUES (:key, 1, true)
    ON CONFLICT (key) DO UPDATE SET version = state.version + 1, dirty = true
""")
TAKE = text("SELECT key, version FROM state WHERE dirty ORDER BY key LIMIT 20 FOR UPDATE SKIP LOCKED")
CLEAR = text("UPDATE state SET dirty = false WHERE key = :key AND version = :version")


@dataclass(frozen=True)
class States:
    """A service in small: it marks states as dirty, and publishes them with their version."""

    service: Counting

    async def mark(self, key: str) -> None:
        async with self.service.database.begin() as work:
            await work.execute(MARK, {"key": key})

    async def publish(self) -> int:
        async with self.service.database.begin() as work:
            taken = [(row.key, row.version) for row in await work.execute(TAKE)]
        if taken:
            await self.service.append([str(version).encode() for _, version in taken], [key for key, _ in taken])
            async with self.service.database.begin() as work:
                for key, version in taken:
                    await work.execute(CLEAR, {"key": key, "version": version})
        return len(taken)

    async def reachable(self) -> bool:
        async with self.service.database.begin() as work:
            return (await work.execute(text("SELECT true"))).scalar_one() is True

    async def shown(self) -> dict[str, int]:
        """What a reader sees that applies only higher versions."""
        seen: dict[str, int] = {}
        for record in await self.service.log():
            key = record.key.decode()
            seen[key] = max(seen.get(key, 0), int(record.value))
        return seen


@pytest.fixture
async def breakable() -> AsyncIterator[Servers]:
    async with started_servers() as own:
        yield own


@pytest.mark.servers
async def test_whoever_dies_in_between_the_last_state_of_everything_is_published(breakable: Servers) -> None:
    async with counting(breakable) as service:
        states, versions = States(service), dict.fromkeys([f"k-{number}" for number in range(50)], 0)
        async with service.database.begin() as work:
            await work.execute(text(DIRTY))
        first = Publisher(name="first", publish=states.publish, health=Health(), idle=0.05)
        second = Publisher(name="second", publish=states.publish, health=Health(), idle=0.05)

        async def change() -> None:
            for key in versions:
                await states.mark(key)
                versions[key] += 1
                first.nudge()

        async def all_shown() -> bool:
            return await states.shown() == versions

        async with publishing(first), publishing(second):
            await change()
            await until(all_shown)
            await breakable.kafka.kill()
            await change()
            await breakable.kafka.start()
            await until(all_shown)
            await breakable.postgres.kill()
            await breakable.postgres.start()
            await until(states.reachable)
            await change()
            await until(all_shown)
        assert metric("failures", "first") + metric("failures", "second") > 0


async def test_what_is_marked_between_two_rounds_shares_the_second() -> None:
    rounds = Rounds([1, 1, 1])
    mine = Publisher(name="paced", publish=rounds, health=Health(), idle=LONG, every=0.5, full=100)
    async with publishing(mine):
        await rounds.reached(1)
        for _ in range(20):
            mine.nudge()
            await asyncio.sleep(0.01)
        await rounds.reached(2)
    assert rounds.at[1] - rounds.at[0] >= 0.45


async def test_a_full_round_is_followed_at_once() -> None:
    rounds = Rounds([100, 100, 100])
    async with publishing(Publisher(name="full", publish=rounds, health=Health(), every=LONG, full=100)):
        await rounds.reached(4)
