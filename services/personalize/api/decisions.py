"""`/v1/decide` and `/v1/decisions`: what to offer somebody, here, now; and why it was that."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query

from services.personalize.api.asked import DecisionId, OfDecisions
from services.personalize.api.quick import quick
from services.personalize.domain import customers
from services.personalize.domain.customers import Request
from services.personalize.schemas import (
    DecideBody,
    DecisionAnswer,
    Name,
    OfferShown,
    OutcomeAnswer,
    RecordAnswer,
)
from services.personalize.service.decisions import Answer, Kept
from shared.auth import SHOWS_PEOPLE, UserTokens, guard, person
from shared.errors import Invalid
from shared.http import refusals
from shared.identifiers import Identifier

router = APIRouter(prefix="/v1", tags=["decisions"])


async def decide(body: DecideBody, decisions: OfDecisions) -> DecisionAnswer:
    request = Request(
        profile=_person(body.profile),
        placement=body.placement,
        channel=body.channel,
        context=body.context,
        limit=body.limit,
    )
    return _answer(await decisions.decide(request))


@router.get(
    "/decisions/{id}",
    summary="A decision: the question, every offer of the placement, and what became of it",
    responses=refusals(404),
    dependencies=[SHOWS_PEOPLE],
)
async def record(id: DecisionId, decisions: OfDecisions) -> RecordAnswer:
    return _record(await decisions.find(id))


def for_servers() -> APIRouter:
    """The question as a company's servers ask it, for anybody, with a key that has `decide`."""
    servers = APIRouter(prefix="/v1", tags=["decisions"], route_class=quick(guard("decide")))
    servers.post("/decide", summary="What to offer this person, here, now")(decide)
    return servers


def for_people(tokens: UserTokens) -> APIRouter:
    """The question as a browser asks it, for the person whose user token it has."""
    people = APIRouter(prefix="/v1", tags=["decisions"])
    asking = Depends(person(tokens))

    @people.get("/decide", summary="What to offer me, here, now (with a user token)")
    async def decide_for_me(
        decisions: OfDecisions,
        placement: Annotated[Name, Query()],
        channel: Annotated[Name, Query()] = "web",
        limit: Annotated[int, Query(ge=1, le=50)] = 1,
        user: str = asking,
    ) -> DecisionAnswer:
        me = Identifier("user_id", user)
        return _answer(await decisions.decide(Request(profile=me, placement=placement, channel=channel, limit=limit)))

    return people


def _person(text: str) -> Identifier:
    try:
        return customers.person(text)
    except ValueError as error:
        raise Invalid(f"profile: {error}", details=[{"path": "profile", "code": "invalid_identifier"}]) from None


def _answer(answer: Answer) -> DecisionAnswer:
    choice = answer.choice
    return DecisionAnswer(
        decision_id=choice.decision_id,
        profile_id=choice.profile_id,
        profile_version=choice.profile_version,
        holdout=choice.holdout,
        silence=choice.silence,
        offers=[
            OfferShown(
                offer_id=shown.offer.id,
                rank=shown.rank,
                score=shown.numbers.score,
                propensity=shown.numbers.propensity,
                expires_at=shown.expires_at,
                content=shown.offer.content,
            )
            for shown in answer.shown
        ],
        degraded=list(choice.degraded),
    )


def _record(kept: Kept) -> RecordAnswer:
    outcomes = [
        OutcomeAnswer(
            offer_id=offer_id,
            shown_at=times.shown,
            clicked_at=times.clicked,
            accepted_at=times.accepted,
            dismissed_at=times.dismissed,
        )
        for offer_id, times in kept.outcomes.items()
    ]
    return RecordAnswer.model_validate(
        {**msgspec.to_builtins(kept.record.data), "decided_at": kept.record.time, "outcomes": outcomes}
    )
