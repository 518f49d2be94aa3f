"""`/v1/scores`: one customer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from services.scoring.api.asked import AsOf, ModelId, OfScores
from services.scoring.errors import ProfileNotFound
from services.scoring.schemas import ForecastBody, ScoresBody
from shared.auth import SHOWS_PEOPLE
from shared.errors import Invalid
from shared.http import refusals
from shared.identifiers import Identifier

router = APIRouter(prefix="/v1/scores", tags=["scores"], responses=refusals(404, 409))

Person = Annotated[str, Path(description="`kind:value`, percent-encoded.", examples=["user_id:u-17"])]
Weeks = Annotated[int | None, Query(ge=1, le=520, description="Add a forecast for that many weeks.")]


# `path`: values may have slashes in them.
@router.get("/{identifier:path}", summary="A customer's scores", dependencies=[SHOWS_PEOPLE])
async def scores_of(
    identifier: Person, scores: OfScores, as_of: AsOf = None, model: ModelId = None, weeks: Weeks = None
) -> ScoresBody:
    answer = await scores.of(_identifier(identifier), as_of=as_of, model=model, weeks=weeks)
    forecast = ForecastBody.model_validate(answer.forecast) if answer.forecast else None
    return ScoresBody.model_validate(answer.valuation).model_copy(update={"forecast": forecast})


def _identifier(text: str) -> Identifier:
    try:
        identifier = Identifier.parse(text)
    except ValueError as error:
        raise Invalid(str(error), details=[{"path": "identifier", "code": "invalid_identifier"}]) from None
    if "\0" in text:  # PostgreSQL can't even be asked for it
        raise ProfileNotFound(f"no profile has {identifier.kind} {identifier.value!r}")
    return identifier
