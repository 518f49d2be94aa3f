"""What was defined, changed or deleted since a rebuild began: taken over, and filled from what was made anew so far."""

from __future__ import annotations

from services.profile.service.absorbing import Profiles
from services.profile.service.filling import Filling
from services.profile.store import definitions, shadow
from services.profile.store.definitions import Kept
from shared.db import Database, Work

BATCH = 5_000
"""Touchpoints read in one transaction."""


class Computing:
    """Keeps the tables beside, in `database`, to the definitions of the live ones."""

    def __init__(self, *, live: str, beside: str, database: Database, profiles: Profiles) -> None:
        self.live = live
        self.beside = beside
        self.database = database
        self.filling = Filling(profiles.definitions, profiles.clock, batch=BATCH, marks=0)

    async def behind(self, work: Work) -> bool:
        """Whether there are other definitions now than those that were taken over."""
        return await shadow.other_definitions(work, self.live, self.beside)

    async def follow(self) -> None:
        """Count by the definitions of now; whatever stops it, it goes on from there.

        What was made anew before one of them was there is counted by it now, as history is; what has met it, was then.
        """
        async with self.database.begin() as work:
            await shadow.take_definitions(work, self.live, self.beside)
            unfilled = await definitions.filling(work)
        for kept in unfilled:
            await self._fill(kept)

    async def _fill(self, kept: Kept) -> None:
        while not kept.fill.done:
            async with self.database.begin() as work:
                kept = await self.filling.read_on(kept, work)
                await definitions.put(work, kept._replace(phase="ready" if kept.fill.done else "filling"))
