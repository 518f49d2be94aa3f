"""HTTP bodies of profile. The view itself is `shared.events.View`, as it stands in the `profiles` topic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class SegmentRule(BaseModel):
    """What a person says about a segment."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "Big spenders", "rule": "computed.order_value > 100.0"}},
    )

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    rule: str = Field(min_length=1, description="In CEL; see the README for what a rule sees.")


class Segment(BaseModel):
    id: str
    name: str
    rule: str
    saved_at: str
    filling: bool = Field(description="Whether there are still people whom the newest rule was not asked about.")


class SegmentPage(BaseModel):
    segments: list[Segment]
    next: str | None


class Member(BaseModel):
    profile_id: str
    since: str


class MemberPage(BaseModel):
    profiles: list[Member]
    count: int
    next: str | None


class NamedBy(BaseModel):
    kind: str
    value: str


class TimelineTouchpoint(BaseModel):
    touchpoint_id: str
    type: str
    name: str | None
    at: str
    received_at: str
    channel: str
    properties: dict[str, Any]
    identifiers: list[NamedBy]


class TimelinePage(BaseModel):
    touchpoints: list[TimelineTouchpoint]
    next: str | None


class Refusal(BaseModel):
    """Every error: a code that stays, a sentence for people, and for bad fields their paths."""

    code: str
    message: str
    details: list[dict[str, Any]] | None = None
