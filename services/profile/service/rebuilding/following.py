"""Views that follow an exchange: the profiles of whoever changed are marked, and the service publishes them."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from services.profile.service.background import room
from services.profile.store import differences, identities, profiles
from shared.clock import Clock
from shared.db import Database, Work

AT_ONCE = 2_000
"""Identifiers whose profiles are marked in one transaction, where nobody else waits to be published."""

REST = 0.2
"""Seconds until the next ones where somebody does: as whatever else is decided anew in the background rests."""


class Marked(NamedTuple):
    """How many identifiers were worked off, and of how many there was room."""

    number: int
    room: int


async def follow(database: Database, schema: str, clock: Clock) -> None:
    """Mark the profiles whose views are to follow, as `schema` lists them; it goes on where it was, however it ended.

    Only so many as there is room for among those who wait: what happens just now is told in time meanwhile.
    """

    async def some(work: Work) -> Marked:
        now = clock()
        most = await room(work, AT_ONCE, now)
        changed = await differences.next_changed(work, schema, most)
        await profiles.mark(work, await identities.profiles_of(work, changed), now)
        return Marked(len(changed), most)

    while (marked := await database.retrying(some)).number == marked.room:
        if marked.room < AT_ONCE:
            await asyncio.sleep(REST)
