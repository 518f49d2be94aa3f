"""Why everybody is where they are: each identifier and each statement of a profile with its reason, in words."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.profile.domain.graph import CLAIMS, Assignment, Claim, Limits, Standings, claimed
from services.profile.domain.identity import Edge, Statements
from services.profile.domain.rulings import Ruling
from services.profile.domain.when import When
from shared.clock import rfc3339
from shared.identifiers import ANONYMOUS, USER, Identifier


class Why(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reason: a code that stays, a sentence for people, and the touchpoint or the ruling that it lies in."""

    code: str
    message: str
    touchpoint_id: str | None = None
    ruling_id: str | None = None


class Explanation:
    """Explains a component that is resolved to `assignment`; `merges` are the rulings that hold, by what they say."""

    def __init__(
        self,
        *,
        standings: Standings,
        assignment: Assignment,
        statements: Statements,
        merges: Mapping[Edge, Ruling],
        limits: Limits,
    ) -> None:
        self.standings = standings
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

    def _when(self, edge: Edge) -> When:
        claim = self.standings[edge.member].claim
        return self.statements[edge] if claim is None or claim.owner != edge.owner else claim.when

    def failure(self, edge: Edge) -> Why | None:
        """Why `edge`, a statement of a touchpoint, does not hold; None where it does."""
        split = self.assignment.forbidden.get(edge)
        if not self.limits.blocked.isdisjoint((edge.member, edge.owner)):
            return Why("blocked", f"{edge.member} or {edge.owner} is blocked by configuration: it links nothing")
        if split is not None:
            return Why("split", f"it was ruled that {split.member} and {split.owner} are apart", None, split.id)
        return self._unseen(edge) or (None if edge.kind == "alias" else self._lost(edge))

    def _unseen(self, edge: Edge) -> Why | None:
        """An alias tells nothing of users who were never seen, nor anything of visitors who were not."""
        for each in (edge.member, edge.owner):
            standing = self.standings.get(each)
            if each.kind in (USER, ANONYMOUS) and (standing is None or standing.seen is None):
                return Why("never_seen", f"{each} was never seen itself, only spoken of")
        return None

    def _lost(self, edge: Edge) -> Why | None:
        """Why a claim is not the one that counts; None where it is."""
        won, first = self.assignment.by.get(edge.member), self.standings[edge.member].claim
        if won is not None:
            return None if won == edge else self._beaten(won)
        if first is None or first.owner == edge.owner:
            most = self.limits.of(edge.member.kind)
            return Why("over_limit", f"a profile takes {most} of {edge.member.kind}, and {most} claims were earlier")
        if claimed(edge.member, first) in self.assignment.forbidden:
            return Why("shared", f"{edge.member} has more than {CLAIMS} owners: only the earliest count")
        return _later(edge.member, first)

    def _beaten(self, won: Edge) -> Why:
        if won.kind != "merge":
            return _later(won.member, Claim(self._when(won), won.owner))
        ruling = self.merges[won]
        return Why("merge", f"{won.member} was merged into {won.owner}: {ruling.why}", None, ruling.id)


_WORDS = {
    "alias": "an alias at {at} says that {edge.member} and {edge.owner} are one person",
    "login": "{edge.member} was first used by {edge.owner}, at {at}",
    "claim": "{edge.member} was first given by {edge.owner}, at {at}",
}


def _later(member: Identifier, earlier: Claim) -> Why:
    when = earlier.when
    return Why(
        "later", f"{member} belongs to {earlier.owner}, who claimed it at {rfc3339(when.at)}", when.touchpoint_id
    )
