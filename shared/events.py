"""What travels on the topics: CloudEvents 1.0 in JSON, structured mode, as typed structs.

A struct here is one event type: its `type` tag, the attributes of CloudEvents, and `data`. Consumers decode with the
struct of the topic (`topics.Topic.event`), so a field that is missing or mistyped is found at the door of a service
and not in its middle. The JSON Schemas under `deploy/schemas/` are made from these structs; a change must stay
backward compatible: add fields with defaults, never rename, never narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from shared.identifiers import ANONYMOUS, USER, Identifier, names_nobody

CONTENT_TYPE = "application/cloudevents+json"
"""The one Kafka header. Six headers a record, as binary mode needs, cost a third of the producer's speed."""

CallType = Literal["identify", "track", "page", "screen", "group", "alias"]

Trust = Literal["server", "client"]
"""How far a source is believed: `server`, a system that keeps its key to itself; `client`, an app or a page, whose key
anybody can read. Events of before trust was recorded count as a server's, so that their meaning stays what it was.
"""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """The attributes every event carries. (`source`, `id`) names an event for ever; `time` is when it happened."""

    id: str
    source: str
    time: datetime
    subject: str | None = None
    traceparent: str | None = None
    specversion: Literal["1.0"] = "1.0"


# --- touchpoints -----------------------------------------------------------------------------------------------------


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client said in one call of the tracking API, cleaned by ingest.

    At least one of `user_id` and `anonymous_id` is there and none is empty. `name` is the event of a `track`, the
    name of a `page` or `screen`. `traits` are those of the call, merged over `context.traits`. `properties` and
    `context` stay JSON: most readers never open them. `trust` is that of the source when the call was taken.
    """

    type: CallType
    received_at: datetime
    channel: str
    name: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    group_id: str | None = None
    traits: dict[str, Any] = {}
    external_ids: tuple[Identifier, ...] = ()
    trust: Trust = "server"
    properties: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    context: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))


class Touchpoint(CloudEvent, frozen=True, tag="temas.touchpoint.v1"):
    """One contact of a person with the company. `id` is the client's message id, `source` the source of its key."""

    data: Call

    @property
    def at(self) -> datetime:
        """When it happened, by the client's clock, corrected."""
        return self.time

    @property
    def ids(self) -> tuple[Identifier, ...]:
        """The identifiers it was sent under, the user's first: one or two."""
        both = ((USER, self.data.user_id), (ANONYMOUS, self.data.anonymous_id))
        return tuple(Identifier(kind, value) for kind, value in both if value is not None)

    @property
    def owner(self) -> Identifier:
        """The one identifier whose fragments this touchpoint updates: the user's, else the anonymous visitor's.

        One that names nobody owns it only for want of another.
        """
        ids = self.ids
        return next((identifier for identifier in ids if not names_nobody(identifier.value)), ids[0])

    def properties(self) -> dict[str, Any]:
        """The properties, decoded. Raises msgspec.DecodeError where they are no JSON object."""
        return msgspec.json.decode(self.data.properties, type=dict[str, Any])


class Reason(msgspec.Struct, frozen=True):
    """Why an event can't be used: the JSON path of the field, a code, and a sentence that says how to mend it."""

    path: str
    code: str
    message: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that ingest could not use: the bytes as received (base64 in JSON) and every reason.

    With what else it came with, so that it can be judged once more as if it had just arrived: the kind of call that its
    address named (`call`), what its batch said for all (`sent_at`, `context`, `integrations`), and its user agent.
    `type` and `name` are its own, as far as they can be read. `form` says what `body` is. `proven` is the user id that
    its user token was of, where its source asks for proof: the token itself is not kept.
    """

    received_at: datetime
    reasons: tuple[Reason, ...]
    body: bytes
    message_id: str | None = None
    form: Literal["call", "cloudevent"] = "call"
    type: str | None = None
    name: str | None = None
    call: CallType | None = None
    sent_at: datetime | None = None
    user_agent: str = ""
    context: dict[str, Any] = {}
    integrations: dict[str, Any] = {}
    proven: str | None = None


class Rejected(CloudEvent, frozen=True, tag="temas.touchpoint.rejected.v1"):
    data: Refusal


# --- who is who ------------------------------------------------------------------------------------------------------


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """The identifiers of a profile, sorted; or, where it was absorbed, the profile that absorbed it (`redirect`)."""

    profile_id: str
    version: int
    identifiers: tuple[Identifier, ...] = ()
    redirect: str | None = None


class Identified(CloudEvent, frozen=True, tag="temas.identity.v1"):
    data: Membership


# --- what a customer is worth ----------------------------------------------------------------------------------------


class Engagement(msgspec.Struct, frozen=True, kw_only=True):
    """`score` 0-100; `positive` and `negative` are the decayed sums of weights behind it."""

    score: float
    positive: float
    negative: float


class Purchases(msgspec.Struct, frozen=True, kw_only=True):
    """The purchase state that the models read; `x`, `t_x` and `T` as in Fader, Hardie & Lee (2005), in weeks."""

    x: int
    t_x: float
    T: float
    mean_value: float
    count: int
    value: float


class Rfm(msgspec.Struct, frozen=True, kw_only=True):
    recency: int
    frequency: int
    monetary: int
    segment: str


class Churn(msgspec.Struct, frozen=True, kw_only=True):
    p_alive: float
    risk: float
    horizon_weeks: int


class LifetimeValue(msgspec.Struct, frozen=True, kw_only=True):
    """Money expected over the horizon, discounted; `low` and `high` bound it with 90 % confidence."""

    value: float
    low: float
    high: float
    horizon_months: int
    expected_purchases: float
    expected_value: float


class Valuation(msgspec.Struct, frozen=True, kw_only=True):
    """One customer's scores. What can't be known yet (no purchase, no model, engagement of the past) is null."""

    profile_id: str
    version: int
    as_of: datetime
    engagement: Engagement | None = None
    purchases: Purchases | None = None
    rfm: Rfm | None = None
    churn: Churn | None = None
    ltv: LifetimeValue | None = None
    model: str | None = None


class Scored(CloudEvent, frozen=True, tag="temas.scores.v1"):
    data: Valuation


# --- the unified view ------------------------------------------------------------------------------------------------


class KnownIdentifier(msgspec.Struct, frozen=True):
    """`trust`: of the most trusted who said that it is this person's, or that this person is there under it."""

    kind: str
    value: str
    since: str
    trust: Trust = "server"


class Trait(msgspec.Struct, frozen=True):
    """What the person is known to be, with where it came from."""

    value: Any
    at: str
    source: str
    touchpoint_id: str
    trust: Trust = "server"


_MOMENT = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}

Computed = Annotated[
    dict[str, Any],
    msgspec.Meta(
        extra_json_schema={
            "properties": {
                "order_count": {"type": "integer", "default": 0},
                "order_value": {"type": "number", "default": 0.0},
                "first_order_at": _MOMENT,
                "last_order_at": _MOMENT,
            }
        }
    ),
]
"""What is calculated from a person's touchpoints: what everybody has, and each computed trait that was defined."""


class Touchpoints(msgspec.Struct, frozen=True, kw_only=True):
    count: int = 0
    first_at: str | None = None
    last_at: str | None = None
    channels: dict[str, int] = {}


class InSegment(msgspec.Struct, frozen=True):
    id: str
    since: str


class InGroup(msgspec.Struct, frozen=True):
    """A company, a household: since when this person has been in it, by the word of whom."""

    id: str
    since: str
    trust: Trust = "server"


class Stage(msgspec.Struct, frozen=True):
    name: str
    since: str


class Consent(msgspec.Struct, frozen=True):
    granted: bool
    at: str
    touchpoint_id: str
    trust: Trust = "server"


class ShownScores(msgspec.Struct, frozen=True, kw_only=True):
    engagement: float | None = None
    ltv: float | None = None
    churn_risk: float | None = None
    version: int = 0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The unified view of one customer: the body of `GET /v1/profiles/...` and of the `profiles` topic.

    Times are RFC 3339 with milliseconds, as text: they are shown, and compared in rules, more often than computed
    with. `computed` always has `order_count`, `order_value`, `first_order_at` and `last_order_at`, and one more for
    each computed trait that was defined; what can't be known is null. `root` is the identifier this person was first
    seen with: stable across login, it decides the holdout.
    `redirect` is set, and everything else empty, where the profile was absorbed by another.
    """

    profile_id: str
    version: int
    redirect: str | None = None
    root: str | None = None
    identifiers: tuple[KnownIdentifier, ...] = ()
    traits: dict[str, Trait] = {}
    computed: Computed = {}
    touchpoints: Touchpoints = Touchpoints()
    groups: tuple[InGroup, ...] = ()
    segments: tuple[InSegment, ...] = ()
    stage: Stage | None = None
    consent: dict[str, dict[str, Consent]] = {}
    scores: ShownScores | None = None


class Profiled(CloudEvent, frozen=True, tag="temas.profile.v1"):
    data: View


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a customer changed that somebody may want to act on.

    `attributes` of `segment_entered` and `segment_left`: `segment`, its id; of a profile that left because another
    absorbed it also `absorbed_by`, that profile's id. For each profile and segment, entered less left is 1 while it is
    in it, and else 0. Of `stage_changed`: `from` (null at first) and `to`.
    """

    profile_id: str
    name: Literal["segment_entered", "segment_left", "stage_changed"]
    attributes: dict[str, Any] = {}


class Signalled(CloudEvent, frozen=True, tag="temas.signal.v1"):
    data: Signal


# --- decisions -------------------------------------------------------------------------------------------------------

Gate = Literal["availability", "eligibility", "consent", "fatigue", "budget"]


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Why a candidate ranked where it did; `score` is the expectation of what the draw was ranked by."""

    p_click: float
    p_conversion: float
    value: float
    lever: float
    cost: float
    score: float
    propensity: float


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One offer of the placement: the first gate it failed with the reason, or its rank and its numbers."""

    offer_id: str
    gate: Gate | None = None
    reason: str | None = None
    rank: int | None = None
    numbers: Numbers | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A decision's whole record. `features` are the learner's inputs, so that feedback needs nothing else."""

    decision_id: str
    profile: str
    placement: str
    channel: str
    holdout: bool
    silence: str | None
    offers: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    features: tuple[float, ...]
    learner_version: int
    profile_id: str | None = None
    profile_version: int | None = None
    context: dict[str, Any] = {}
    degraded: tuple[str, ...] = ()


class Decided(CloudEvent, frozen=True, tag="temas.decision.v1"):
    data: Choice


# --- who may call ----------------------------------------------------------------------------------------------------


class NamedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key, whose text nobody keeps: `digest` is its SHA-256, in hexadecimal. `source` is whose it is.

    `scopes` are words of `shared/scopes.py`, or of a version to come. `ends_at` is when it stops to hold. It opens
    `services`, and of ingest what is `sources`'; all of them where those are null.
    """

    id: str
    source: str
    digest: str
    scopes: tuple[str, ...]
    ends_at: datetime | None = None
    services: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None

    def holds(self, now: datetime) -> bool:
        return self.ends_at is None or now < self.ends_at


class Keyed(CloudEvent, frozen=True, tag="temas.key.v1"):
    """What a key may do, until when. `signature` is ingest's, of `data` (`shared/key_records.py`); empty before there
    were signatures, and then nothing goes by it."""

    data: NamedKey
    signature: str = ""


# --- what a consumer could not process -------------------------------------------------------------------------------


class Undelivered(msgspec.Struct, frozen=True, kw_only=True):
    """The record as it stood in the log (base64 in JSON), where it stood, and what was wrong with it."""

    consumer: str
    topic: str
    partition: int
    offset: int
    reason: str
    value: bytes | None
    key: bytes | None = None


class DeadLetter(CloudEvent, frozen=True, tag="temas.dead_letter.v1"):
    data: Undelivered


_encoder = msgspec.json.Encoder()


def encode(event: CloudEvent | Mapping[str, Any]) -> bytes:
    """The event's bytes in the log."""
    return _encoder.encode(event)
