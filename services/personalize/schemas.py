"""HTTP bodies, as the documentation shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    field_validator,
    model_validator,
)

from services.personalize.domain.offers import Kind
from shared.clock import rfc3339
from shared.events import Gate
from shared.moments import Moment

DEEPEST = 32
"""Levels of nesting in JSON that we keep."""

LARGEST = 32_000
"""Bytes of JSON in an offer's content, or in the context of a question."""


def _writable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character U+0000")
    return text


def _modest(value: dict[str, Any]) -> dict[str, Any]:
    """JSON that can be kept: of this size, this depth, and text that is text."""
    if _depth(value, DEEPEST) < 0:
        raise ValueError(f"must not be nested more than {DEEPEST} levels deep")
    try:
        size = len(msgspec.json.encode(value))
    except UnicodeEncodeError:
        raise ValueError("must hold only text that Unicode can write: this has half of a surrogate pair") from None
    if size > LARGEST:
        raise ValueError(f"must have at most {LARGEST} bytes, this has {size}")
    return value


def _depth(value: Any, left: int) -> int:
    """How many more levels would fit under `value`; negative where it is too deep."""
    if left < 0 or not isinstance(value, dict | list):
        return left
    inner = value.values() if isinstance(value, dict) else value
    return min((_depth(each, left - 1) for each in inner), default=left - 1)


Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_writable)]
Json = Annotated[dict[str, Any], AfterValidator(_modest)]
Asked = Annotated[Moment, PlainSerializer(rfc3339, return_type=str)]
Shown = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]


class Body(BaseModel):
    """What a client sends. A field that we don't know is a mistake: `eligability` must not mean "everybody"."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """What a client gets, made from the domain's values attribute by attribute."""

    model_config = ConfigDict(from_attributes=True)


# --- offers ----------------------------------------------------------------------------------------------------------


class CapBody(Body):
    model_config = ConfigDict(extra="forbid", from_attributes=True)

    count: int = Field(ge=1, le=1000, strict=True, description="Times that one person is shown the offer, at most,")
    days: int = Field(ge=1, le=90, strict=True, description="in any so many days.")


class BudgetBody(Body):
    model_config = ConfigDict(extra="forbid", from_attributes=True)

    amount: float = Field(
        ge=0, allow_inf_nan=False, strict=True, description="Kept with the offer. Nothing is refused for it yet."
    )


class OfferBody(Body):
    name: Name
    kind: Kind
    placements: list[Name] = Field(min_length=1, max_length=50)
    channels: list[Name] = Field(default=[], max_length=50, description="None means every channel.")
    eligibility: Annotated[str, Field(min_length=1), AfterValidator(_writable)] | None = Field(
        default=None, description="A rule in CEL over traits, computed, scores, stage, segments, consent, channels, "
        "now, context, channel and placement. None means everybody.",
        examples=["computed.order_count >= 1"],
    )  # fmt: skip
    purpose: Name | None = Field(default="marketing", description="What consent it needs; null means none.")
    value: float = Field(
        default=1.0,
        gt=0,
        le=1e12,
        allow_inf_nan=False,
        strict=True,
        description="What an acceptance is worth, in the currency.",
    )
    cost: float = Field(
        default=0.0, ge=0, le=1e12, allow_inf_nan=False, strict=True, description="What making the offer costs."
    )
    lever: float = Field(
        default=1.0, gt=0, le=1000, allow_inf_nan=False, strict=True, description="The business's own weight."
    )
    valid_from: Asked | None = None
    valid_to: Asked | None = None
    caps: list[CapBody] = Field(default=[], max_length=10)
    budget: BudgetBody | None = None
    content: Json = Field(default={}, description="Whatever the page needs to show it.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_from is not None and self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must come after valid_from")
        return self


class OfferAnswer(Answer, OfferBody):
    model_config = ConfigDict(from_attributes=True, extra="ignore")

    id: str
    version: int


class OffersAnswer(Answer):
    offers: list[OfferAnswer]
    next: str | None


# --- decisions -------------------------------------------------------------------------------------------------------


class DecideBody(Body):
    profile: Annotated[str, StringConstraints(min_length=3, max_length=1000), AfterValidator(_writable)] = Field(
        description="kind:value, any identifier of the person.", examples=["user_id:u-17"]
    )
    placement: Name
    channel: Name = "web"
    context: Json = Field(
        default={},
        description="What rules see as `context`. In it `weights`, by kind of offer, multiply scores.",
    )
    limit: int = Field(default=1, ge=1, le=50, strict=True)

    @field_validator("context")
    @classmethod
    def _weighed(cls, context: dict[str, Any]) -> dict[str, Any]:
        weights = context.get("weights", {})
        if not isinstance(weights, dict) or not all(_is_weight(weight) for weight in weights.values()):
            raise ValueError("weights must give numbers over 0, at most 100, by kind of offer")
        return context


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 100


class OfferShown(BaseModel):
    offer_id: str
    rank: int
    score: float = Field(description="What making the offer is expected to bring.")
    propensity: float = Field(description="How probable it was that this offer comes first.")
    expires_at: Shown = Field(description="Ask again after that.")
    content: dict[str, Any]


class DecisionAnswer(BaseModel):
    decision_id: str
    profile_id: str | None
    profile_version: int | None
    holdout: bool
    silence: Literal["holdout", "no_offers", "all_gated", "not_worth_it"] | None = Field(
        description="Why there are no offers, where there are none."
    )
    offers: list[OfferShown]
    degraded: list[str] = Field(description="What had to be done without: profile, behind, knowledge, holdout.")


class NumbersAnswer(Answer):
    p_click: float
    p_conversion: float = Field(description="Of an acceptance, once clicked.")
    value: float
    lever: float
    cost: float
    score: float
    propensity: float = Field(description="Of coming first.")


class CandidateAnswer(Answer):
    offer_id: str
    gate: Gate | None = Field(description="The first gate it failed.")
    reason: str | None = Field(description="`unknown` where the person could not be looked up.")
    rank: int | None = Field(description="Also past `limit`; in the holdout, what it would have been.")
    numbers: NumbersAnswer | None


class OutcomeAnswer(BaseModel):
    offer_id: str
    shown_at: Shown | None
    clicked_at: Shown | None
    accepted_at: Shown | None
    dismissed_at: Shown | None


class RecordAnswer(Answer):
    decision_id: str
    decided_at: Shown
    profile: str
    profile_id: str | None
    profile_version: int | None
    placement: str
    channel: str
    context: dict[str, Any]
    holdout: bool
    silence: str | None
    offers: list[str]
    degraded: list[str]
    learner_version: int = Field(description="Of the features and the model that learns from them.")
    features: list[float]
    candidates: list[CandidateAnswer]
    outcomes: list[OutcomeAnswer]


# --- lift ------------------------------------------------------------------------------------------------------------


class GroupAnswer(Answer):
    people: int
    converted: int = Field(description="Who have ever ordered.")
    mean_value: float = Field(description="Value of all orders, a person.")


class DifferenceAnswer(Answer):
    difference: float | None = Field(description="Treated less holdout; null where too few people are known.")
    low: float | None
    high: float | None = Field(description="With `low`: where it lies, with 95 % confidence.")


class LiftAnswer(Answer):
    treated: GroupAnswer
    holdout: GroupAnswer
    conversion: DifferenceAnswer
    value: DifferenceAnswer
