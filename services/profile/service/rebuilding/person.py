"""What is known of one person, made anew from the log, and put in the place of what is stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import quote

from services.profile.domain import graph, identity
from services.profile.domain.identity import NAMED, Owned
from services.profile.domain.rebuilt import Difference, Kept, equal, is_cut
from services.profile.domain.rulings import holding
from services.profile.errors import RebuildRefused
from services.profile.service.absorbing import Profiles
from services.profile.service.rebuilding.repeated import Life, lost_records, without_repetitions
from services.profile.store import definitions, differences, identities, persons, rulings, shadow, timeline
from shared import ledger
from shared.audit import Audit, of_operator
from shared.clock import Clock
from shared.db import Database, Work
from shared.events import Touchpoint
from shared.identifiers import PROFILE, Identifier, normal
from shared.replay import BATCH, Offsets, Past, Sieve, Tally, gathered

NEAR = 2_000
"""Records that may be read while nobody absorbs."""


class Found(NamedTuple):
    """How what was stored differs from what the log says, and what the log no longer tells."""

    differences: Sequence[Difference]
    kept: Kept


class Heard(NamedTuple):
    """A person by the log: their identifiers, and every touchpoint that one of these occurs in, up to `stop`."""

    people: set[Identifier]
    life: Life
    stop: Offsets


class Person:
    """Makes one person anew. `consumer` is who absorbs touchpoints; `live` the schema."""

    def __init__(
        self,
        *,
        live: str,
        consumer: str,
        database: Database,
        past: Past,
        profiles: Profiles,
        remembered: timedelta,
        clock: Clock,
    ) -> None:
        self.live = live
        self.consumer = consumer
        self.database = database
        self.past = past
        self.profiles = profiles
        self.audit = Audit(clock)
        self.tally = Tally()
        self.sieve = Sieve(past, remembered, clock, self.tally)

    async def length(self) -> int:
        """Records of the log: it is read once, and again where it names more identifiers of this person."""
        return sum(each.end - each.first for each in (await self.past.bounds()).values())

    async def rebuild(self, identifier: Identifier, made: Callable[[int], None], *, dry_run: bool) -> Found:
        """Compare and, where anything differs, replace what is stored by what the log says.

        Nobody absorbs for as long as that takes: about a quarter of a second for a thousand touchpoints. It is one
        transaction on purpose: half a person would show, and be told, as if it were all of them. Raises RebuildRefused.
        """
        heard = await self._near(await self._heard(_named(identifier), made), made)
        repeated = self.tally.repeated

        async def replace(work: Work) -> Found:
            await rulings.lock(work)
            # Or what is filled just now would be counted once more, under a touchpoint that has been counted anew.
            await definitions.share(work)
            await definitions.stop_filling(work)
            stop = await self._absorbed(work)
            self.tally.repeated = repeated  # this may be tried again
            late = await self._gather(heard.stop, stop, heard.people, made)
            life = self._joined(heard.life, late)
            if not life and not await persons.known(work, heard.people):
                raise RebuildRefused(
                    "nobody is known by that name, neither in what is served nor in the log: is it written as the view "
                    "shows it (GET /v1/profiles/kind:value)?"
                )
            trial = await work.begin_nested()
            found = await self._replaced(work, heard._replace(life=life))
            if dry_run or equal(found.differences):
                await trial.rollback()
            else:
                await trial.commit()
                path, after = f"profiles/{quote(str(identifier), safe=':@+')}", {"differences": len(found.differences)}
                await self.audit.note(work, of_operator(), "rebuilt", path, after=after)
            self.tally.fresh = len(life)
            return found

        return await self.database.retrying(replace)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _heard(self, identifier: Identifier, made: Callable[[int], None]) -> Heard:
        """Read the log until it names nobody more who is this person."""
        async with self.database.begin() as work:
            people = await persons.members(work, identifier) | {identifier}
            stop = await self._absorbed(work)
        start = {number: each.first for number, each in (await self.past.bounds()).items()}
        while True:
            # All of it is read, and counted, again.
            self.tally.repeated = self.tally.too_old = self.tally.unreadable = 0
            life = await self._gather(start, stop, people, made)
            more = await self._same_person(people, self._owned(life.values()))
            if more <= people:
                return Heard(people, life, {number: max(stop.get(number, 0), first) for number, first in start.items()})
            people |= more

    async def _near(self, heard: Heard, made: Callable[[int], None]) -> Heard:
        """Read on what has come meanwhile, until so little is missing that everybody can wait for it."""
        while True:
            async with self.database.begin() as work:
                stop = await self._absorbed(work)
            missing = sum(offset - heard.stop[number] for number, offset in stop.items())
            late = await self._gather(heard.stop, stop, heard.people, made)
            heard = Heard(heard.people, self._joined(heard.life, late), stop)
            if missing <= NEAR:
                return heard

    async def _gather(
        self, start: Offsets, stop: Offsets, people: Collection[Identifier], made: Callable[[int], None]
    ) -> Life:
        before = self.tally.read
        life = await gathered(self.past, self.sieve, start, stop, lambda each: self._is_about(each, people))
        made(self.tally.read - before)
        if life and await lost_records(self.past):
            async with self.database.begin() as work:
                return await without_repetitions(life, work)
        return life

    def _joined(self, life: Life, late: Life) -> Life:
        """What was read later is added: of those of one name the first counts."""
        self.tally.repeated += len(life.keys() & late.keys())
        return late | life

    def _is_about(self, touchpoint: Touchpoint, people: Collection[Identifier]) -> bool:
        each = identity.owned(touchpoint, self.profiles.limits.blocked)
        return any(edge.member in people or edge.owner in people for edge in identity.said([each]))

    async def _same_person(self, people: Collection[Identifier], life: Sequence[Owned]) -> set[Identifier]:
        """Who is, by the log and by what was ruled, one person with any of `people`."""
        statements = identity.said(life)
        standings = graph.standings(statements)
        async with self.database.begin() as work:
            held = holding(await rulings.about(work, standings.keys()))
        names = graph.resolve(standings, statements, self.profiles.limits, held).names
        theirs = {names[each] for each in people if each in names}
        return {each for each, name in names.items() if name in theirs}

    def _owned(self, life: Collection[Touchpoint]) -> list[Owned]:
        return [identity.owned(each, self.profiles.limits.blocked) for each in life]

    async def _absorbed(self, work: Work) -> dict[int, int]:
        stored = await ledger.positions(work, self.consumer)
        return {number: offset for (topic, number), offset in stored.items() if topic == self.past.topic}

    # --- replacing ---------------------------------------------------------------------------------------------------

    async def _replaced(self, work: Work, heard: Heard) -> Found:
        """Replace what is stored, and say what that has changed."""
        await shadow.endless(work)
        life = self._owned(heard.life.values())
        owners = {each for each in heard.people if each.kind in NAMED}
        concerned = {*heard.people, *await persons.claimed(work, owners), *graph.standings(identity.said(life))}
        before, after = f"{self.live}_person_before", f"{self.live}_person_after"
        await persons.set_aside(work, before, concerned)

        known = await self._kept(work, owners, life)
        await self._replace(work, heard.people, owners - known.keys(), life, concerned)

        await persons.set_aside(work, after, concerned)
        found = await differences.differences(work, before, after)
        for schema in (before, after):
            await shadow.drop(work, schema)
        return Found(found, Kept(len(known), sum(known.values()), self.tally.since))

    async def _kept(
        self, work: Work, owners: Collection[Identifier], life: Sequence[Owned]
    ) -> Mapping[Identifier, int]:
        """Where the log no longer reaches back: of whom more is known than it tells, and how many touchpoints more."""
        firsts = {number: each.first for number, each in (await self.past.bounds()).items()}
        if not is_cut(firsts, await persons.since(work, owners), self.tally.since):
            return {}
        told: dict[Identifier, int] = {}
        for each in life:
            told[each.owner] = told.get(each.owner, 0) + 1
        stored = await persons.fragments(work, owners)
        more = {owner: each.count - told.get(owner, 0) for owner, each in stored.items()}
        return {owner: count for owner, count in more.items() if count > 0}

    async def _replace(
        self,
        work: Work,
        people: set[Identifier],
        anew: set[Identifier],
        life: Sequence[Owned],
        concerned: set[Identifier],
    ) -> None:
        """`anew`: those of whom the log tells all; of the others what is stored is kept, and what it lacks is added."""
        known = await identities.find(work, people)
        await persons.take_out(work, anew, people)
        theirs = [each for each in life if each.owner in people]
        await identities.put_edges(work, identity.said(theirs))
        standings = graph.standings(identity.said(life))
        await identities.add(work, standings)
        if anew != {each for each in people if each.kind in NAMED}:
            await identities.add(work, {key: place.standing for key, place in known.items()})
        await persons.reclaim(work, concerned - people)
        await timeline.add(work, [each for each in theirs if each.owner not in anew])
        batch = [each.touchpoint for each in theirs if each.owner in anew]
        for start in range(0, len(batch), BATCH):
            await self.profiles.absorb_people(batch[start : start + BATCH], work)
        await self.profiles.relink(work, set(await identities.find(work, concerned)))


def _named(identifier: Identifier) -> Identifier:
    """As it is compared. Raises RebuildRefused for a profile's id: the log knows none."""
    if identifier.kind == PROFILE:
        raise RebuildRefused("name the person by one of their identifiers: a profile's id follows from them")
    return normal(identifier)
