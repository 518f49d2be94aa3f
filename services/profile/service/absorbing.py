"""Taking in what the log says: touchpoints and scores. Inside the consumer's transaction, which commits afterwards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, tzinfo

from services.profile import metrics
from services.profile.domain import fragment, graph, identity, linking
from services.profile.domain.computed.parts import counted, occurrences
from services.profile.domain.groups import described
from services.profile.domain.identity import Statements
from services.profile.domain.linking import Heard, Move, Places
from services.profile.service.defined import Definitions
from services.profile.store import (
    components,
    fragments,
    groups,
    identities,
    parts,
    profiles,
    rulings,
    scores,
    timeline,
)
from shared.clock import Clock
from shared.db import Work
from shared.events import Scored, ShownScores, Touchpoint, Valuation
from shared.identifiers import Identifier


class Profiles:
    """What can be done to profiles. `zone` is where the account's calendar is.

    `scores_within`: how many seconds new scores may wait to be told. Most come right after the touchpoint that they are
    from: telling each at once would tell every profile twice.
    """

    def __init__(self, *, limits: graph.Limits, zone: tzinfo, clock: Clock, scores_within: float = 0.0) -> None:
        self.limits = limits
        self.zone = zone
        self.clock = clock
        self.definitions = Definitions(zone)
        self.scores_within = timedelta(seconds=scores_within)

    async def absorb(self, batch: Sequence[Touchpoint], work: Work) -> None:
        """Bring a batch's touchpoints, each seen for the first time, into the view."""
        await self.absorb_people(batch, work)
        # Last, so that what a whole company shares is locked for the shortest time.
        await groups.add(work, described(batch))

    async def absorb_people(self, batch: Sequence[Touchpoint], work: Work) -> None:
        """All that a batch says of the people whose it is, and nothing of the groups that they are in."""
        await rulings.share(work)
        defined = await self.definitions.current(work)
        owned = [identity.owned(touchpoint, self.limits.blocked) for touchpoint in batch]
        additions = fragment.absorbed(owned, self.zone)
        statements = identity.said(owned)
        known = await identities.find(work, _identifiers(statements))

        heard = linking.sift(statements, known)

        await fragments.add(work, additions)
        await parts.add(work, counted(occurrences(owned, defined), defined), defined)
        added = await timeline.add(work, owned, defined.generation)
        await self._relate(work, heard, known, additions.keys())
        metrics.ABSORBED.inc(len(batch))
        metrics.TIMELINE_LATE.inc(len(batch) - added)  # each is new, so nothing else keeps one out
        metrics.BLOCKED.inc(sum(len(each.blocked) for each in owned))

    async def keep_scores(self, batch: Sequence[Scored], work: Work) -> None:
        """Keep the newest scores of each profile, and have those shown that changed."""
        newest: dict[str, Valuation] = {}
        for scored in batch:
            valuation = scored.data
            if valuation.profile_id not in newest or newest[valuation.profile_id].version < valuation.version:
                newest[valuation.profile_id] = valuation
        changed = await scores.keep(work, {profile_id: _shown(each) for profile_id, each in newest.items()})
        await profiles.mark_later(work, changed, self.clock() + self.scores_within)

    async def _relate(self, work: Work, heard: Heard, known: Places, owners: Collection[Identifier]) -> None:
        """Settle whose each identifier is, after what was heard; and mark the profiles of `owners`."""
        marks = Marks(work, self.clock())
        touched = {*owners, *_identifiers(heard.news)}
        await marks.add({known[each].profile_id for each in touched if each in known})
        news = {**heard.news, **await self._keep_evidence(work, heard)}
        if news:
            await identities.add(work, graph.standings(news))
            await self._relink(work, _identifiers(news), marks)
        # Between our look at whose an owner was and our lock on that profile, the owner may have moved to another.
        while await marks.add(await identities.profiles_of(work, owners)):
            pass

    async def relink(self, work: Work, seeds: Collection[Identifier]) -> None:
        """Decide anew whose `seeds` are, for another reason than a touchpoint."""
        marks = Marks(work, self.clock())
        await marks.add(await identities.profiles_of(work, seeds))
        await self._relink(work, seeds, marks)

    async def _keep_evidence(self, work: Work, heard: Heard) -> Statements:
        """Keep what was stated; give those of the evidence that are news after all, because of rulings."""
        changed = await identities.put_edges(work, {**heard.news, **heard.evidence})
        evidence = {edge for edge in changed if edge in heard.evidence}
        metrics.CONFLICTS.inc(sum(edge.kind == "login" and changed[edge] for edge in evidence))
        return linking.late(heard, evidence, await rulings.ruled(work, {edge.member for edge in evidence}))

    async def _relink(self, work: Work, seeds: Collection[Identifier], marks: Marks) -> None:
        """Decide anew whose `seeds`, and all that hangs on them, are; and bring the profiles in line."""
        moved = await self._decide(work, seeds, marks)
        settled = linking.settled(moved, marks.versions)
        versions = marks.versions | {id: each.version for id, each in settled.items()}

        await profiles.settle(work, settled)
        await identities.move(
            work, {move.identifier: (move.after, versions[move.after] if move.after else 0) for move in moved}
        )
        metrics.MERGED.inc(sum(each.redirect is not None for each in settled.values()))

    async def _decide(self, work: Work, seeds: Collection[Identifier], marks: Marks) -> list[Move]:
        """Who moves, with all profiles concerned marked and locked.

        A profile that is locked only now may have changed since it was looked at: then look again.
        """
        while True:
            component = await components.component(work, seeds, self.limits)

            assignment = component.resolved(self.limits)
            moved = linking.moves(component.places, assignment)

            await marks.create(linking.joined(moved))
            found = [component.places[seed].profile_id for seed in seeds if seed in component.places]
            if not await marks.add({*linking.concerned(moved), *found}):
                metrics.OVER_LIMIT.inc(len(assignment.over & set(seeds)))
                return moved


class Marks:
    """The profiles that a transaction has marked, and so locked, with the versions that they have now."""

    def __init__(self, work: Work, now: datetime) -> None:
        self.work = work
        self.now = now
        self.versions: dict[str, int] = {}

    async def create(self, ids: Collection[str]) -> None:
        """Those of `ids` that do not exist begin to, marked."""
        self.versions |= await profiles.create(self.work, {*ids} - self.versions.keys(), self.now)

    async def add(self, ids: Collection[str | None]) -> bool:
        """Mark those of `ids` that exist, each once. Gives whether any was marked now, and not before."""
        unmarked = {id for id in ids if id is not None} - self.versions.keys()
        marked = await profiles.mark(self.work, unmarked, self.now)
        self.versions |= marked
        return bool(marked)


def _identifiers(statements: Statements) -> set[Identifier]:
    return {identifier for edge in statements for identifier in (edge.member, edge.owner)}


def _shown(valuation: Valuation) -> ShownScores:
    return ShownScores(
        engagement=valuation.engagement.score if valuation.engagement else None,
        ltv=valuation.ltv.value if valuation.ltv else None,
        churn_risk=valuation.churn.risk if valuation.churn else None,
        version=valuation.version,
    )
