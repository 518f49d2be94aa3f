"""Which identifier belongs to which profile: a pure function of what was stated, and of what a person ruled.

- A user id names its own profile. User ids joined by `alias` are one profile, named by the one that was seen first.
- An anonymous id belongs to the earliest user it was used by; with no user it names its own profile. Users who come
  later on the same device are conflicts and join nothing: a shared tablet is not a merge.
- An email, phone or external id belongs to the profile of its earliest claimant.
- A profile takes only so many of each kind, the earliest claims first. An anonymous id past the limit stays its own
  profile; of the other kinds it belongs to nobody.
- What was split is never in one profile. An alias that would do that is left out, the later one; an identifier whose
  claim would do it goes by its next claim that is allowed. What was merged goes there before any claim. Limits count
  what touchpoints first claimed, wherever rulings send it: a ruling moves what it names, and nobody in their place.

"Earliest" is by trust, then by time (domain/precedence.py), then by the identifiers themselves. So no limit ever keeps
out what servers claim for what clients do, and nothing here knows of the order of arrival.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from heapq import heappop, heappush

import msgspec

from services.profile.domain.identity import NAMED, Edge, Statements
from services.profile.domain.people import Age, Join, People
from services.profile.domain.precedence import Precedence, sighted
from services.profile.domain.rulings import NONE, Holding, Ruling
from shared.events import Trust
from shared.identifiers import ANONYMOUS, USER, Identifier


class Claim(msgspec.Struct, frozen=True, order=True):
    """The earliest statement of whose an identifier is. Ordered: the least one wins."""

    when: Precedence
    owner: Identifier


class Standing(msgspec.Struct, frozen=True):
    """Everything that was stated about one identifier, in short: when it was itself first seen, and whose it is."""

    identifier: Identifier
    seen: Precedence | None = None
    claim: Claim | None = None

    @property
    def since(self) -> datetime:
        """When it was first heard of."""
        claimed = None if self.claim is None else self.claim.when
        return min(said.at for said in (self.seen, claimed) if said is not None)

    @property
    def trust(self) -> Trust:
        """That of the most trusted who say so: of what is claimed, who says whose it is; else, who saw it."""
        said = self.seen if self.claim is None else self.claim.when
        return "server" if said is None else said.trust

    @property
    def age(self) -> Age:
        """Orders identifiers that were seen, the first seen first."""
        assert self.seen is not None  # noqa: S101 - asked only of those that were
        return self.seen.time, self.identifier


Standings = Mapping[Identifier, Standing]


def standings(statements: Statements) -> dict[Identifier, Standing]:
    """The standing of every identifier in `statements`, those only mentioned in an alias included."""
    found: dict[Identifier, Standing] = {}
    for edge, when in statements.items():
        for side in _sides(edge, when):
            before = found.get(side.identifier)
            found[side.identifier] = fold(before, side) if before else side
    return found


def _sides(edge: Edge, when: Precedence) -> tuple[Standing, ...]:
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
    return Standing(one.identifier, sighted(one.seen, other.seen), min(claims, default=None))


class Limits(msgspec.Struct, frozen=True):
    """How many identifiers of a kind one profile takes, and which identifiers, by configuration, link nothing."""

    by_kind: Mapping[str, int]
    others: int
    blocked: frozenset[Identifier] = frozenset()

    def of(self, kind: str) -> int:
        return self.by_kind.get(kind, self.others)


class Assignment(msgspec.Struct, frozen=True):
    """Who is who: for each identifier the one that names its profile; and why.

    `over`: those that a limit kept out. `by`: for each identifier that names no profile itself the statement that it
    belongs there by. `forbidden`: the statements that a split does not let hold, and that split.
    """

    names: Mapping[Identifier, Identifier]
    over: frozenset[Identifier]
    by: Mapping[Identifier, Edge] = {}
    forbidden: Mapping[Edge, Ruling] = {}


def resolve(known: Standings, evidence: Statements, limits: Limits, rulings: Holding = NONE) -> Assignment:
    """Whose each of `known` is.

    `known` must hold, for each profile concerned, its users with all that they are aliases of, and of each kind at
    least the earliest `limits` claims; `evidence` the aliases among them, and the claims (`CLAIMS` of each, the
    earliest) of those that `rulings` are about. An identifier that was only mentioned in an alias, and never seen, is
    nobody's.
    """
    seen = [standing for standing in known.values() if standing.seen is not None]
    people = People({each.identifier: each.age for each in seen if each.identifier.kind == USER}, rulings.splits)
    people.join(_joins(evidence, limits, rulings))

    places = Places(people, evidence, limits, rulings)
    places.take([standing for standing in seen if standing.identifier.kind == ANONYMOUS])
    places.take([standing for standing in known.values() if standing.identifier.kind not in NAMED])
    return Assignment(places.names, frozenset(places.over), places.by, places.forbidden)


def _joins(evidence: Statements, limits: Limits, rulings: Holding) -> Iterable[Join]:
    for edge, when in evidence.items():
        if edge.kind == "alias" and limits.blocked.isdisjoint((edge.member, edge.owner)):
            yield Join(when, edge)
    for merge in rulings.merges:
        if merge.member.kind == USER:
            yield Join(merge.precedence, merge.edge)


# --- visitors and addresses ------------------------------------------------------------------------------------------

CLAIMS = 100
"""Of an identifier with rulings so many claims are looked at, the earliest. More owners than that: it is nobody's."""


class Places:
    """Whose everybody is so far, in `names`; those of whom nothing is ruled first, and then the others in turn."""

    def __init__(self, people: People, evidence: Statements, limits: Limits, rulings: Holding) -> None:
        self.names = people.names()
        self.forbidden = people.forbidden
        self.by = people.by
        self.limits = limits
        self.rulings = rulings
        self.over: set[Identifier] = set()
        self.merges: defaultdict[Identifier, list[Edge]] = defaultdict(list)
        for merge in reversed(rulings.merges):  # the last word goes first
            self.merges[merge.member].append(merge.edge)
        self.claims: defaultdict[Identifier, set[Claim]] = defaultdict(set)
        for edge, when in evidence.items():
            if edge.kind in ("login", "claim") and self._is_ruled(edge.member):
                self.claims[edge.member].add(Claim(when, edge.owner))

    def take(self, candidates: Collection[Standing]) -> None:
        """Place `candidates`; those who may own them are placed already, or are among them."""
        within = self._within(candidates)
        ruled = {each.identifier: each for each in candidates if self._is_ruled(each.identifier)}
        for each in candidates:
            if each.identifier not in ruled:
                self._place(each, [] if each.claim is None else [claimed(each.identifier, each.claim)], within)
        for identifier in _in_turn(ruled, self.rulings):
            self._place(ruled[identifier], self._options(ruled[identifier]), within)

    def _is_ruled(self, identifier: Identifier) -> bool:
        return identifier in self.rulings.splits or identifier in self.merges

    def _within(self, candidates: Iterable[Standing]) -> frozenset[Identifier]:
        """Those of `candidates` whose first claim is within the limit of its owner's profile."""
        rivals: defaultdict[tuple[Identifier, str], list[tuple[Claim, Identifier]]] = defaultdict(list)
        for each in candidates:
            if each.claim is not None and each.claim.owner in self.names and not self._is_blocked(each.identifier):
                rivals[self.names[each.claim.owner], each.identifier.kind].append((each.claim, each.identifier))
        return frozenset(
            identifier
            for (_, kind), claims in rivals.items()
            for _, identifier in sorted(claims)[: self.limits.of(kind)]
        )

    def _is_blocked(self, identifier: Identifier) -> bool:
        return identifier in self.limits.blocked

    def _options(self, standing: Standing) -> list[Edge]:
        """What would say whose an identifier with rulings is, what counts most first."""
        claims = self.claims[standing.identifier] | ({standing.claim} if standing.claim is not None else set())
        return [
            *self.merges.get(standing.identifier, ()),
            *(claimed(standing.identifier, claim) for claim in sorted(claims)[:CLAIMS]),
        ]

    def _place(self, standing: Standing, options: Iterable[Edge], within: frozenset[Identifier]) -> None:
        """By the first of `options` that is allowed; but not past a first claim that is, and only finds no room."""
        identifier = standing.identifier
        for edge in () if self._is_blocked(identifier) else options:
            name = self.names.get(edge.owner)
            if name is None:  # never seen, or waits for us
                continue
            split = self.rulings.parts(identifier, name, self.names)
            if split is not None:
                self.forbidden[edge] = split
            elif identifier not in within and edge.kind != "merge" and _is_first(edge, standing):
                self.over.add(identifier)
                break
            else:
                self.names[identifier], self.by[identifier] = name, edge
                return
        if identifier.kind == ANONYMOUS:
            self.names[identifier] = identifier


def claimed(member: Identifier, claim: Claim) -> Edge:
    """The statement that `claim` on `member` was."""
    return Edge("login" if member.kind == ANONYMOUS else "claim", member, claim.owner)


def _is_first(edge: Edge, standing: Standing) -> bool:
    return standing.claim is not None and edge.owner == standing.claim.owner


def _in_turn(ruled: Collection[Identifier], rulings: Holding) -> Iterator[Identifier]:
    """`ruled`, each after those that it is to follow or to avoid. Where that is a circle, the least goes first."""
    waits: dict[Identifier, set[Identifier]] = {identifier: set() for identifier in ruled}
    followers: defaultdict[Identifier, list[Identifier]] = defaultdict(list)
    splits = {each.id: each for identifier in ruled for each in rulings.splits.get(identifier, {}).values()}
    for each in (*rulings.merges, *splits.values()):
        if each.member in waits and each.owner in waits:
            waits[each.member].add(each.owner)
            followers[each.owner].append(each.member)
    ready = sorted(each for each, owners in waits.items() if not owners)
    for least in (None, *sorted(ruled)):
        if least in waits:
            ready.append(least)
        while ready:
            next_one = heappop(ready)
            if waits.pop(next_one, None) is None:
                continue
            yield next_one
            for follower in followers[next_one]:
                if follower in waits:
                    waits[follower].discard(next_one)
                    if not waits[follower]:
                        heappush(ready, follower)


def root(members: Iterable[Standing]) -> Identifier:
    """The member that was seen first: stable across login. At least one of `members` was seen."""
    return min(member.age for member in members if member.seen is not None)[1]
