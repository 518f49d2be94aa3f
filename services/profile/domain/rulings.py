"""What a person ruled about who is who: that two identifiers are one person's (merge), or that they are not (split).

Rulings are facts like edges, dated and kept for ever: each stands until the next one on the same pair, so that all of
them can be taken back. What they mean for a profile is decided where edges are, in `graph.resolve`:

- a split keeps its two identifiers in different profiles while it holds, whatever is or will be said of them;
- a merge of two users is an alias; of any other identifier it is the claim that goes before all that touchpoints make.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from services.profile.domain.identity import Edge
from services.profile.domain.precedence import Precedence
from services.profile.domain.when import When
from shared.identifiers import ANONYMOUS, USER, Identifier


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word on a pair. `member` is the one that moves by it, `who` the key that it was said with."""

    id: str
    ruling: Literal["merge", "split"]
    member: Identifier
    owner: Identifier
    at: datetime
    who: str
    why: str

    @property
    def when(self) -> When:
        return When(self.at, self.id)

    @property
    def precedence(self) -> Precedence:
        """Its place among statements: it is as trusted as a server's."""
        return Precedence(0, self.at, self.at, self.id)

    @property
    def edge(self) -> Edge:
        """A merge as the statement that it is."""
        return Edge("merge", self.member, self.owner)


def rank(identifier: Identifier) -> int:
    """Users stay where they are, visitors come to users, and everything else to both."""
    return {USER: 0, ANONYMOUS: 1}.get(identifier.kind, 2)


def oriented(one: Identifier, other: Identifier) -> tuple[Identifier, Identifier]:
    """A pair as member and owner: of two kinds the one that can move, of one kind as they were named."""
    return (other, one) if rank(one) < rank(other) else (one, other)


Splits = Mapping[Identifier, Mapping[Identifier, Ruling]]
"""For each identifier those that it is split from, in both directions."""


class Holding(msgspec.Struct, frozen=True):
    """The rulings that hold: of each pair the last one."""

    merges: tuple[Ruling, ...] = ()
    splits: Splits = {}

    def into(self, kind: str) -> Iterable[Ruling]:
        """The merges whose owner is of that kind."""
        return (merge for merge in self.merges if merge.owner.kind == kind)

    def parts(self, identifier: Identifier, name: Identifier, names: Mapping[Identifier, Identifier]) -> Ruling | None:
        """The first split that keeps `identifier` out of the profile of `name`; None where nothing does."""
        apart = self.splits.get(identifier, {})
        return first(split for other, split in apart.items() if names.get(other) == name)


NONE = Holding()


def holding(rulings: Iterable[Ruling]) -> Holding:
    """Which of `rulings` hold. Of each pair either all must be given, or at least the last."""
    last: dict[frozenset[Identifier], Ruling] = {}
    for ruling in rulings:
        pair = frozenset((ruling.member, ruling.owner))
        if pair not in last or last[pair].when < ruling.when:
            last[pair] = ruling
    splits: defaultdict[Identifier, dict[Identifier, Ruling]] = defaultdict(dict)
    for ruling in last.values():
        if ruling.ruling == "split":
            splits[ruling.member][ruling.owner] = splits[ruling.owner][ruling.member] = ruling
    merges = sorted((each for each in last.values() if each.ruling == "merge"), key=lambda merge: merge.when)
    return Holding(tuple(merges), dict(splits))


def last(rulings: Iterable[Ruling], one: Identifier, other: Identifier) -> Ruling | None:
    """The last of `rulings` on this pair: the one that holds."""
    pair = {one, other}
    on_it = (ruling for ruling in rulings if {ruling.member, ruling.owner} == pair)
    return max(on_it, key=lambda ruling: ruling.when, default=None)


def first(rulings: Iterable[Ruling]) -> Ruling | None:
    """The earliest of `rulings`."""
    return min(rulings, key=lambda ruling: ruling.when, default=None)
