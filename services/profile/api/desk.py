"""What every route has at hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from services.profile.service.counting import Counting
from services.profile.service.defining import Defining
from services.profile.service.explaining import Explaining
from services.profile.service.groups import Groups
from services.profile.service.previewing import Previewing
from services.profile.service.proposing import Proposals
from services.profile.service.reading import Reading
from services.profile.service.ruling import Rulings
from services.profile.service.segments import Segments
from services.profile.service.traits import TraitHistory
from shared.db import Database, Work
from shared.lookups import Lookups

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """The use cases, and the database to run them in, or just to look into.

    `patience` is how many seconds a read may wait to be shown.
    """

    database: Database
    lookups: Lookups
    reading: Reading
    explaining: Explaining
    rulings: Rulings
    proposals: Proposals
    segments: Segments
    groups: Groups
    traits: TraitHistory
    previewing: Previewing
    counting: Counting
    defining: Defining
    patience: float

    async def run(self, use: Callable[[Work], Awaitable[T]]) -> T:
        """`use` in one transaction."""
        return await self.database.retrying(use)


# A coroutine, as dependencies are throughout: FastAPI would run a plain function in a thread.
async def _desk(request: Request) -> Desk:
    """The application's, since it started."""
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]
