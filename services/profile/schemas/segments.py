"""Segments: their rules, members and counts, previews, and the personas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.profile.schemas import Member, NamedBy
from shared.paging import TEXT


class SegmentRule(BaseModel):
    """What a person says about a segment."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "Big spenders", "rule": "computed.order_value > 100.0"}},
    )

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=TEXT)]
    rule: str = Field(min_length=1, pattern=TEXT, description="In CEL; see the README for what a rule sees.")


_SEGMENT: Any = {
    "id": "big-spenders",
    "name": "Big spenders",
    "rule": "computed.order_value > 100.0",
    "saved_at": "2026-03-01T10:00:00.000Z",
    "cost": 4,
    "filling": True,
    "filled": 0.42,
}


class Segment(BaseModel):
    id: str
    name: str
    rule: str
    saved_at: str
    cost: int | None = Field(description="Steps that the rule may take for one person; null: it is not taken any more.")
    filling: bool = Field(description="Whether there are still people whom the newest rule was not asked about.")
    filled: float = Field(description="The share of people whom it was asked about, or soon is: 1 when it is filled.")

    model_config = ConfigDict(json_schema_extra={"example": _SEGMENT})


class SegmentPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"segments": [_SEGMENT], "next": None}})

    segments: list[Segment]
    next: str | None


class AskedRule(BaseModel):
    """A rule to be looked at before it is saved."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"rule": "computed.order_value > 100.0", "limit": 2}}
    )

    rule: str = Field(min_length=1, pattern=TEXT, description="In CEL; see the README for what a rule sees.")
    limit: int = Field(
        default=10, ge=0, le=100, strict=True, description="How many of those whom it holds for to show at most."
    )


class Sampled(BaseModel):
    profile_id: str
    identifiers: list[NamedBy]


class PreviewBody(BaseModel):
    """Whom a rule holds for now. Where people are many, it is told from a sample, and the interval says how surely."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "count": 121_800,
                "exact": False,
                "low": 113_050,
                "high": 131_125,
                "of": 1_000_000,
                "looked_at": 5_000,
                "unknown": 12,
                "cost": 4,
                "sample": [
                    {
                        "profile_id": "a30c877f-5eca-5ecc-9f41-530cf45bdc2b",
                        "identifiers": [{"kind": "user_id", "value": "u-17"}],
                    }
                ],
            }
        }
    )

    count: int = Field(description="How many it holds for: of everybody, or as the sample has it.")
    exact: bool = Field(description="Whether everybody was looked at.")
    low: int
    high: int = Field(description="With `low`: the true number lies between them in 95 of 100 samples.")
    of: int = Field(description="How many people there are.")
    looked_at: int
    unknown: int = Field(description="Of those looked at, for how many it could not be known, which counts as no.")
    cost: int = Field(description="Steps that the rule may take for one person.")
    sample: list[Sampled]


class Count(BaseModel):
    at: str = Field(description="When the hour or the day begins, in UTC.")
    members: int | None = Field(
        description="How many were in it soon after the hour or day began; null: nobody looked."
    )
    entered: int
    left: int


class CountPage(BaseModel):
    """The oldest first. Those who go because their profile was joined with another count as left."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "counts": [{"at": "2026-03-01T10:00:00.000Z", "members": 1200, "entered": 31, "left": 4}],
                "next": None,
            }
        }
    )

    counts: list[Count]
    next: str | None


_PERSONA: Any = {
    "id": "big-spenders",
    "name": "Big spenders",
    "rule": "computed.order_value >= 500",
    "why": "Few who bring much: worth a person's time.",
    "segment": "none",
}


class PersonaBody(BaseModel):
    """A segment that is ready to be adopted."""

    model_config = ConfigDict(json_schema_extra={"example": _PERSONA})

    id: str
    name: str
    rule: str
    why: str = Field(description="What it helps with.")
    segment: Literal["none", "adopted", "changed"] = Field(
        description="Whether there is a segment of this id, and whether its rule is still the persona's."
    )


class PersonaList(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"personas": [_PERSONA]}})

    personas: list[PersonaBody]


class MemberPage(BaseModel):
    profiles: list[Member]
    count: int
    next: str | None
