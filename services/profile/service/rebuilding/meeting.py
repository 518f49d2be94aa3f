"""Live tables and those beside them, brought to the same offsets, while absorbing waits for as short as can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.exc import DBAPIError

from services.profile.domain.rulings import Ruling
from services.profile.errors import RebuildRefused
from services.profile.service.absorbing import Profiles
from services.profile.service.rebuilding.computing import Computing
from services.profile.store import definitions, keeping, rulings, shadow
from shared import ledger
from shared.db import LOCK_NOT_AVAILABLE, RETRIED, Database, Work, sqlstate
from shared.errors import OffsetOutOfRange
from shared.replay import Replay

log = structlog.get_logger(__name__)

NEAR = 2_000
"""Records that may be missing when everybody is asked to wait: a quarter of a second's work."""

PATIENCE = 5.0
"""Seconds that absorbing may be held up; past them it is let go, and tried again."""

ATTEMPTS = 20

FILLED_WITHIN = 600
"""Seconds that are waited for computed traits to be filled."""


class _Unlike(Exception):
    """Both do not count by the same definitions, or one is not filled yet."""


class Meeting:
    """`live` and `beside` are the schemas; `replay` applies to the one beside. `database` searches in the live one."""

    def __init__(self, *, live: str, beside: str, database: Database, replay: Replay, profiles: Profiles) -> None:
        self.live = live
        self.beside = beside
        self.database = database
        self.replay = replay
        self.profiles = profiles
        self.computing = Computing(live=live, beside=beside, database=replay.database, profiles=profiles)

    async def missing(self) -> int:
        """How many records are to be applied until the tables beside are where the live ones are."""
        target, start = await self.target(), await self.replay.begin()
        return sum(max(0, offset - start[number]) for number, offset in target.items())

    @asynccontextmanager
    async def still(self) -> AsyncIterator[Work]:
        """A transaction that sees both at the same offsets for as long as it lasts. Absorbing waits for its begin."""
        async with self.database.begin() as work:
            # Nothing may be read before: the first read settles what all the others see.
            await work.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

            async def look() -> None:
                async with self.held():
                    await work.exec_driver_sql("SELECT 1")

            await self.tried(look)
            yield work

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Work]:
        """Nobody absorbs, rules, defines or fills, and both are at the same offsets, and count by the same definitions.

        Raises TimeoutError where that takes long, and _Unlike.
        """
        async with self.database.begin() as work:
            await rulings.lock(work)
            await definitions.share(work)
            if await definitions.filling(work) or await self.computing.behind(work):
                raise _Unlike
            async with asyncio.timeout(PATIENCE):
                await self.replay.up_to(await self.target(work))
                await self._take_rulings(work)
            yield work

    async def tried(self, use: Callable[[], Awaitable[None]]) -> None:
        """Until nobody has to wait long for it. Raises RebuildRefused."""
        for attempt in range(ATTEMPTS):
            await self._prepared()
            try:
                await use()
            except _Unlike:
                log.info("what is computed was defined anew just now: it is tried again")
            except TimeoutError:
                log.info("what is missing takes long: absorbing goes on, and it is tried again")
            except DBAPIError as error:
                if sqlstate(error) not in RETRIED | {LOCK_NOT_AVAILABLE}:
                    raise
                await asyncio.sleep(0.1 * (attempt + 1))
            else:
                return
        raise RebuildRefused("the tables are read for so long each time that they can't be exchanged: try again later")

    async def _prepared(self) -> None:
        """Nearly nothing is missing, and everything that is computed is filled. Raises RebuildRefused."""
        for _ in range(FILLED_WITHIN):
            if not await self._unfilled():
                break
            await asyncio.sleep(1)
        else:
            raise RebuildRefused(
                "computed traits are being filled (GET /v1/computed says how far): the same command goes on from here"
            )
        await self.computing.follow()
        while await self.missing() > NEAR:
            await self.replay.up_to(await self.target())

    async def _unfilled(self) -> bool:
        async with self.database.begin() as work:
            return bool(await definitions.filling(work))

    async def target(self, work: Work | None = None) -> dict[int, int]:
        """How far the live tables are."""
        if work is None:
            async with self.database.begin() as own:
                return await self.target(own)
        stored = await ledger.positions(work, self.replay.consumer)
        return {number: offset for (topic, number), offset in stored.items() if topic == self.replay.past.topic}

    async def check_reach(self) -> None:
        """Raises OffsetOutOfRange where the log no longer has what is next to be applied, there or here."""
        bounds, target = await self.replay.past.bounds(), await self.target()
        for number, offset in (await self.replay.begin()).items():
            first, end = bounds[number]
            if first > offset and target.get(number, 0) > offset:
                raise OffsetOutOfRange(
                    f"partition {number} of the log begins at {first} now, and {offset} is next to be applied: what is "
                    "between is gone"
                )
            if target.get(number, 0) > end:
                raise OffsetOutOfRange(f"partition {number} of the log ends at {end}, before what was absorbed")

    async def _take_rulings(self, work: Work) -> None:
        """What was ruled since this began: nobody rules while `work` lasts."""
        before = {each.id for each in await self._rulings(self.beside)}
        new = [each for each in await self._rulings(self.live) if each.id not in before]
        if new:
            async with self.replay.database.begin() as beside:
                await shadow.copy(beside, self.live, self.beside)
                await self.profiles.relink(beside, {party for each in new for party in (each.member, each.owner)})

    async def _rulings(self, schema: str) -> list[Ruling]:
        async with self.database.begin() as work:
            await keeping.search(work, schema)
            return await rulings.everything(work)
