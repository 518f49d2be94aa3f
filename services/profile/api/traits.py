"""One person's traits: where each comes from, and what was said of it before."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path
from sqlalchemy import Row

from services.profile.api.desk import AtDesk
from services.profile.api.profiles import Person, identifier_in
from services.profile.domain.traits import Winner
from services.profile.schemas.traits import TraitHistoryPage, TraitPage
from services.profile.service.history import NOW
from services.profile.service.traits import Words
from services.profile.store.timeline import Place
from shared.auth import SHOWS_PEOPLE
from shared.clock import rfc3339
from shared.db import aware
from shared.http import Json, refusals
from shared.paging import DEFAULT_LIMIT, TEXT, AnyText, AwareMoment, Cursor, Limit, cursor, place

router = APIRouter(tags=["profiles"], responses=refusals(404))

Name = Annotated[
    str, Path(pattern=TEXT, description="As in the profile, percent-encoded; it may hold anything.", examples=["plan"])
]


@router.get(
    "/profiles/{person:path}/traits/{name:path}",
    summary="All that was said of a trait, newest first",
    dependencies=[SHOWS_PEOPLE],
)
async def history(
    person: Person, name: Name, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> TraitHistoryPage:
    """Every word with the touchpoint that said it. The last by event time wins; ties by touchpoint id, then source. But
    once a server has spoken of a trait, what clients say of it does not count.

    Nothing at all was said of a trait that has no words, unless retention removed them.
    """
    identifier = identifier_in(person)
    before = Place(*place(cursor, AwareMoment, AnyText, AnyText)) if cursor is not None else NOW
    words = await desk.run(lambda work: desk.traits.words(identifier, name, work, before=before, limit=limit))
    return _history(name, words)  # type: ignore[return-value]  # a Response, of that model


@router.get(
    "/profiles/{person:path}/traits", summary="The present word of each trait, by name", dependencies=[SHOWS_PEOPLE]
)
async def present(person: Person, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> TraitPage:
    """Those that were taken back among them."""
    identifier = identifier_in(person)
    (after,) = place(cursor, AnyText) if cursor is not None else (None,)
    words = await desk.run(lambda work: desk.traits.present(identifier, after, limit + 1, work))
    shown = [{"trait": name, **said(winner)} for name, winner in words[:limit]]
    return Json({"traits": shown, "next": _next(words[limit - 1][0]) if len(words) > limit else None})  # type: ignore[return-value]


def said(winner: Winner) -> dict[str, Any]:
    """A word as answers show it."""
    word = winner.word
    return {
        "value": word.value,
        "at": rfc3339(word.at),
        "source": word.source,
        "touchpoint_id": word.touchpoint_id,
        "trust": winner.trust,
    }


def _history(name: str, words: Words) -> Json:
    rows, following = words.page
    return Json(
        {
            "trait": name,
            "words": [_word(row, words.winner) for row in rows],
            "next": following and _next(following.at.isoformat(), following.touchpoint_id, following.source),
            "removed_before": words.removed_before and rfc3339(words.removed_before),
        }
    )


def _word(row: Row[Any], winner: Winner | None) -> dict[str, Any]:
    return {
        "value": msgspec.Raw(row.word.encode()),
        "at": rfc3339(row.at),
        "source": row.source,
        "touchpoint_id": row.touchpoint_id,
        "trust": row.trust,
        "channel": row.channel,
        "wins": winner is not None and winner.word.place == (aware(row.at), row.touchpoint_id, row.source),
    }


def _next(*key: str) -> str:
    return cursor(*key)
