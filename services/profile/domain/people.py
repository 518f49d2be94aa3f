"""Which user ids are one person: those that aliases and merges join, but for what a split forbids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from services.profile.domain.identity import Edge
from services.profile.domain.precedence import Precedence, Time
from services.profile.domain.rulings import Ruling, Splits, first
from shared.identifiers import Identifier

Age = tuple[Time, Identifier]
"""Orders users, the first seen first."""


class Join(msgspec.Struct, frozen=True, order=True):
    """That two users are one person, by an alias or a merge. Ordered as statements are: the first one joins first."""

    when: Precedence
    edge: Edge


class People:
    """The users, joined one statement after the other.

    Each person is named by their first seen user id. A join that would bring two users together who are split is left
    out, and the split noted. `by`: for each user who names no person the statement that joined them with an elder one.
    The partition depends on the set of joins only: they are sorted.
    """

    def __init__(self, age: Mapping[Identifier, Age], splits: Splits) -> None:
        self.age = age
        self.elder = {user: user for user in age}
        self.foes = {user: dict(splits[user]) for user in age if user in splits}
        self.forbidden: dict[Edge, Ruling] = {}
        self.by: dict[Identifier, Edge] = {}

    def join(self, joins: Iterable[Join]) -> None:
        """Join by `joins`, but for those of whom one was never seen: it may be the id of a device of two people."""
        for each in sorted(joins):
            member, owner = each.edge.member, each.edge.owner
            if member in self.elder and owner in self.elder:
                self._join(each.edge, self.eldest(member), self.eldest(owner))

    def eldest(self, user: Identifier) -> Identifier:
        """The name of the person that `user` is one of."""
        while self.elder[user] != user:
            self.elder[user] = self.elder[self.elder[user]]  # halves the path: long chains of aliases stay cheap
            user = self.elder[user]
        return user

    def names(self) -> dict[Identifier, Identifier]:
        return {user: self.eldest(user) for user in self.elder}

    def _join(self, edge: Edge, one: Identifier, other: Identifier) -> None:
        if one == other:
            return
        split = self._between(one, other)
        if split is not None:
            self.forbidden[edge] = split
            return
        elder, younger = sorted((one, other), key=self.age.__getitem__)
        self.elder[younger] = elder
        self.by[younger] = edge
        self._share_foes(elder, younger)

    def _between(self, one: Identifier, other: Identifier) -> Ruling | None:
        """The first split between two people; looked for from the one who has fewer."""
        if one not in self.foes or other not in self.foes:
            return None
        few, person = (one, other) if len(self.foes[one]) <= len(self.foes[other]) else (other, one)
        foes = self.foes[few].items()
        return first(split for foe, split in foes if foe in self.elder and self.eldest(foe) == person)

    def _share_foes(self, elder: Identifier, younger: Identifier) -> None:
        """The smaller set goes into the larger one. Of two splits from the same user the first is noted."""
        few, many = sorted((self.foes.pop(elder, {}), self.foes.pop(younger, {})), key=len)
        for foe, split in few.items():
            many[foe] = min(split, many.get(foe, split), key=lambda each: each.when)
        if many:
            self.foes[elder] = many
