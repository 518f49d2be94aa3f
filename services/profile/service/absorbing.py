"""Taking in what the log says: touchpoints and scores. Inside the consumer's transaction, which commits afterwards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, tzinfo

from services.profile import metrics
from services.profile.domain import fragment, graph, identity, linking
from services.profile.domain.identity import Blocked, Statements
from services.profile.domain.linking import Heard, Places
from services.profile.store import fragments, identities, profiles, scores, timeline
from shared.clock import Clock
from shared.db import Work
from shared.events import Identifier, Scored, ShownScores, Touchpoint, Valuation


class Profiles:
    """What can be done to profiles. `zone` is where the account's calendar is."""

    def __init__(self, *, limits: graph.Limits, blocked: Blocked, zone: tzinfo, clock: Clock) -> None:
        self.limits = limits
        self.blocked = blocked
        self.zone = zone
        self.clock = clock

    async def absorb(self, batch: Sequence[Touchpoint], work: Work) -> None:
        """Bring a batch's touchpoints, each seen for the first time, into the view."""
        contacts = [identity.contact(touchpoint, self.blocked) for touchpoint in batch]
        additions = fragment.absorbed(contacts, self.zone)
        statements = identity.said(contacts, self.blocked)
        known = await identities.find(work, _identifiers(statements))

        heard = linking.sift(statements, known)

        await fragments.add(work, additions)
        await timeline.add(work, contacts)
        await self._relate(work, heard, known, additions.keys())
        metrics.ABSORBED.inc(len(batch))
        metrics.BLOCKED.inc(sum(len(contact.blocked) for contact in contacts))

    async def keep_scores(self, batch: Sequence[Scored], work: Work) -> None:
        """Keep the newest scores of each profile, and have those shown that changed."""
        newest: dict[str, Valuation] = {}
        for scored in batch:
            valuation = scored.data
            if valuation.profile_id not in newest or newest[valuation.profile_id].version < valuation.version:
                newest[valuation.profile_id] = valuation
        changed = await scores.keep(work, {profile_id: _shown(each) for profile_id, each in newest.items()})
        await profiles.mark(work, changed, self.clock())

    async def _relate(self, work: Work, heard: Heard, known: Places, owners: Collection[Identifier]) -> None:
        """Mark the profiles of `owners`, after what was heard is settled: whose each identifier is."""
        now = self.clock()
        touched = {*owners, *_identifiers(heard.news)}
        ids = {known[each].profile_id for each in touched if each in known}
        marked = await profiles.mark(work, {id for id in ids if id is not None}, now)

        await self._keep_evidence(work, heard)
        if heard.news:
            await identities.add(work, graph.standings(heard.news))
            marked |= await self._relink(work, _identifiers(heard.news), marked, now)
        await self._mark_strays(work, owners, marked, now)

    async def _keep_evidence(self, work: Work, heard: Heard) -> None:
        new = await identities.put_edges(work, {**heard.news, **heard.evidence})
        metrics.CONFLICTS.inc(sum(edge.kind == "login" and edge in heard.evidence for edge in new))

    async def _relink(
        self, work: Work, seeds: Collection[Identifier], marked: dict[str, int], now: datetime
    ) -> dict[str, int]:
        """Decide anew whose `seeds`, and all that hangs on them, are. Gives the profiles marked, with their versions.

        What it decides by may have changed before the profiles concerned were locked: then it looks again.
        """
        marked, asked = dict(marked), set(marked)
        while True:
            found, aliases = await identities.component(work, seeds, self.limits)
            standings = {identifier: place.standing for identifier, place in found.items()}
            assignment = graph.resolve(standings, aliases, self.limits)
            moved = linking.moves(found, assignment)

            current = {found[seed].profile_id for seed in seeds}
            unlocked = (linking.concerned(moved) | {id for id in current if id is not None}) - asked
            asked |= unlocked
            created = await profiles.create(work, linking.joined(moved) & unlocked, now)
            marked |= created | await profiles.mark(work, unlocked - created.keys(), now)
            if unlocked <= created.keys():
                break

        settled = linking.settled(moved, marked)
        if settled:
            await profiles.settle(work, settled)
        versions = marked | {id: each.version for id, each in settled.items()}
        await identities.move(
            work, {move.identifier: (move.after, versions[move.after] if move.after else 0) for move in moved}
        )
        metrics.MERGED.inc(sum(each.redirect is not None for each in settled.values()))
        metrics.OVER_LIMIT.inc(len(assignment.over & set(seeds)))
        return marked

    async def _mark_strays(
        self, work: Work, owners: Collection[Identifier], marked: dict[str, int], now: datetime
    ) -> None:
        """Between our look at whose an owner is and our lock on that profile, the owner may have moved to another."""
        asked = set(marked)
        while strays := await identities.profiles_of(work, owners) - asked:
            asked |= strays
            await profiles.mark(work, strays, now)


def _identifiers(statements: Statements) -> set[Identifier]:
    return {identifier for edge in statements for identifier in (edge.member, edge.owner)}


def _shown(valuation: Valuation) -> ShownScores:
    return ShownScores(
        engagement=valuation.engagement.score if valuation.engagement else None,
        ltv=valuation.ltv.value if valuation.ltv else None,
        churn_risk=valuation.churn.risk if valuation.churn else None,
        version=valuation.version,
    )
