"""Ruling: a person says that two identifiers are one person's, or that they are not. Both can be taken back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from urllib.parse import quote
from uuid import UUID, uuid4

from services.profile import metrics
from services.profile.domain.identity import NAMED, profile_id
from services.profile.domain.linking import Placed
from services.profile.domain.rulings import Ruling, last, oriented
from services.profile.errors import Contradicted, NotTogether, ProfileNotFound, RulingRefused, Together
from services.profile.schemas.identities import told
from services.profile.service.absorbing import Profiles
from services.profile.store import components, identities, rulings
from shared.audit import Audit
from shared.clock import Clock
from shared.db import Work
from shared.identifiers import ANONYMOUS, PROFILE, Identifier, links_nothing, normal

TICK = timedelta(milliseconds=1)
"""Between two rulings on the same identifier, so that the later one is the last one whatever clocks say."""


class Word(NamedTuple):
    """What is asked for. `other` came in the body's field `field`; `who` is the key that it was asked with.

    The two may be named by the ids of their profiles: `rule` looks up whom these mean.
    """

    ruling: Literal["merge", "split"]
    identifier: Identifier
    other: Identifier
    field: str
    who: str
    why: str


class Ruled(NamedTuple):
    """A ruling that holds, and the profiles of the two, in the order they were named; None for what is nobody's."""

    ruling: Ruling
    identifier: Placed
    other: Placed


class Rulings:
    """What can be ruled. Nobody absorbs meanwhile, so that neither decides without the other."""

    def __init__(self, profiles: Profiles, clock: Clock) -> None:
        self.profiles = profiles
        self.clock = clock
        self.audit = Audit(clock)

    async def rule(self, word: Word, work: Work) -> Ruled:
        """Rule, and decide anew whose everybody concerned is. Saying what holds already changes nothing.

        Raises ProfileNotFound, RulingRefused, NotTogether, Together and Contradicted: then nothing was ruled.
        """
        asked, word = word, self._checked(await _named(word, work))
        await rulings.lock(work)
        one, other = await self._places(word, work)
        past = await rulings.about(work, {word.identifier, word.other})
        held = last(past, word.identifier, word.other)

        if held is not None and held.ruling == word.ruling and together(one, other) == (word.ruling == "merge"):
            return Ruled(held, one, other)
        _check_needed(word, one, other)
        _check_meant(asked, one, other)
        ruling = self._ruling(word, past)

        await rulings.add(work, ruling)
        await self.profiles.relink(work, {word.identifier, word.other})
        await identities.show_now(work, {word.identifier, word.other})
        ruled = await self._ruled(word, ruling, work)
        await self._note(ruling, held, work)
        metrics.RULINGS.labels(ruling.ruling).inc()
        return ruled

    async def _note(self, ruling: Ruling, held: Ruling | None, work: Work) -> None:
        """Write down a ruling. All on the same two identifiers are one time-line."""
        path = "/".join(quote(str(each), safe=":@+") for each in (ruling.member, ruling.owner))
        action = {"merge": "merged", "split": "unmerged"}[ruling.ruling]
        await self.audit.changed(
            work, ruling.who, f"identities/{path}", action=action, before=held and told(held), after=told(ruling)
        )

    async def relink(self, identifiers: Collection[Identifier], actor: str, work: Work) -> None:
        """Decide anew whose `identifiers` are, because what is configured changed. Those never seen are passed over."""
        await rulings.lock(work)
        found = set(await identities.find(work, identifiers))
        await self.profiles.relink(work, found)
        if found:
            after = {"identifiers": sorted(map(str, found))}
            await self.audit.note(work, actor, "relinked", "identities", after=after)

    async def page(self, before: tuple[datetime, str], limit: int, work: Work) -> Sequence[Ruling]:
        """All rulings, newest first, those after the place `before`."""
        return await rulings.page(work, before, limit)

    def _checked(self, word: Word) -> Word:
        """`word` with its identifiers as they are compared. Raises RulingRefused for what can't be ruled on."""
        one, other = normal(word.identifier), normal(word.other)
        for field, given in (("identifier", word.identifier), (word.field, word.other)):
            each = normal(given)
            if each in self.profiles.limits.blocked or links_nothing(given):
                raise RulingRefused(field, f"{each} is blocked: it stands for nobody, and links nothing")
        if one == other:
            raise RulingRefused(word.field, "name another identifier than the first")
        if word.ruling == "merge" and not {one.kind, other.kind} & NAMED:
            raise RulingRefused(word.field, "merge into a user_id or an anonymous_id: only they name profiles")
        return word._replace(identifier=one, other=other)

    async def _places(self, word: Word, work: Work) -> tuple[Placed, Placed]:
        """Where the two are. Raises ProfileNotFound for one that was never seen."""
        found = await identities.find(work, (word.identifier, word.other))
        for each in (word.identifier, word.other):
            if each not in found or (each.kind in NAMED and found[each].profile_id is None):
                raise ProfileNotFound(each)
        return found[word.identifier], found[word.other]

    def _ruling(self, word: Word, past: Sequence[Ruling]) -> Ruling:
        member, owner = oriented(word.identifier, word.other)
        at = max([self.clock(), *(each.at + TICK for each in past)])
        return Ruling(
            id=str(uuid4()), ruling=word.ruling, member=member, owner=owner, at=at, who=word.who, why=word.why
        )

    async def _ruled(self, word: Word, ruling: Ruling, work: Work) -> Ruled:
        one, other = await self._places(word, work)
        if word.ruling == "merge" and not together(one, other):
            component = await components.component(work, {word.identifier, word.other}, self.profiles.limits)
            split = component.resolved(self.profiles.limits).forbidden.get(ruling.edge)
            pair = (split.member, split.owner) if split is not None else None
            raise Contradicted(word.identifier, word.other, split=pair, ruling_id=split.id if split else "")
        return Ruled(ruling, one, other)


async def _named(word: Word, work: Work) -> Word:
    """`word` with identifiers in place of profiles' ids. Raises ProfileNotFound for those of no profile."""
    return word._replace(identifier=await _name(word.identifier, work), other=await _name(word.other, work))


async def _name(given: Identifier, work: Work) -> Identifier:
    """For a profile's id the identifier that it follows from, which never changes: of a person the first user id.

    That of a profile that was absorbed follows from one that came along: so who was merged by it is unmerged by it.
    """
    if given.kind != PROFILE:
        return given
    try:
        wanted = str(UUID(given.value))
    except ValueError:
        raise ProfileNotFound(given) from None
    for each in await identities.naming(work, wanted):
        if profile_id(each) == wanted:
            return each
    raise ProfileNotFound(given)


def together(one: Placed, other: Placed) -> bool:
    return one.profile_id is not None and one.profile_id == other.profile_id


def _check_needed(word: Word, one: Placed, other: Placed) -> None:
    """Raises Together and NotTogether where what is asked for is so without a ruling."""
    if word.ruling == "merge" and together(one, other):
        raise Together(word.identifier, word.other)
    if word.ruling == "split" and not together(one, other):
        raise NotTogether(word.identifier, word.other)


def _check_meant(asked: Word, one: Placed, other: Placed) -> None:
    """Raises RulingRefused for a merge by the id that a device had as a profile before it became somebody's.

    Whoever saw that id may mean the person, and the device alone would move.
    """
    for field, given, place in (("identifier", asked.identifier, one), (asked.field, asked.other, other)):
        name = place.standing.identifier
        is_by_id = (asked.ruling, given.kind, name.kind) == ("merge", PROFILE, ANONYMOUS)
        if is_by_id and place.profile_id != profile_id(name):
            person = f"{PROFILE}:{place.profile_id}"
            raise RulingRefused(
                field, f"{given} was absorbed by {person}: name that one for the person, or {name} for the device"
            )
