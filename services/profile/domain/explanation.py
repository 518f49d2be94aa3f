"""Why everybody is where they are: each identifier and each statement of a profile with its reason, in words."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.profile.domain.graph import CLAIMS, Assignment, Claim, Limits, claimed
from services.profile.domain.identity import Edge, Statements, profile_id
from services.profile.domain.linking import Places
from services.profile.domain.precedence import Precedence
from services.profile.domain.rulings import Ruling
from shared.clock import rfc3339
from shared.identifiers import ANONYMOUS, USER, Identifier


class Why(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reason: a code that stays, a sentence for people, and the touchpoint or the ruling that it lies in."""

    code: str
    message: str
    touchpoint_id: str | None = None
    ruling_id: str | None = None


class Explanation:
    """Explains a component that is resolved to `assignment`; `merges` are the rulings that hold, by what they say.

    `places` are those of the component, and of all others that `statements` speak of.
    """

    def __init__(
        self,
        *,
        places: Places,
        assignment: Assignment,
        statements: Statements,
        merges: Mapping[Edge, Ruling],
        limits: Limits,
    ) -> None:
        self.places = places
        self.assignment = assignment
        self.statements = statements
        self.merges = merges
        self.limits = limits

    def membership(self, identifier: Identifier) -> Why:
        """Why `identifier` is in its profile."""
        edge = self.assignment.by.get(identifier)
        if edge is None:
            return Why("named", f"the profile is named by {identifier}")
        if edge.kind == "merge":
            ruling = self.merges[edge]
            return Why("merge", f"{ruling.who} merged {edge.member} into {edge.owner}: {ruling.why}", None, ruling.id)
        when = self._when(edge)
        return Why(edge.kind, _WORDS[edge.kind].format(edge=edge, at=rfc3339(when.at)), when.touchpoint_id)

    def _when(self, edge: Edge) -> Precedence:
        claim = self.places[edge.member].standing.claim
        return self.statements[edge] if claim is None or claim.owner != edge.owner else claim.when

    def failure(self, edge: Edge) -> Why | None:
        """Why `edge`, a statement of a touchpoint, does not hold; None where it does."""
        return self._barred(edge) or self._unseen(edge) or (None if edge.kind == "alias" else self._lost(edge))

    def _barred(self, edge: Edge) -> Why | None:
        split = self.assignment.forbidden.get(edge)
        if not self.limits.blocked.isdisjoint((edge.member, edge.owner)):
            return Why("blocked", f"{edge.member} or {edge.owner} is blocked by configuration: it links nothing")
        if split is not None:
            return Why("split", f"it was ruled that {split.member} and {split.owner} are apart", None, split.id)
        return None

    def _unseen(self, edge: Edge) -> Why | None:
        """An alias tells nothing of users who were never seen, nor anything of visitors who were not."""
        for each in (edge.member, edge.owner):
            place = self.places.get(each)
            if each.kind in (USER, ANONYMOUS) and (place is None or place.standing.seen is None):
                return Why("never_seen", f"{each} was never seen itself, only spoken of")
        return None

    def _lost(self, edge: Edge) -> Why | None:
        """Why a claim is not the one that counts; None where it is."""
        won, first = self.assignment.by.get(edge.member), self.places[edge.member].standing.claim
        if won is not None:
            return None if won == edge else self._beaten(won, edge)
        if first is None or first.owner == edge.owner:
            most = self.limits.of(edge.member.kind)
            return Why("over_limit", f"a profile takes {most} of {edge.member.kind}, and {most} claims were earlier")
        if claimed(edge.member, first) in self.assignment.forbidden:
            return Why("shared", f"{edge.member} has more than {CLAIMS} owners: only the earliest count")
        return (
            self._later(edge.member, first, edge) if self._is_owned(edge.member) else self._left_out(edge.member, first)
        )

    def _is_owned(self, identifier: Identifier) -> bool:
        """Whether it is somebody's: an email that found no room is nobody's, and such a visitor only their own."""
        return self.places[identifier].profile_id not in (None, profile_id(identifier))

    def _left_out(self, member: Identifier, first: Claim) -> Why:
        most, at = self.limits.of(member.kind), rfc3339(first.when.at)
        stays = "keeps a profile of its own" if member.kind == ANONYMOUS else "is nobody's"
        return Why(
            "over_limit",
            f"only the first claim counts, that of {first.owner} at {at}, and found no room: a profile takes {most} of "
            f"{member.kind}. So {member} {stays}",
            first.when.touchpoint_id,
        )

    def in_the_way(self, ruling: Ruling) -> Why | None:
        """Why `ruling`, the last one on its pair, has no effect now; None where it has. A split always has."""
        names, member, owner = self.assignment.names, ruling.member, ruling.owner
        if ruling.ruling == "split" or (member in names and names[member] == names.get(owner)):
            return None
        won = self.assignment.by.get(member)
        return self._barred(ruling.edge) or (None if won is None else self._beaten(won, ruling.edge))

    def _beaten(self, won: Edge, edge: Edge) -> Why:
        if won.kind != "merge":
            return self._later(won.member, Claim(self._when(won), won.owner), edge)
        ruling = self.merges[won]
        return Why("merge", f"{won.member} was merged into {won.owner}: {ruling.why}", None, ruling.id)

    def _later(self, member: Identifier, earlier: Claim, edge: Edge) -> Why:
        """Why `edge` gives way to the claim that counts."""
        when, at = earlier.when, rfc3339(earlier.when.at)
        later = self.statements.get(edge)
        if later is not None and when.rank < later.rank:
            message = f"{member} belongs to {earlier.owner}: a server says so, at {at}, and only clients say otherwise"
            return Why("less_trusted", message, when.touchpoint_id)
        return Why("later", f"{member} belongs to {earlier.owner}, who claimed it at {at}", when.touchpoint_id)


def superseded(by: Ruling) -> Why:
    """Why a ruling has no effect that is not the last one on its pair."""
    return Why("superseded", f"{by.who} ruled otherwise on these two later: {by.why}", None, by.id)


_WORDS = {
    "alias": "an alias at {at} says that {edge.member} and {edge.owner} are one person",
    "login": "{edge.member} was first used by {edge.owner}, at {at}",
    "claim": "{edge.member} was first given by {edge.owner}, at {at}",
}
