"""Who is who: explained, split and merged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter

from services.profile.api.desk import AtDesk, Desk
from services.profile.api.profiles import Person, identifier_in
from services.profile.domain.explanation import Why
from services.profile.schemas.identities import (
    ExplainedEdge,
    ExplainedIdentifier,
    ExplainedRuling,
    IdentityPage,
    Merge,
    RuledBody,
    RulingBody,
    RulingPage,
    Unmerge,
    Whose,
    WhyBody,
    told,
)
from services.profile.service import explaining
from services.profile.service.explaining import Graph, Member, Ruled, Statement
from services.profile.service.history import NOW
from services.profile.service.ruling import Word
from shared.auth import SHOWS_PEOPLE, Caller
from shared.clock import rfc3339
from shared.http import refusals
from shared.paging import DEFAULT_LIMIT, AnyText, AwareMoment, Cursor, Limit, cursor, place

router = APIRouter(tags=["identities"], responses=refusals(404))

CONFLICT = refusals(409)

Part: Any = Annotated[int, msgspec.Meta(ge=explaining.IDENTIFIERS, le=explaining.RULINGS)]


@router.post("/identities/unmerge", summary="Rule that two identifiers are not one person's", responses=CONFLICT)
async def unmerge(body: Unmerge, desk: AtDesk, caller: Caller) -> RuledBody:
    """Nothing is lost by it, and `merge` takes it back. It lasts: what touchpoints say later does not join them again.

    The one that leaves is a device or an address rather than a user; of two of a kind the `identifier`. It goes to the
    next who claimed it; without one a device has a profile of its own again, and an address is nobody's.
    """
    return await _rule(desk, caller.id, "split", body, ("from", body.from_))


@router.post("/identities/merge", summary="Rule that two identifiers are one person's", responses=CONFLICT)
async def merge(body: Merge, desk: AtDesk, caller: Caller) -> RuledBody:
    """No history is moved by it, and `unmerge` takes it back. It counts before all that touchpoints claim."""
    return await _rule(desk, caller.id, "merge", body, ("into", body.into))


@router.get("/identities/rulings", summary="Who ruled what, and why; newest first", dependencies=[SHOWS_PEOPLE])
async def rulings(desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> RulingPage:
    before = place(cursor, AwareMoment, AnyText) if cursor is not None else (NOW.at, "")
    found = await desk.run(lambda work: desk.rulings.page(before, limit + 1, work))
    last = found[limit - 1] if len(found) > limit else None
    following = last and _next(last.at.isoformat(), last.id)
    return RulingPage(rulings=[RulingBody(**told(each)) for each in found[:limit]], next=following)


@router.get(
    "/profiles/{person:path}/identity",
    summary="Why this is one person: every link, with its reason",
    dependencies=[SHOWS_PEOPLE],
)
async def identity(person: Person, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> IdentityPage:
    """Every identifier and why it is here, every statement about them and why it holds or not, every ruling
    and what keeps it from having its effect.

    A page goes on where the one before ended: first through the identifiers, then the edges, then the rulings.
    """
    after = explaining.Place()
    if cursor is not None:
        part, *key = place(cursor, Part, *[AnyText] * 5)
        after = explaining.Place(part, tuple(key))
    wanted = identifier_in(person)
    return _page(await desk.run(lambda work: desk.explaining.explain(wanted, after, limit + 1, work)), limit)


async def _rule(
    desk: Desk, who: str, ruling: Literal["merge", "split"], body: Merge | Unmerge, other: tuple[str, str]
) -> RuledBody:
    field, text = other
    one, another = identifier_in(body.identifier, "identifier"), identifier_in(text, field)
    word = Word(ruling, one, another, field, who, body.why)
    ruled = await desk.run(lambda work: desk.rulings.rule(word, work))
    places = (ruled.identifier, ruled.other)
    return RuledBody(
        ruling=RulingBody(**told(ruled.ruling)),
        profiles=[Whose(identifier=str(each.standing.identifier), profile_id=each.profile_id) for each in places],
    )


def _page(graph: Graph, limit: int) -> IdentityPage:
    shown = [row for _, row in graph.rows[:limit]]
    last = graph.rows[limit - 1][0] if len(graph.rows) > limit else None
    return IdentityPage(
        profile_id=graph.profile_id,
        version=graph.version,
        conflicts=graph.conflicts,
        identifiers=[_identifier(row) for row in shown if isinstance(row, Member)],
        edges=[_edge(row) for row in shown if isinstance(row, Statement)],
        rulings=[_explained(row) for row in shown if isinstance(row, Ruled)],
        next=last and _next(last.part, *last.key),
    )


def _next(*key: str | int) -> str:
    return cursor(*key)


def _identifier(member: Member) -> ExplainedIdentifier:
    standing = member.standing
    return ExplainedIdentifier(
        kind=standing.identifier.kind,
        value=standing.identifier.value,
        since=rfc3339(standing.since),
        trust=standing.trust,
        because=_why(member.because),
    )


def _edge(said: Statement) -> ExplainedEdge:
    return ExplainedEdge.model_validate(
        {
            "kind": said.edge.kind,
            "member": str(said.edge.member),
            "owner": str(said.edge.owner),
            "at": rfc3339(said.when.at),
            "happened_at": rfc3339(said.when.happened_at),
            "trust": said.when.trust,
            "touchpoint_id": said.when.touchpoint_id,
            "holds": said.failure is None,
            "why": said.failure and _why(said.failure),
        }
    )


def _explained(ruled: Ruled) -> ExplainedRuling:
    why = ruled.failure and _why(ruled.failure)
    return ExplainedRuling(**told(ruled.ruling), holds=ruled.holds, no_effect=why)


def _why(why: Why) -> WhyBody:
    return WhyBody(**msgspec.structs.asdict(why))
