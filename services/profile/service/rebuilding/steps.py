"""A rebuild from its first step to its last, and what the operator is told on the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from services.profile.domain.rebuilt import Difference, Kept, equal
from services.profile.errors import RebuildRefused
from services.profile.service.rebuilding.bar import Screen
from services.profile.service.rebuilding.following import follow
from services.profile.service.rebuilding.person import Person
from services.profile.service.rebuilding.whole import PATH, Rebuilding
from services.profile.store import shadow
from shared.audit import Audit, of_operator
from shared.clock import Clock
from shared.db import Database
from shared.identifiers import Identifier

EQUAL, DIFFERENT, REFUSED = 0, 1, 2
"""Exit codes: nothing is different, or is any more; something is; it can't be done."""

Opened = Callable[[str], AbstractAsyncContextManager[Rebuilding]]
"""Gives the rebuilding beside the live schema, in the schema of that name, which it makes where there is none."""


class Steps:
    """`live` is the schema that is served from."""

    def __init__(self, *, live: str, database: Database, opened: Opened, screen: Screen, clock: Clock) -> None:
        self.live = live
        self.beside = f"{live}_shadow"
        self.before = f"{live}_before"
        self.database = database
        self.opened = opened
        self.screen = screen
        self.clock = clock
        self.audit = Audit(clock)

    async def rebuild(self, *, dry_run: bool, afresh: bool) -> int:
        """Make everything anew, compare, and exchange what differs. Raises RebuildRefused."""
        await self._finish()
        if not dry_run and await self._is_there(self.before):
            raise RebuildRefused(
                "what was there before the last rebuild is still kept: --forget drops it, --revert puts it back"
            )
        if afresh:
            await self._drop(self.beside)
        async with self.opened(self.beside) as rebuilding:
            found, kept = await self._made(rebuilding, keep=True)
            if not equal(found) and not dry_run:
                await self._swapped(rebuilding, self.before, "rebuilt")
                self.screen.say("Exchanged. What was there is kept: --revert puts it back, --forget drops it")
        if equal(found):
            await self._drop(self.beside)
            self.screen.say(f"Equal: what is served is what the log says{_reach(kept)}. Nothing was changed")
        elif dry_run:
            self.screen.say("Different. Nothing was changed; without --dry-run it goes on from here")
        return DIFFERENT if dry_run and not equal(found) else EQUAL

    async def revert(self) -> int:
        """Put back what was there before the last rebuild, with all that was absorbed since. Raises RebuildRefused."""
        await self._finish()
        if not await self._is_there(self.before):
            raise RebuildRefused("there is nothing to put back: no rebuild has exchanged anything, or it was forgotten")
        async with self.opened(self.before) as rebuilding:
            await self._made(rebuilding, keep=False)
            await self._swapped(rebuilding, self.before, "reverted")
        self.screen.say("Put back. What was made anew is kept in its place: --revert exchanges them again")
        return EQUAL

    async def forget(self) -> int:
        """Drop what is kept, and what an interrupted rebuild has left."""
        await self._finish()
        async with self.database.begin() as work:
            for schema in (self.before, self.beside):
                if await shadow.exists(work, schema):
                    await shadow.drop(work, schema)
                    await self.audit.note(work, of_operator(), "forgotten", PATH, before={"schema": schema})
        self.screen.say("Nothing is kept any more")
        return EQUAL

    async def person(self, person: Person, identifier: Identifier, *, dry_run: bool) -> int:
        """Make anew what is known of one person. Raises RebuildRefused."""
        total = await person.length()
        with self.screen.progress("reading", total) as made:
            found = await person.rebuild(identifier, made, dry_run=dry_run)
        self.screen.tally(person.tally)
        self.screen.kept(found.kept)
        self.screen.differences(found.differences)
        if equal(found.differences):
            self.screen.say(f"Equal: what is served of this person is what the log says{_reach(found.kept)}")
            return EQUAL
        replaced = f"Replaced by what the log says{_reach(found.kept)}"
        self.screen.say("Different. Nothing was changed" if dry_run else replaced)
        return DIFFERENT if dry_run else EQUAL

    async def _made(self, rebuilding: Rebuilding, *, keep: bool) -> tuple[list[Difference], Kept]:
        await rebuilding.begin()
        with self.screen.progress("applying the log", await rebuilding.meeting.missing()) as made:
            await rebuilding.fill(made)
        self.screen.say("comparing")
        found, kept = await rebuilding.compare(keep=keep)
        self.screen.tally(rebuilding.replay.tally)
        self.screen.kept(kept)
        self.screen.differences(found)
        return found, kept

    async def _swapped(self, rebuilding: Rebuilding, name: str, action: str) -> None:
        await rebuilding.swap(name=name, action=action)
        self.screen.say("Views follow in the background")

    async def _finish(self) -> None:
        """Where the last one ended before all views were told to follow, tell them now."""
        if await self._is_there(self.before):
            await follow(self.database, self.before, self.clock)

    async def _is_there(self, schema: str) -> bool:
        async with self.database.begin() as work:
            return await shadow.exists(work, schema)

    async def _drop(self, schema: str) -> None:
        async with self.database.begin() as work:
            await shadow.drop(work, schema)


def _reach(kept: Kept) -> str:
    """What "what the log says" is to be read with."""
    return ", as far as it reaches back; what it no longer tells is as it was" if kept.identifiers else ""
