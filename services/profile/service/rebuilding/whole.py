"""Everything made anew: filled beside the live tables, compared with them, exchanged with them, and put back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.exc import DBAPIError

from services.profile.domain import linking
from services.profile.domain.linking import Move
from services.profile.domain.rebuilt import Difference, Kept, is_cut
from services.profile.domain.rulings import Ruling
from services.profile.errors import RebuildRefused
from services.profile.service.absorbing import Marks, Profiles
from services.profile.store import differences, identities, keeping, profiles, rulings, shadow
from shared import ledger
from shared.clock import Clock
from shared.db import Database, Work, sqlstate
from shared.errors import OffsetOutOfRange
from shared.replay import Replay

log = structlog.get_logger(__name__)

NEAR = 2_000
"""Records that may be missing when everybody is asked to wait: a quarter of a second's work."""

PATIENCE = 5.0
"""Seconds that absorbing may be held up; past them it is let go, and tried again."""

ATTEMPTS = 20

MARKED_AT_ONCE = 2_000
"""Identifiers whose profiles are marked in one transaction."""

DECIDED_AT_ONCE = 500
"""Identifiers whose owner is decided anew together, of those that are kept."""

LOCK_NOT_AVAILABLE = "55P03"

Made = Callable[[int], None]
"""Told how many records were applied."""


class Rebuilding:
    """`live` and `beside` are the schemas; `replay` applies to the one beside. `database` searches in the live one."""

    def __init__(
        self, *, live: str, beside: str, database: Database, replay: Replay, profiles: Profiles, clock: Clock
    ) -> None:
        self.live = live
        self.beside = beside
        self.database = database
        self.replay = replay
        self.profiles = profiles
        self.clock = clock

    async def begin(self) -> None:
        """Take over what is not in the log, unless it was begun before. Raises RebuildRefused."""
        fresh = not await self.replay.positions()
        async with self.database.begin() as work:
            if await shadow.revision(work, self.live) != await shadow.revision(work, self.beside):
                raise RebuildRefused(
                    "what is served is of another version than this: python -m services.profile migrate"
                )
            if fresh:
                await shadow.copy(work, self.live, self.beside)
        await self._check_reach()

    async def missing(self) -> int:
        """How many records are to be applied until the tables beside are where the live ones are."""
        target, start = await self._target(), await self.replay.begin()
        return sum(max(0, offset - start[number]) for number, offset in target.items())

    async def fill(self, made: Made) -> None:
        """Apply the log until nearly nothing is missing. Whatever stops it, it goes on from there."""
        while await self.missing() > NEAR:
            await self.replay.up_to(await self._target(), made)
        async with self.replay.database.begin() as work:
            await shadow.analyze(work, self.beside)

    async def compare(self, *, keep: bool) -> tuple[list[Difference], Kept]:
        """Hold both against each other, at the same offsets, while the live ones go on.

        `keep`: where the log no longer reaches back, what it does not tell is kept first.
        """
        async with self._still() as work:
            await shadow.endless(work)
            kept = await self._keep(work) if keep else Kept()
            await keeping.search(work, self.live)
            found = await differences.differences(work, self.live, self.beside)
            await differences.take_joined(work, self.live, self.beside)
        return found, kept

    async def swap(self, *, name: str) -> None:
        """Exchange them, and let views follow. What was live is then in the schema `name`. Raises RebuildRefused.

        Absorbing is held up for as long as the last records take, and the exchange itself.
        """
        await self._tried(lambda: self._swap(name))
        await self.follow(name)

    async def follow(self, name: str) -> None:
        """Mark the profiles whose views are to follow, some at a time. It goes on where it was, however it ended."""

        async def some(work: Work) -> int:
            changed = await differences.next_changed(work, name, MARKED_AT_ONCE)
            await profiles.mark(work, await identities.profiles_of(work, changed), self.clock())
            return len(changed)

        while await self.database.retrying(some):
            pass

    # --- meeting the live tables -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _still(self) -> AsyncIterator[Work]:
        """A transaction that sees both at the same offsets for as long as it lasts. Absorbing waits for its begin."""
        async with self.database.begin() as work:
            # Nothing may be read before: the first read settles what all the others see.
            await work.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

            async def look() -> None:
                async with self._held():
                    await work.exec_driver_sql("SELECT 1")

            await self._tried(look)
            yield work

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[Work]:
        """Nobody absorbs or rules, and both are at the same offsets. Raises TimeoutError where that takes long."""
        async with self.database.begin() as work:
            await rulings.lock(work)
            async with asyncio.timeout(PATIENCE):
                await self.replay.up_to(await self._target(work))
                await self._take_rulings(work)
            yield work

    async def _tried(self, use: Callable[[], Awaitable[None]]) -> None:
        """Until nobody has to wait long for it. Raises RebuildRefused."""
        for attempt in range(ATTEMPTS):
            while await self.missing() > NEAR:
                await self.replay.up_to(await self._target())
            try:
                await use()
            except TimeoutError:
                log.info("what is missing takes long: absorbing goes on, and it is tried again")
            except DBAPIError as error:
                if sqlstate(error) not in (LOCK_NOT_AVAILABLE, "40P01", "40001"):
                    raise
                await asyncio.sleep(0.1 * (attempt + 1))
            else:
                return
        raise RebuildRefused("the tables are read for so long each time that they can't be exchanged: try again later")

    async def _target(self, work: Work | None = None) -> dict[int, int]:
        """How far the live tables are."""
        if work is None:
            async with self.database.begin() as own:
                return await self._target(own)
        stored = await ledger.positions(work, self.replay.consumer)
        return {number: offset for (topic, number), offset in stored.items() if topic == self.replay.past.topic}

    async def _check_reach(self) -> None:
        """Raises OffsetOutOfRange where the log no longer has what is next to be applied, there or here."""
        bounds, target = await self.replay.past.bounds(), await self._target()
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
        """What was ruled since this began: nobody rules while `work` lasts. Raises RebuildRefused."""
        if changed := await shadow.changed_definitions(work, self.live, self.beside):
            raise RebuildRefused(f"{', '.join(changed)} has changed since this began: begin again, with --afresh")
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

    # --- keeping -----------------------------------------------------------------------------------------------------

    async def _keep(self, work: Work) -> Kept:
        firsts = {number: each.first for number, each in (await self.replay.past.bounds()).items()}
        reaches = await keeping.since(work, self.beside)
        if not is_cut(firsts, await keeping.since(work, self.live), reaches):
            return Kept()
        kept = await keeping.note(work, self.live, self.beside, reaches)
        await keeping.search(work, self.beside)
        await keeping.keep(work, self.live, self.beside)
        after = None
        while True:
            known, after = await keeping.standings(work, self.live, self.beside, after, DECIDED_AT_ONCE)
            if after is None:
                return kept
            await identities.add(work, known)
            await self.profiles.relink(work, known)

    # --- exchanging --------------------------------------------------------------------------------------------------

    async def _swap(self, name: str) -> None:
        async with self._held() as work:
            await shadow.endless(work)
            async with self.replay.database.begin() as beside:
                await shadow.endless(beside)
                await shadow.copy(beside, self.live, self.beside)
                await differences.take_joined(beside, self.live, self.beside)
            moved = await differences.moved(work, self.live, self.beside)
            versions = await self._settle(work, moved)
            await shadow.exchange(work, self.live, self.beside)
            places = {each.identifier: (each.after, versions[each.after] if each.after else 0) for each in moved}
            await identities.move(work, places)
            if name != self.beside:
                await shadow.rename(work, self.beside, name)

    async def _settle(self, work: Work, moved: list[Move]) -> dict[str, int]:
        """Bring profiles in line with who moves; give the versions that they have then."""
        marks = Marks(work, self.clock())
        await marks.create(linking.joined(moved))
        await marks.add(linking.concerned(moved))
        settled = linking.settled(moved, marks.versions)
        await profiles.settle(work, settled)
        return marks.versions | {id: each.version for id, each in settled.items()}
