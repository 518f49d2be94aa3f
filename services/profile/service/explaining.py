"""Explaining who is who: of one profile every identifier, every statement and every ruling, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.profile.domain.explanation import Explanation, Why, superseded
from services.profile.domain.graph import Limits, Standing
from services.profile.domain.identity import Edge
from services.profile.domain.linking import Component, Places
from services.profile.domain.precedence import Precedence
from services.profile.domain.rulings import Ruling, last
from services.profile.errors import ProfileNotFound
from services.profile.service.reading import found_profile
from services.profile.store import components, evidence, identities, rulings
from shared.db import Work
from shared.identifiers import Identifier

Said = Sequence[tuple[Edge, Precedence]]

Key = tuple[str, str, str, str, str]
"""Orders what is within a part of an explanation; not all of them need all five."""


IDENTIFIERS, STATEMENTS, RULINGS = range(3)
"""The parts of an explanation, in their order."""


class Place(NamedTuple):
    """Where a page ended: in which part, and at which key there."""

    part: int = IDENTIFIERS
    key: Key = ("", "", "", "", "")


class Member(NamedTuple):
    """An identifier of the profile, and why it is there."""

    standing: Standing
    because: Why


class Statement(NamedTuple):
    """What touchpoints said, when first, and why it does not hold; None where it does."""

    edge: Edge
    when: Precedence
    failure: Why | None


class Ruled(NamedTuple):
    """What a person said, whether it is the last word on that pair, and why it has no effect; None where it has."""

    ruling: Ruling
    holds: bool
    failure: Why | None


class Graph(NamedTuple):
    """A page of the explanation: its rows with their places, and of how many logins nothing followed."""

    profile_id: str
    version: int
    conflicts: int
    rows: Sequence[tuple[Place, Member | Statement | Ruled]]


class Explaining:
    """What can be asked about an identity."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    async def explain(self, identifier: Identifier, after: Place, limit: int, work: Work) -> Graph:
        """The rows past `after`: first all identifiers, then all statements, then all rulings. Raises ProfileNotFound.

        It is as large as the profile and what rulings tie to it, and no larger: that is walked and decided once more.
        """
        profile = await found_profile(work, identifier)
        member = await evidence.member(work, profile.profile_id)
        if member is None:
            raise ProfileNotFound(identifier)
        start = evidence.Place(*after.key) if after.part == STATEMENTS else evidence.Place()
        said = await evidence.page(work, profile.profile_id, start, limit) if after.part <= STATEMENTS else []
        component, beside = await self._walked(member, said, work)
        mine = [each for each in component.places.values() if each.profile_id == profile.profile_id]
        ruled = await rulings.about(work, [each.standing.identifier for each in mine])

        explanation = _explanation(component, beside, said, self.limits)
        page = _page([each.standing for each in mine], said, ruled, after, limit)
        rows = [(place, _row(each, explanation, ruled)) for place, each in page]

        return Graph(profile.profile_id, profile.version, await evidence.conflicts(work, profile.profile_id), rows)

    async def _walked(self, member: Identifier, said: Said, work: Work) -> tuple[Component, Places]:
        """All that decides about the profile of `member`; and what is known of the others that are spoken of."""
        ends = {end for edge, _ in said for end in (edge.member, edge.owner)}
        component = await components.component(work, {member, *await rulings.ruled(work, ends)}, self.limits)
        return component, await identities.find(work, ends - component.places.keys())


def _explanation(component: Component, beside: Places, said: Said, limits: Limits) -> Explanation:
    return Explanation(
        places={**component.places, **beside},
        assignment=component.resolved(limits),
        statements={**component.evidence, **dict(said)},
        merges={merge.edge: merge for merge in component.rulings.merges},
        limits=limits,
    )


def _page(
    members: Sequence[Standing], said: Said, ruled: Sequence[Ruling], after: Place, limit: int
) -> Sequence[tuple[Place, Standing | tuple[Edge, Precedence] | Ruling]]:
    """The next `limit` of everything, in the order of their places."""
    every: list[tuple[Place, Standing | tuple[Edge, Precedence] | Ruling]] = [
        *((_place(IDENTIFIERS, each.identifier.kind, each.identifier.value), each) for each in members),
        *((_place(STATEMENTS, *evidence.place(edge)), (edge, when)) for edge, when in said),
        *((_place(RULINGS, each.at.isoformat(timespec="microseconds"), each.id), each) for each in ruled),
    ]
    return sorted((row for row in every if row[0] > after), key=lambda row: row[0])[:limit]


def _place(part: int, *key: str) -> Place:
    return Place(part, (*key, *[""] * (5 - len(key))))  # type: ignore[arg-type]  # five


def _row(
    each: Standing | tuple[Edge, Precedence] | Ruling, explanation: Explanation, ruled: Sequence[Ruling]
) -> Member | Statement | Ruled:
    match each:
        case Standing():
            return Member(each, explanation.membership(each.identifier))
        case Ruling():
            word = last(ruled, each.member, each.owner) or each
            return Ruled(each, word == each, explanation.in_the_way(each) if word == each else superseded(word))
        case edge, when:
            return Statement(edge, when, explanation.failure(edge))
