"""Proposing: which profiles are likely one person's, and what people made of it. Nothing is merged but by a person."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from services.profile import metrics
from services.profile.domain.description import Description, described
from services.profile.domain.proposals import Found, Proposal, Revision, Status, revised
from services.profile.domain.rulings import holding
from services.profile.errors import ProposalDecided, ProposalNotFound, Together
from services.profile.service.ruling import Rulings, Word, together
from services.profile.store import identities, proposals
from shared.audit import Audit
from shared.clock import Clock, rfc3339
from shared.db import Work
from shared.events import View

PATH = "identities/proposals"
"""Below which the audit has proposals."""


class Chunk(NamedTuple):
    """Some descriptions, and the profile after which the next ones come; None at the end."""

    descriptions: Sequence[Description]
    last: str | None


class Proposals:
    """What can be done with proposals. `rulings` makes the merges."""

    def __init__(self, rulings: Rulings, clock: Clock) -> None:
        self.rulings = rulings
        self.clock = clock
        self.audit = Audit(clock)

    # --- searching ---------------------------------------------------------------------------------------------------

    async def descriptions(self, after: str | None, limit: int, work: Work) -> Chunk:
        """What the next `limit` published views say of who their people are."""
        rows = await proposals.views(work, after, limit)
        told = (described(msgspec.json.decode(body, type=View)) for _, body in rows)
        return Chunk([each for each in told if each is not None], rows[-1][0] if len(rows) == limit else None)

    async def revise(self, found: Sequence[Found], work: Work, *, complete: bool) -> Revision:
        """What those `found` make of earlier proposals; nothing is written."""
        past, held = await proposals.past(work), holding(await proposals.splits(work)).splits
        concerned = {identifier for each in found for identifier in (each.one, each.other)}
        concerned |= {identifier for each in past for identifier in (each.one, each.other)} | held.keys()
        known = await identities.find(work, concerned)
        places = {identifier: place.profile_id for identifier, place in known.items() if place.profile_id is not None}

        splits = {
            frozenset((places[one], places[other]))
            for one, others in held.items()
            for other in others
            if one in places and other in places
        }
        return revised(found, past, splits, places, complete=complete)

    async def keep(self, revision: Revision, actor: str, work: Work) -> None:
        """Propose what is open by `revision`, and close what is gone."""
        now = self.clock()
        await proposals.put(work, revision.open, now)
        await proposals.gone(work, revision.gone, now)
        if revision.open or revision.gone:
            after = {"open": len(revision.open), "gone": len(revision.gone)}
            await self.audit.note(work, actor, "proposed", PATH, after=after)

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def page(self, status: Status, before: tuple[float | None, str], limit: int, work: Work) -> list[Proposal]:
        """Those of that status, the heaviest first, those after the place `before`."""
        return await proposals.page(work, status, before, limit)

    async def get(self, id: str, work: Work, *, lock: bool = False) -> Proposal:
        """Raises ProposalNotFound."""
        found = await proposals.find(work, id, lock=lock)
        if found is None:
            raise ProposalNotFound(id)
        return found

    async def accept(self, id: str, who: str, why: str, work: Work) -> Proposal:
        """Merge the two, unless they are one by now anyway: again, where they were accepted and taken apart since.

        Raises ProposalNotFound, ProposalDecided and what else `Rulings.rule` raises: then the proposal is as it was.
        """
        proposal = await self.get(id, work, lock=True)
        if proposal.status != "accepted":
            _check_open(proposal, "POST /v1/identities/merge makes the two one person nevertheless")
        elif await self._are_one(proposal, work):
            return proposal
        with suppress(Together):
            await self.rulings.rule(Word("merge", proposal.other, proposal.one, "body", who, why), work)
        return await self._decide(proposal, "accepted", who, why, work)

    async def refuse(self, id: str, who: str, why: str, work: Work) -> Proposal:
        """Say that the two are not to be proposed again. Raises ProposalNotFound and ProposalDecided."""
        proposal = await self.get(id, work, lock=True)
        if proposal.status == "refused":
            return proposal
        _check_open(proposal, "POST /v1/identities/unmerge takes the merge back")
        return await self._decide(proposal, "refused", who, why, work)

    async def _are_one(self, proposal: Proposal, work: Work) -> bool:
        places = await identities.find(work, (proposal.one, proposal.other))
        return len(places) == 2 and together(*places.values())

    async def _decide(self, proposal: Proposal, status: Status, who: str, why: str, work: Work) -> Proposal:
        decided = await proposals.decide(work, proposal.id, status, at=self.clock(), who=who, why=why)
        await self.audit.changed(
            work, who, f"{PATH}/{proposal.id}", action=status, before=_told(proposal), after=_told(decided)
        )
        metrics.PROPOSALS_DECIDED.labels(status).inc()
        return decided


def _check_open(proposal: Proposal, otherwise: str) -> None:
    if proposal.status == "gone":
        raise ProposalDecided(
            proposal.id, "gone", "the two are one profile by now, or apart by a ruling, or look alike no more"
        )
    if proposal.status != "open":
        raise ProposalDecided(proposal.id, proposal.status, otherwise)


def _told(proposal: Proposal) -> dict[str, Any]:
    """A proposal as the audit has it: without the reasons, which stay with it."""
    return {
        "proposal_id": proposal.id,
        "identifiers": [str(proposal.one), str(proposal.other)],
        "status": proposal.status,
        "decided_at": proposal.decided_at and rfc3339(proposal.decided_at),
        "who": proposal.who,
        "why": proposal.why,
    }
