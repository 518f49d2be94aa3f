"""Which identifier belongs to which profile: a pure function of what was stated.

- A user id names its own profile. User ids joined by `alias` are one profile, named by the one that was seen first.
- An anonymous id belongs to the earliest user it was used by; with no user it names its own profile. Users who come
  later on the same device are conflicts and join nothing: a shared tablet is not a merge.
- An email, phone or external id belongs to the profile of its earliest claimant.
- A profile takes only so many of each kind, the earliest claims first. An anonymous id past the limit stays its own
  profile; of the other kinds it belongs to nobody.

"Earliest" is by event time, ties by touchpoint id, then by the identifiers themselves: nothing here knows of arrival.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from services.profile.domain.identity import NAMED, Edge, Statements
from services.profile.domain.when import When, earliest
from shared.identifiers import ANONYMOUS, USER, Identifier


class Claim(msgspec.Struct, frozen=True, order=True):
    """The earliest statement of whose an identifier is. Ordered: the least one wins."""

    when: When
    owner: Identifier


class Standing(msgspec.Struct, frozen=True):
    """Everything that was stated about one identifier, in short: when it was itself first seen, and whose it is."""

    identifier: Identifier
    seen: When | None = None
    claim: Claim | None = None

    @property
    def since(self) -> datetime:
        """When it was first heard of."""
        first = earliest(self.seen, None if self.claim is None else self.claim.when)
        assert first is not None  # noqa: S101 - a standing is made from at least one statement
        return first.at

    @property
    def age(self) -> tuple[When, Identifier]:
        """Orders identifiers that were seen, the first seen first."""
        assert self.seen is not None  # noqa: S101 - asked only of those that were
        return self.seen, self.identifier


Standings = Mapping[Identifier, Standing]


def standings(statements: Statements) -> dict[Identifier, Standing]:
    """The standing of every identifier in `statements`, those only mentioned in an alias included."""
    found: dict[Identifier, Standing] = {}
    for edge, when in statements.items():
        for side in _sides(edge, when):
            before = found.get(side.identifier)
            found[side.identifier] = fold(before, side) if before else side
    return found


def _sides(edge: Edge, when: When) -> tuple[Standing, ...]:
    """What a statement says about each of its ends. An alias says nothing of either: it is kept as an edge."""
    match edge.kind:
        case "seen":
            return (Standing(edge.member, seen=when),)
        case "alias":
            return Standing(edge.member), Standing(edge.owner)
        case _:
            return Standing(edge.member, claim=Claim(when, edge.owner)), Standing(edge.owner)


def fold(one: Standing, other: Standing) -> Standing:
    """Both standings of one identifier as one. Commutative, associative, idempotent."""
    claims = [standing.claim for standing in (one, other) if standing.claim is not None]
    return Standing(one.identifier, earliest(one.seen, other.seen), min(claims, default=None))


class Limits(msgspec.Struct, frozen=True):
    """How many identifiers of a kind one profile takes."""

    by_kind: Mapping[str, int]
    others: int

    def of(self, kind: str) -> int:
        return self.by_kind.get(kind, self.others)


class Assignment(msgspec.Struct, frozen=True):
    """Who is who: for each identifier the one that names its profile; and those that a limit kept out."""

    names: Mapping[Identifier, Identifier]
    over: frozenset[Identifier]


def resolve(known: Standings, aliases: Iterable[Edge], limits: Limits) -> Assignment:
    """Whose each of `known` is.

    `known` must hold, for each profile concerned, its users with all that they are aliases of, and of each kind at
    least the earliest `limits` claims. An identifier that was only mentioned in an alias, and never seen, is nobody's.
    """
    seen = [standing for standing in known.values() if standing.seen is not None]
    names = _people([standing for standing in seen if standing.identifier.kind == USER], aliases)

    visitors = [standing for standing in seen if standing.identifier.kind == ANONYMOUS]
    taken = _taken(visitors, names, limits)
    names |= {visitor.identifier: visitor.identifier for visitor in visitors} | taken

    addresses = [standing for standing in known.values() if standing.identifier.kind not in NAMED]
    names |= _taken(addresses, names, limits)

    claimed = (standing.identifier for standing in (*visitors, *addresses) if standing.claim is not None)
    over = frozenset(identifier for identifier in claimed if names.get(identifier, identifier) == identifier)
    return Assignment(names, over)


def _people(users: Iterable[Standing], aliases: Iterable[Edge]) -> dict[Identifier, Identifier]:
    """For each user the one who names the profile: of all who are aliases of each other, the first seen."""
    age = {user.identifier: user.age for user in users}
    elder = {user: user for user in age}

    def eldest(user: Identifier) -> Identifier:
        while elder[user] != user:
            elder[user] = elder[elder[user]]  # halves the path: long chains of aliases stay cheap
            user = elder[user]
        return user

    for alias in aliases:
        # An id that was never seen joins nobody: it may be that of a device on which two people were aliased.
        if alias.member in elder and alias.owner in elder:
            first, second = sorted((eldest(alias.member), eldest(alias.owner)), key=age.__getitem__)
            elder[second] = first
    return {user: eldest(user) for user in elder}


def _taken(
    candidates: Iterable[Standing], names: Mapping[Identifier, Identifier], limits: Limits
) -> dict[Identifier, Identifier]:
    """Those of `candidates` that their claim's owner's profile takes, with the name of that profile."""
    rivals: defaultdict[tuple[Identifier, str], list[tuple[Claim, Identifier]]] = defaultdict(list)
    for candidate in candidates:
        if candidate.claim is not None and candidate.claim.owner in names:
            name = names[candidate.claim.owner]
            rivals[name, candidate.identifier.kind].append((candidate.claim, candidate.identifier))
    return {
        identifier: name
        for (name, kind), claims in rivals.items()
        for _, identifier in sorted(claims)[: limits.of(kind)]
    }


def root(members: Iterable[Standing]) -> Identifier:
    """The member that was seen first: stable across login. At least one of `members` was seen."""
    return min(member.age for member in members if member.seen is not None)[1]
