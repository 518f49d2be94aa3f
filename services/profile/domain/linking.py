"""From what a batch states to what changes: which statements are news, and which identifiers move between profiles."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from services.profile.domain.graph import Assignment, Claim, Limits, Standing, resolve
from services.profile.domain.identity import NAMED, Edge, Statements, profile_id
from services.profile.domain.precedence import Precedence, sighted
from services.profile.domain.rulings import Holding
from shared.identifiers import Identifier


class Placed(msgspec.Struct, frozen=True):
    """What is known of an identifier, and the profile it is in now; None where it is nobody's, or not decided yet."""

    standing: Standing
    profile_id: str | None


Places = Mapping[Identifier, Placed]


class Component(msgspec.Struct, frozen=True):
    """All that decides whose some identifiers are: see `graph.resolve`."""

    places: Places
    evidence: Statements
    rulings: Holding

    def resolved(self, limits: Limits) -> Assignment:
        """Who is who among them."""
        standings = {identifier: place.standing for identifier, place in self.places.items()}
        return resolve(standings, self.evidence, limits, self.rulings)


class Heard(msgspec.Struct, frozen=True):
    """Statements, sorted out. `news` may change who is who; `evidence` changes nothing and is only kept."""

    news: Statements
    evidence: Statements


def sift(statements: Statements, known: Places) -> Heard:
    """Which of `statements` say what `known` does not. Most only repeat what was said before, and are in neither."""
    news, evidence = {}, {}
    for edge, when in statements.items():
        if _is_news(edge, when, known):
            news[edge] = when
        elif _is_evidence(edge, known):
            evidence[edge] = when
    return Heard(news, evidence)


def _is_news(edge: Edge, when: Precedence, known: Places) -> bool:
    if edge.kind == "alias":
        return not _together(edge, known)
    if edge.member not in known:
        return True
    standing = known[edge.member].standing
    if edge.kind == "seen":
        return sighted(standing.seen, when) is not standing.seen
    return standing.claim is None or Claim(when, edge.owner) < standing.claim


def _is_evidence(edge: Edge, known: Places) -> bool:
    """A statement that lost to an earlier one, or that was true already for another reason."""
    if edge.kind == "seen":
        return False
    claim = known[edge.member].standing.claim
    return edge.kind == "alias" or claim is None or claim.owner != edge.owner


def _together(edge: Edge, known: Places) -> bool:
    member, owner = known.get(edge.member), known.get(edge.owner)
    if member is None or owner is None or member.profile_id is None:
        return False
    return member.profile_id == owner.profile_id


def late(heard: Heard, changed: Iterable[Edge], ruled: Container[Identifier]) -> Statements:
    """The evidence that may change who is who after all, of what was not known before (`changed`).

    Of an identifier that somebody `ruled` on, the claim that wins need not be the earliest. And an alias of two who are
    together tells since when: another, that came between, may have to be left out for a split.
    """
    counts = (edge for edge in changed if edge in heard.evidence and (edge.kind == "alias" or edge.member in ruled))
    return {edge: heard.evidence[edge] for edge in counts}


class Move(msgspec.Struct, frozen=True):
    """An identifier that leaves the profile `before` for `after`; None is no profile."""

    identifier: Identifier
    before: str | None
    after: str | None

    @property
    def own(self) -> str | None:
        """The profile that it would name itself, and may have named before it was absorbed."""
        return profile_id(self.identifier) if self.identifier.kind in NAMED else None


def moves(found: Places, assignment: Assignment) -> list[Move]:
    """What must move for `assignment` to be true."""
    ids = {name: profile_id(name) for name in set(assignment.names.values())}
    after = {identifier: ids[name] for identifier, name in assignment.names.items()}
    return [
        Move(identifier, place.profile_id, after.get(identifier))
        for identifier, place in found.items()
        if place.profile_id != after.get(identifier)
    ]


def joined(moved: Iterable[Move]) -> set[str]:
    """The profiles that somebody comes to: they exist from now on."""
    return {move.after for move in moved if move.after is not None}


def concerned(moved: Iterable[Move]) -> set[str]:
    """The profiles that change: those left, those come to, and those whose redirect leads elsewhere now."""
    every = {id for move in moved for id in (move.before, move.after)}
    every |= {move.own for move in moved if move.before is not None}
    return {id for id in every if id is not None}


class Settled(msgspec.Struct, frozen=True):
    """What a profile becomes: live, or absorbed by `redirect`."""

    version: int
    redirect: str | None


def settled(moved: Iterable[Move], versions: Mapping[str, int]) -> dict[str, Settled]:
    """What becomes of the profiles that exist (`versions`) and that somebody leaves or comes to.

    A profile is absorbed when the identifier that names it is in another. Whoever comes along brings their version: a
    person's version never falls, whichever of their identifiers they are asked for by.
    """
    after: dict[str, Settled] = {}
    for move in moved:
        if move.before is not None and move.after is not None:
            least = after[move.after].version if move.after in after else 0
            version = max(least, versions.get(move.before, 0), versions[move.after])
            after[move.after] = Settled(version, None)
    for move in moved:
        own = move.own
        if own is not None and own in versions and own != move.after:
            after[own] = Settled(versions[own], move.after)
    return after
