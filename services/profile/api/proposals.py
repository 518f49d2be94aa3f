"""Likely duplicates: proposed by `python -m services.profile duplicates`, decided here by a person."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from services.profile.api.desk import AtDesk
from services.profile.domain.proposals import Proposal, Status
from services.profile.schemas.proposals import Decision, ProposalBody, ProposalPage, ReasonBody
from shared.auth import SHOWS_PEOPLE, Caller
from shared.clock import rfc3339
from shared.http import refusals
from shared.paging import DEFAULT_LIMIT, TEXT, AnyText, Cursor, Limit, cursor, place

router = APIRouter(tags=["identities"])

ProposalId = Annotated[str, Path(max_length=100, pattern=TEXT, examples=["0f5b1d7e-64f3-5e0c-8a57-0a6c1f8b8a11"])]

NOT_FOUND = refusals(404)
CONFLICT = refusals(404, 409)


@router.get(
    "/identities/proposals",
    summary="Profiles that are likely one person's, the likeliest first",
    dependencies=[SHOWS_PEOPLE],
)
async def proposals(
    desk: AtDesk, status: Status = "open", limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> ProposalPage:
    before = place(cursor, float, AnyText) if cursor is not None else (None, "")
    found = await desk.run(lambda work: desk.proposals.page(status, before, limit + 1, work))
    last = found[limit - 1] if len(found) > limit else None
    return ProposalPage(proposals=[_body(each) for each in found[:limit]], next=last and _next(last))


@router.get(
    "/identities/proposals/{proposal_id}",
    summary="One proposal, with its reasons",
    responses=NOT_FOUND,
    dependencies=[SHOWS_PEOPLE],
)
async def proposal(proposal_id: ProposalId, desk: AtDesk) -> ProposalBody:
    return _body(await desk.run(lambda work: desk.proposals.get(proposal_id, work)))


@router.post("/identities/proposals/{proposal_id}/accept", summary="They are one person: merge", responses=CONFLICT)
async def accept(proposal_id: ProposalId, body: Decision, desk: AtDesk, caller: Caller) -> ProposalBody:
    """As `POST /v1/identities/merge`, and `unmerge` takes it back. Where that is refused the proposal stays open.

    Two who became one meanwhile are accepted as they are. Accepting again changes nothing while the two are one person;
    after an `unmerge` it merges them again, by a new ruling with the new `why`.
    """
    return _body(await desk.run(lambda work: desk.proposals.accept(proposal_id, caller.id, body.why, work)))


@router.post("/identities/proposals/{proposal_id}/refuse", summary="They are two people", responses=CONFLICT)
async def refuse(proposal_id: ProposalId, body: Decision, desk: AtDesk, caller: Caller) -> ProposalBody:
    """They are never proposed again. Nothing else follows from it: what touchpoints state may still join them."""
    return _body(await desk.run(lambda work: desk.proposals.refuse(proposal_id, caller.id, body.why, work)))


def _next(last: Proposal) -> str:
    return cursor(last.weight, last.id)


def _body(proposal: Proposal) -> ProposalBody:
    return ProposalBody(
        proposal_id=proposal.id,
        identifiers=[str(proposal.one), str(proposal.other)],
        weight=proposal.weight,
        probability=proposal.probability,
        reasons=[ReasonBody(compared=each.compared, says=each.says, bits=each.bits) for each in proposal.reasons],
        status=proposal.status,
        proposed_at=rfc3339(proposal.proposed_at),
        decided_at=proposal.decided_at and rfc3339(proposal.decided_at),
        who=proposal.who,
        why=proposal.why,
    )
