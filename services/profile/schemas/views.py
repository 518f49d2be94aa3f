"""A person: the view itself is `shared.events.View`, as it stands in the `profiles` topic; and the timeline."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from services.profile.schemas import NamedBy
from shared.events import CallType, Trust, View


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


class TimelineTouchpoint(BaseModel):
    touchpoint_id: str
    type: CallType
    name: str | None
    at: str
    received_at: str
    source: str
    trust: Trust = Field(description="How far its source was believed: `server`, or `client`, whose key is public.")
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
                        "source": "shop",
                        "trust": "client",
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
