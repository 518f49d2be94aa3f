"""HTTP bodies of profile. The view itself is `shared.events.View`, as it stands in the `profiles` topic."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.profile.domain.computed.definitions import LONGEST_WINDOW, AggregateName
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


class NamedBy(BaseModel):
    kind: str
    value: str


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
    limit: int = Field(default=10, ge=0, le=100, description="How many of those whom it holds for to show at most.")


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


class Member(BaseModel):
    profile_id: str
    since: str


class MemberPage(BaseModel):
    profiles: list[Member]
    count: int
    next: str | None


# --- computed traits -------------------------------------------------------------------------------------------------


_FORMULA: dict[str, Any] = {
    "name": "Spent online in the last 30 days",
    "event": "Order Completed",
    "aggregate": "sum",
    "property": "total",
    "filter": 'channel == "web" && properties.currency == "EUR"',
    "window_days": 30,
}
_COMPLETE_FROM = (
    "Where history was not all there any more when it was filled: events from before this moment may be missing."
)


class ComputedFormula(BaseModel):
    """What a person says about a computed trait: an aggregate over the `track` calls of one name."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _FORMULA})

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=TEXT)]
    event: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=TEXT)]
    aggregate: AggregateName = Field(
        description="`sum`, `average`, `min` and `max` are of numbers, written or as text, up to the sixth decimal; "
        "`first`, `last` and `most_frequent` of texts up to 200 characters, numbers and truth values; `distinct` "
        "counts different texts, numbers and truth values. What is none of these does not count."
    )
    property: Annotated[
        str | None,
        StringConstraints(min_length=1, max_length=200, pattern=TEXT),
        Field(description="Dotted path inside `properties`, such as `products.0.price`. Only a count has none."),
    ] = None
    filter: Annotated[
        str | None,
        StringConstraints(min_length=1, pattern=TEXT),
        Field(description="In CEL, over `properties`, `channel` and `name`: only events that it holds for count."),
    ] = None
    window_days: int | None = Field(
        default=None,
        ge=1,
        le=LONGEST_WINDOW,
        description="Only the last so many days, today included, on the account's calendar; null: all time.",
    )

    @model_validator(mode="after")
    def _property_where_needed(self) -> Self:
        if self.aggregate != "count" and self.property is None:
            raise ValueError(f"property: name the property whose {self.aggregate} it is")
        if self.aggregate == "count" and self.property is not None:
            raise ValueError("property: a count has none; to count only events that have it, say so in the filter")
        return self


class ComputedProgress(BaseModel):
    share: float = Field(ge=0, le=1, description="How much of history was looked at; an estimate until it is 1.")
    touchpoints_looked_at: int
    touchpoints_counted: int


_COMPUTED: dict[str, Any] = {
    "id": "spent_online_30d",
    **_FORMULA,
    "revision": 4,
    "saved_at": "2026-03-01T10:00:00.000Z",
    "status": "filling",
    "shown_revision": 2,
    "progress": {"share": 0.25, "touchpoints_looked_at": 250000, "touchpoints_counted": 1200},
    "complete_from": None,
}


class ComputedBody(BaseModel):
    """The newest revision of a computed trait."""

    model_config = ConfigDict(json_schema_extra={"example": _COMPUTED})

    id: str
    revision: int = Field(description="Grows whenever the formula changes.")
    name: str
    event: str
    aggregate: AggregateName
    property: str | None
    filter: str | None
    window_days: int | None
    saved_at: str
    status: Literal["filling", "ready"] = Field(description="`ready`: it is whole, and every view follows it.")
    shown_revision: int | None = Field(description="The revision that views show; null while there is none.")
    progress: ComputedProgress
    complete_from: str | None = Field(description=_COMPLETE_FROM)


class ComputedPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"computed": [_COMPUTED], "next": None}})

    computed: list[ComputedBody]
    next: str | None


class ComputedValue(BaseModel):
    id: str
    name: str
    revision: int
    value: Any = Field(description="Null where nothing is known.")
    exact: bool = Field(
        description="False where a person has more different values than are kept: then `distinct` is an estimate, and "
        "`most_frequent` is of a sample of the values."
    )
    window_days: int | None
    complete_from: str | None = Field(description=_COMPLETE_FROM)


class ComputedOfPerson(BaseModel):
    """Every computed trait that shows, by id, as of now."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "computed": [
                    {
                        "id": "pages_30d",
                        "name": "Different pages in the last 30 days",
                        "revision": 4,
                        "value": 1930,
                        "exact": False,
                        "window_days": 30,
                        "complete_from": None,
                    }
                ]
            }
        }
    )

    computed: list[ComputedValue]


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


class WordBody(BaseModel):
    """What one touchpoint said of a trait. Null takes it back."""

    value: Any
    at: str
    source: str
    touchpoint_id: str


class TraitWord(WordBody):
    channel: str
    wins: bool = Field(description="Whether this is the last word of all, the one that the profile shows.")


class TraitHistoryPage(BaseModel):
    """Newest first. Only `next` says whether there is more: a page that asks for what is rare may not be full."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "trait": "plan",
                "words": [
                    {
                        "value": "pro",
                        "at": "2026-03-01T10:00:00.000Z",
                        "source": "web",
                        "touchpoint_id": "m-17",
                        "channel": "web",
                        "wins": True,
                    }
                ],
                "next": "WyIyMDI2LTAzLTAxVDEwOjAwOjAwKzAwOjAwIiwibS0xNyIsIndlYiJd",
                "removed_before": "2025-01-01T00:00:00.000Z",
            }
        }
    )

    trait: str
    words: list[TraitWord]
    next: str | None
    removed_before: str | None = Field(
        description="Where something of this person was removed from the timeline because of its age: what was said "
        "before this moment does not show. It still counts: a trait may have its value from then."
    )


class PresentTrait(WordBody):
    trait: str


class TraitPage(BaseModel):
    """By name. A trait that was taken back is there, too, with null: somebody said so."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "traits": [
                    {
                        "trait": "plan",
                        "value": "pro",
                        "at": "2026-03-01T10:00:00.000Z",
                        "source": "web",
                        "touchpoint_id": "m-17",
                    }
                ],
                "next": "WyJwbGFuIl0",
            }
        }
    )

    traits: list[PresentTrait]
    next: str | None


# --- groups ----------------------------------------------------------------------------------------------------------

_GROUP: Any = {
    "group_id": "acme",
    "traits": {
        "name": {"value": "Acme", "at": "2026-03-01T10:00:00.000Z", "source": "web", "touchpoint_id": "m-17"},
    },
    "calls": 3,
    "first_at": "2026-03-01T10:00:00.000Z",
    "last_at": "2026-03-03T09:30:00.000Z",
}


class GroupBody(BaseModel):
    """What the group calls of everybody say of a group itself."""

    group_id: str
    traits: dict[str, WordBody]
    calls: int = Field(description="How many group calls it is made of.")
    first_at: str
    last_at: str


class GroupWithCount(GroupBody):
    model_config = ConfigDict(json_schema_extra={"example": {**_GROUP, "members": 2}})

    members: int = Field(description="How many profiles are in it now.")


class GroupPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"groups": [_GROUP], "next": "WyJhY21lIl0"}})

    groups: list[GroupBody]
    next: str | None


class GroupMemberPage(BaseModel):
    """By profile id. Several identifiers of one person are one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "profiles": [
                    {"profile_id": "a30c877f-5eca-5ecc-9f41-530cf45bdc2b", "since": "2026-03-01T10:00:00.000Z"}
                ],
                "count": 1,
                "next": "WyJhMzBjODc3Zi01ZWNhLTVlY2MtOWY0MS01MzBjZjQ1YmRjMmIiXQ",
            }
        }
    )

    profiles: list[Member]
    count: int
    next: str | None


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
