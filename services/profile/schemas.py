"""HTTP bodies of profile. The view itself is `shared.events.View`, as it stands in the `profiles` topic."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.events import CallType, View


def _without_references(node: Any, definitions: dict[str, Any]) -> Any:
    """A JSON Schema with its definitions put where they are referred to: OpenAPI keeps them in another place."""
    if isinstance(node, list):
        return [_without_references(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _without_references(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {name: _without_references(each, definitions) for name, each in node.items() if name != "$defs"}


def view_schema() -> dict[str, Any]:
    """The JSON Schema of the view."""
    schema = msgspec.json.schema(View)
    inlined: dict[str, Any] = _without_references(schema, schema["$defs"])
    return inlined


TEXT = r"^[^\x00]*$"
"""What PostgreSQL takes as text."""

AnyText: Any = Annotated[str, msgspec.Meta(pattern=TEXT)]
"""Such a text in a cursor."""


class SegmentRule(BaseModel):
    """What a person says about a segment."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "Big spenders", "rule": "computed.order_value > 100.0"}},
    )

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=TEXT)]
    rule: str = Field(min_length=1, pattern=TEXT, description="In CEL; see the README for what a rule sees.")


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
    type: CallType
    name: str | None
    at: str
    received_at: str
    channel: str
    properties: dict[str, Any]
    identifiers: list[NamedBy]


class TimelinePage(BaseModel):
    """Newest first. Only `next` says whether there is more: a page that asks for what is rare may not be full."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "touchpoints": [
                    {
                        "touchpoint_id": "m-17",
                        "type": "track",
                        "name": "Order Completed",
                        "at": "2026-03-01T10:00:00.000Z",
                        "received_at": "2026-03-01T10:00:00.120Z",
                        "channel": "web",
                        "properties": {"order_id": "o-1", "total": 49.9},
                        "identifiers": [{"kind": "user_id", "value": "u-17"}],
                    }
                ],
                "next": None,
                "removed_before": "2025-01-01T00:00:00.000Z",
            }
        }
    )

    touchpoints: list[TimelineTouchpoint]
    next: str | None
    removed_before: str | None = Field(
        description="Where something of this person was removed from the timeline because of its age: all that "
        "happened before this moment. It still counts in the profile, so `touchpoints.count` there may be more."
    )


class Refusal(BaseModel):
    """Every error: a code that stays, a sentence for people, and for bad fields their paths."""

    code: str
    message: str
    details: list[dict[str, Any]] | None = None
