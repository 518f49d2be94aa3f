"""Everything made anew: filled beside the live tables, compared with them, exchanged with them, and put back."""

from __future__ import annotations

from collections.abc import Callable

from services.profile.domain import linking
from services.profile.domain.linking import Move
from services.profile.domain.rebuilt import Difference, Kept, is_cut
from services.profile.errors import RebuildRefused
from services.profile.service.absorbing import Marks, Profiles
from services.profile.service.rebuilding.following import follow
from services.profile.service.rebuilding.meeting import NEAR, Meeting
from services.profile.store import differences, identities, keeping, profiles, shadow
from shared.audit import Audit, of_operator
from shared.clock import Clock
from shared.db import Database, Work
from shared.replay import Replay

DECIDED_AT_ONCE = 500
"""Identifiers whose owner is decided anew together, of those that are kept."""

Made = Callable[[int], None]
"""Told how many records were applied."""

PATH = "rebuild"
"""The object that the audit has rebuilds under."""


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
        self.audit = Audit(clock)
        self.meeting = Meeting(live=live, beside=beside, database=database, replay=replay, profiles=profiles)

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
        await self.meeting.computing.follow()
        await self.meeting.check_reach()

    async def fill(self, made: Made) -> None:
        """Apply the log until nearly nothing is missing. Whatever stops it, it goes on from there."""
        while await self.meeting.missing() > NEAR:
            await self.replay.up_to(await self.meeting.target(), made)
        async with self.replay.database.begin() as work:
            await shadow.analyze(work, self.beside)

    async def compare(self, *, keep: bool) -> tuple[list[Difference], Kept]:
        """Hold both against each other, at the same offsets, while the live ones go on.

        `keep`: where the log no longer reaches back, what it does not tell is kept first.
        """
        async with self.meeting.still() as work:
            await shadow.endless(work)
            kept = await self._keep(work) if keep else Kept()
            await keeping.search(work, self.live)
            found = await differences.differences(work, self.live, self.beside)
            await differences.take_joined(work, self.live, self.beside)
        return found, kept

    async def swap(self, *, name: str, action: str) -> None:
        """Exchange them, and let views follow. What was live is then in the schema `name`; the audit calls it `action`.
        Raises RebuildRefused.

        Absorbing is held up for as long as the last records take, and the exchange itself.
        """
        await self.meeting.tried(lambda: self._swap(name, action))
        await follow(self.database, name, self.clock)

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

    async def _swap(self, name: str, action: str) -> None:
        async with self.meeting.held() as work:
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
            await self.audit.note(work, of_operator(), action, PATH, after={"identifiers_moved": len(moved)})

    async def _settle(self, work: Work, moved: list[Move]) -> dict[str, int]:
        """Bring profiles in line with who moves; give the versions that they have then."""
        marks = Marks(work, self.clock())
        await marks.create(linking.joined(moved))
        await marks.add(linking.concerned(moved))
        settled = linking.settled(moved, marks.versions)
        await profiles.settle(work, settled)
        return marks.versions | {id: each.version for id, each in settled.items()}
