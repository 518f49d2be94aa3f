"""Profile's use cases on a real PostgreSQL, called by hand: absorbing, ruling, publishing; and what is there then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from typing import Any, Literal

from sqlalchemy import text

from services.profile.domain.graph import Limits
from services.profile.domain.identity import profile_id
from services.profile.domain.rulings import Ruling
from services.profile.service.absorbing import Profiles
from services.profile.service.publishing import Publications, Told
from services.profile.service.ruling import Ruled, Rulings, Word
from services.profile.store import rulings
from shared.db import Database, Work
from shared.events import Touchpoint, View
from shared.identifiers import Identifier
from tests.builders import after
from tests.profile import oracle
from tests.profile.lives import LIMITS

ROOMY = Limits(by_kind={"anonymous_id": 1000}, others=5)

TABLES = (
    "fragment, identifier, edge, ruling, profile, mark, view, timeline, segment_member, signal, "
    "group_fragment, group_member, retention, computed_definition, computed_part, generation"
)


def now() -> Any:
    return after(days=1)


def profiles(limits: Limits = LIMITS) -> Profiles:
    return Profiles(limits=limits, zone=UTC, clock=now)


async def happened(database: Database, *all_at_once: Sequence[Touchpoint] | Ruling, limits: Limits = LIMITS) -> None:
    """All batches and rulings at once, each in a transaction of its own."""
    service = profiles(limits)

    async def ruled(ruling: Ruling, work: Work) -> None:
        """As `service.ruling` does it, but with the moment and the id of the test, and whatever it contradicts."""
        await rulings.lock(work)
        await rulings.add(work, ruling)
        await service.relink(work, {ruling.member, ruling.owner})

    uses = [
        (lambda work, each=each: ruled(each, work))
        if isinstance(each, Ruling)
        else (lambda work, each=each: service.absorb(each, work))
        for each in all_at_once
        if each
    ]
    await asyncio.gather(*(database.retrying(use) for use in uses))


async def published(database: Database) -> dict[str, View]:
    """Publish everything that waits; the views by profile id."""
    publications = Publications(now)
    views: dict[str, View] = {}
    while told := await _round(database, publications):
        views |= {each.view.profile_id: each.view for each in told.publications}
    return views


async def _round(database: Database, publications: Publications) -> Told | None:
    async with database.begin() as claim:
        claimed = await publications.claim(100, claim)
        if not claimed:
            return None
        told = await database.retrying(lambda work: publications.write(claimed, work))
        await publications.confirm(told, claim)
        return told


async def rows(database: Database, statement: str) -> list[Any]:
    async with database.begin() as work:
        return list(await work.execute(text(statement)))


async def emptied(database: Database) -> None:
    async with database.begin() as work:
        await work.execute(text(f"TRUNCATE {TABLES}"))


async def assigned(database: Database) -> dict[oracle.Id, str]:
    found = await rows(database, "SELECT kind, value, profile_id FROM identifier WHERE profile_id IS NOT NULL")
    return {(row.kind, row.value): str(row.profile_id) for row in found}


async def rule(database: Database, what: Literal["merge", "split"], one: str, other: str, why: str = "a test") -> Ruled:
    word = Word(what, Identifier.parse(one), Identifier.parse(other), "into", "a key", why)
    return await database.retrying(lambda work: Rulings(profiles(ROOMY), now).rule(word, work))


def id_of(name: str) -> str:
    return profile_id(Identifier.parse(name))
