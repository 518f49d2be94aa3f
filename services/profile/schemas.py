"""HTTP bodies of profile. The view itself is `shared.events.View`, as it stands in the `profiles` topic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.events import CallType, View
from shared.paging import TEXT


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


# --- identities ------------------------------------------------------------------------------------------------------

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=TEXT)]
Named = Annotated[
    str,
    StringConstraints(pattern=r"^[^:\x00]+:[^\x00]+$", max_length=1_000),
    Field(description="`kind:value`, as in `anonymous_id:a-2`."),
]


class Unmerge(BaseModel):
    """That two identifiers are not one person's."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "example": {"identifier": "anonymous_id:a-2", "from": "user_id:u-17", "why": "shared tablet"}
        },
    )

    identifier: Named
    from_: Named = Field(alias="from")
    why: Text


class Merge(BaseModel):
    """That two identifiers are one person's."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"identifier": "anonymous_id:a-2", "into": "user_id:u-17", "why": "she called and said so"}
        },
    )

    identifier: Named
    into: Named
    why: Text


class RulingBody(BaseModel):
    """What was ruled. `identifier` is the one that moves by it."""

    ruling_id: str
    ruling: Literal["merge", "split"]
    identifier: str
    other: str
    at: str
    who: str = Field(description="The key that it was ruled with.")
    why: str


class Whose(BaseModel):
    identifier: str
    profile_id: str | None = Field(description="Null where an email, phone or external id is nobody's now.")


_RULED: Any = {
    "ruling": {
        "ruling_id": "2f1c8f5e-7a53-4d5c-9a43-0c0f6f0f8f11",
        "ruling": "split",
        "identifier": "anonymous_id:a-2",
        "other": "user_id:u-17",
        "at": "2026-03-02T10:00:00.000Z",
        "who": "settings:secret",
        "why": "shared tablet",
    },
    "profiles": [
        {"identifier": "anonymous_id:a-2", "profile_id": "8b7f6f8e-5b0c-5d9e-9f6b-0d8f5f6a7c01"},
        {"identifier": "user_id:u-17", "profile_id": "a30c877f-5eca-5ecc-9f41-530cf45bdc2b"},
    ],
}


class RuledBody(BaseModel):
    """The ruling that holds now, and both profiles: two after a split, one and the same after a merge."""

    model_config = ConfigDict(json_schema_extra={"example": _RULED})

    ruling: RulingBody
    profiles: list[Whose]


class RulingPage(BaseModel):
    rulings: list[RulingBody]
    next: str | None


class WhyBody(BaseModel):
    """A reason: a code that stays, a sentence, and the touchpoint or the ruling that it lies in."""

    code: str
    message: str
    touchpoint_id: str | None = None
    ruling_id: str | None = None


class ExplainedIdentifier(BaseModel):
    kind: str
    value: str
    since: str
    because: WhyBody


class ExplainedEdge(BaseModel):
    kind: Literal["login", "claim", "alias"]
    member: str
    owner: str
    at: str = Field(description="When it was first said, by event time.")
    touchpoint_id: str
    holds: bool
    why: WhyBody | None = Field(description="Why it does not hold; null where it does.")


class ExplainedRuling(RulingBody):
    holds: bool = Field(description="Whether it is the last word on this pair.")


class IdentityPage(BaseModel):
    """First all identifiers, then all edges, then all rulings: over the pages, each list goes on."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "profile_id": "a30c877f-5eca-5ecc-9f41-530cf45bdc2b",
                "version": 17,
                "conflicts": 1,
                "identifiers": [
                    {
                        "kind": "user_id",
                        "value": "u-17",
                        "since": "2026-03-01T10:00:00.000Z",
                        "because": {"code": "named", "message": "the profile is named by user_id:u-17"},
                    }
                ],
                "edges": [
                    {
                        "kind": "login",
                        "member": "anonymous_id:a-2",
                        "owner": "user_id:u-17",
                        "at": "2026-03-01T10:00:00.000Z",
                        "touchpoint_id": "m-1",
                        "holds": False,
                        "why": {
                            "code": "split",
                            "message": "it was ruled that anonymous_id:a-2 and user_id:u-17 are apart",
                            "ruling_id": "2f1c8f5e-7a53-4d5c-9a43-0c0f6f0f8f11",
                        },
                    }
                ],
                "rulings": [{**_RULED["ruling"], "holds": True}],
                "next": None,
            }
        }
    )

    profile_id: str
    version: int
    conflicts: int = Field(description="Logins that join nobody because the device is another's; at most 10,000.")
    identifiers: list[ExplainedIdentifier]
    edges: list[ExplainedEdge]
    rulings: list[ExplainedRuling]
    next: str | None


# --- proposals -------------------------------------------------------------------------------------------------------


class Decision(BaseModel):
    """Why it was decided so."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"why": "she called and said so"}})

    why: Text


class ReasonBody(BaseModel):
    """What was compared, and what came of it."""

    compared: str
    says: str
    bits: float = Field(
        description="How much it adds to `weight`: by 1 it is twice as likely that they are one person. Less than 0: "
        "it speaks against."
    )


_PROPOSAL: Any = {
    "proposal_id": "0f5b1d7e-64f3-5e0c-8a57-0a6c1f8b8a11",
    "identifiers": ["user_id:u-17", "user_id:u-203"],
    "weight": 21.4,
    "probability": 0.999999,
    "reasons": [
        {"compared": "given_name", "says": "is nearly the same", "bits": 6.2},
        {"compared": "surname", "says": "is the same", "bits": 9.6},
        {"compared": "born", "says": "is the same", "bits": 14.1},
        {"compared": "place", "says": "is another", "bits": -3.2},
    ],
    "status": "open",
    "proposed_at": "2026-03-02T10:00:00.000Z",
    "decided_at": None,
    "who": None,
    "why": None,
}


class ProposalBody(BaseModel):
    """Two profiles that are likely one person's, each by an identifier of it. The values that were compared are there,
    in the profiles.
    """

    model_config = ConfigDict(json_schema_extra={"example": _PROPOSAL})

    proposal_id: str
    identifiers: list[str]
    weight: float = Field(description="In bits: the sum of all reasons, and of how rare duplicates are among people.")
    probability: float = Field(description="That they are one person, as far as the model knows.")
    reasons: list[ReasonBody]
    status: Literal["open", "accepted", "refused", "gone"]
    proposed_at: str
    decided_at: str | None = Field(description="Since when it is accepted, refused or gone.")
    who: str | None = Field(description="The key that it was decided with.")
    why: str | None


class ProposalPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"proposals": [_PROPOSAL], "next": None}})

    proposals: list[ProposalBody]
    next: str | None
