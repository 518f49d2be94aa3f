"""The judgement over one call: a touchpoint, or what is wrong with it.

Almost every call is right, so it is judged in one quick pass (7 µs, with encoding) that only knows right or wrong. For
a wrong one `faults` then finds out what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Raw

from services.ingest.domain.bodies import tidied
from services.ingest.domain.bounds import EVENT_BYTES, KEPT_BYTES, within
from services.ingest.domain.calls import NAME_LENGTH, NOTHING, Sent, decode_call, decode_object, named
from services.ingest.domain.channels import channel
from services.ingest.domain.faults import faults, lacking
from services.ingest.domain.grants import ungranted
from services.ingest.domain.moments import happened
from services.ingest.domain.plan import NO_PLAN, Departure, Plan
from services.ingest.domain.proof import NO_PROOF, TOKEN, Proof, unproven, without_tokens
from services.ingest.domain.sources import Source
from shared.errors import Unauthorized
from shared.events import Call, CallType, Reason, Refusal, Rejected, Touchpoint
from shared.identifiers import Identifier

Form = Literal["call", "cloudevent"]


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances that all calls of one request share.

    `call` is the kind that the address names, None where each call says its own. `source` has the channel where nothing
    else tells it. `context` and `integrations` are the batch's. `proof` matters where the source asks for it.
    """

    source: Source
    received_at: datetime
    plan: Plan = NO_PLAN
    call: CallType | None = None
    sent_at: datetime | None = None
    user_agent: str = ""
    traceparent: str | None = None
    context: dict[str, Any] = {}
    integrations: dict[str, Any] = {}
    proof: Proof = NO_PROOF


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A touchpoint for the log. `cut`: it claimed to come from the future. `departure`: the plan only observes it."""

    touchpoint: Touchpoint
    key: bytes
    cut: bool
    departure: Departure | None


class Refused(msgspec.Struct, frozen=True):
    """A call that can't be used: why, the bytes as received, and what of it can be read.

    `departure`: it is the plan that refuses it. `proven`: the user id that its token is of, where its source asks for
    proof.
    """

    reasons: tuple[Reason, ...]
    body: bytes
    type: str | None = None
    name: str | None = None
    message_id: str | None = None
    departure: Departure | None = None
    proven: str | None = None


def judge(item: Raw, arrival: Arrival, fresh_id: Callable[[], str]) -> Accepted | Refused:
    """Accepted or Refused, whatever `item` is. `fresh_id` makes a message id for a call without one."""
    text = tidied(bytes(item))
    try:
        judged = _judged(text, arrival, fresh_id)
    except (ValueError, RecursionError):
        return refused(faults(text, arrival.call), bytes(item), arrival)
    if isinstance(judged, Accepted):
        return judged
    if isinstance(judged, Departure):
        return refused(judged.reasons, bytes(item), arrival, departure=judged)
    return refused(judged, bytes(item), arrival)


def refused(
    reasons: tuple[Reason, ...], body: bytes, arrival: Arrival, *, departure: Departure | None = None
) -> Refused:
    """`body` as a call that can't be used, with as much of it as can be read."""
    label = _label(tidied(body))
    return Refused(
        reasons=reasons,
        body=body,
        type=arrival.call or label.type,
        name=label.event or label.name,
        message_id=named(label.message_id),
        departure=departure,
        proven=_proven(body, arrival) if arrival.source.identity_proof == "required" else None,
    )


def rejection(refused: Refused, arrival: Arrival, fresh_id: str, form: Form = "call") -> Rejected:
    """Give what is kept of `refused`, sent in this `form`: all that judging it once more takes, but for its token."""
    reasons = refused.reasons
    if len(refused.body) > KEPT_BYTES:
        cut = f"only the first {KEPT_BYTES} of {len(refused.body)} bytes were kept"
        reasons = (*reasons, Reason("$", "cut", cut))
    return Rejected(
        id=fresh_id,
        source=arrival.source.name,
        time=arrival.received_at,
        traceparent=arrival.traceparent,
        data=Refusal(
            received_at=arrival.received_at,
            reasons=reasons,
            body=without_tokens(refused.body[:KEPT_BYTES]),
            message_id=refused.message_id,
            form=form,
            type=refused.type,
            name=refused.name,
            call=arrival.call,
            sent_at=arrival.sent_at,
            user_agent=arrival.user_agent[:NAME_LENGTH],
            context=_kept(arrival.context),
            integrations=_kept(arrival.integrations),
            proven=refused.proven,
        ),
    )


def _kept(shared: dict[str, Any]) -> dict[str, Any]:
    """Give what a batch added to its calls, where it is no larger than a call may be."""
    return shared if not shared or len(msgspec.json.encode(shared)) <= EVENT_BYTES else {}


def _judged(text: bytes, arrival: Arrival, fresh_id: Callable[[], str]) -> Accepted | Departure | tuple[Reason, ...]:
    """Accepted; or a departure from the plan that the plan does not let through; or why it may not be stated.

    Raises ValueError or RecursionError where anything else is wrong.
    """
    if not within(text):
        raise ValueError("too large, too deep, or a number that is")
    call = decode_call(text)
    kind = arrival.call or call.type
    if next(lacking(kind, call), None):
        raise ValueError("something is missing")
    data, properties, token = _said(call, kind, arrival)
    source = arrival.source
    if reasons := ungranted(data, source.may, source.name):
        return reasons
    if source.identity_proof == "required" and (reasons := unproven(data, token, arrival.proof)):
        return reasons
    departure = _departure(data, properties, arrival)
    if departure is not None and departure.mode == "enforce":
        return departure
    at, cut = happened(call, arrival.received_at, arrival.sent_at)
    touchpoint = Touchpoint(
        id=named(call.message_id) or fresh_id(),
        source=source.name,
        time=at,
        subject=f"user_id:{data.user_id}" if data.user_id else f"anonymous_id:{data.anonymous_id}",
        traceparent=arrival.traceparent,
        data=data,
    )
    return Accepted(touchpoint, (data.anonymous_id or data.user_id or "").encode(), cut, departure)


def _said(call: Sent, kind: str | None, arrival: Arrival) -> tuple[Call, Mapping[str, Any], Any]:
    """Give what the call says, cleaned; its properties, opened; and the user token in its context."""
    context, raw_context, token = _context(call, arrival)
    properties, raw_properties = _properties(call, kind)
    data = Call(
        type=kind,  # type: ignore[arg-type]  # `lacking` lets only the six through
        received_at=arrival.received_at,
        channel=channel(context, properties, call.channel, arrival.user_agent, arrival.source.usual),
        name=call.event if kind == "track" else call.name or call.category,
        user_id=named(call.user_id),
        anonymous_id=named(call.anonymous_id),
        previous_id=named(call.previous_id),
        group_id=named(call.group_id),
        traits=_traits(call, kind, context),
        external_ids=_external_ids(context),
        trust=arrival.source.trust,
        properties=raw_properties,
        context=raw_context,
    )
    return data, properties, token


def _departure(data: Call, properties: Mapping[str, Any], arrival: Arrival) -> Departure | None:
    traits = properties if data.type == "group" else data.traits
    source = arrival.source
    return arrival.plan.departure(source.name, data.type, data.name, properties, traits, unplanned=source.unplanned)


def _properties(call: Sent, kind: str | None) -> tuple[Mapping[str, Any], Raw]:
    """Opened, to be looked at, and as JSON, to be passed on: the client's own bytes where nothing is added."""
    properties = decode_object(call.properties)
    more: dict[str, Any] = {}
    if kind == "group":  # its traits describe the group: as traits they would rename the person
        more = decode_object(call.traits)
    if call.category and call.name:  # the name goes first; what comes second is not lost
        more = {"category": call.category, **more}
    if more or not properties:
        properties = {**more, **properties}
        return properties, _raw(properties)
    return properties, call.properties


def _traits(call: Sent, kind: str | None, context: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the call says about the person: its traits over those of its context."""
    traits = {} if kind == "group" else decode_object(call.traits)
    person = context.get("traits")
    return {**person, **traits} if isinstance(person, dict) else traits


def _context(call: Sent, arrival: Arrival) -> tuple[dict[str, Any], Raw, Any]:
    """The call's context over the batch's, with the integrations in it; the call's own bytes where nothing is changed.

    A user token is taken out of it, and comes third.
    """
    context = decode_object(call.context)
    token = context.pop(TOKEN, None)
    integrations = {**arrival.integrations, **decode_object(call.integrations)}
    if context and token is None and not integrations and not arrival.context:
        return context, call.context, None
    merged = {**arrival.context, **context}
    if integrations:
        merged.setdefault("integrations", integrations)
    return merged, _raw(merged), token


def _raw(held: Mapping[str, Any]) -> Raw:
    return Raw(msgspec.json.encode(held)) if held else NOTHING


# The kinds that calls have fields for: in a list of external ids they would let anybody speak for anybody.
_OUR_KINDS = {"user_id", "anonymous_id", "profile_id"}
_KIND = re.compile(r"[A-Za-z][\w.\-]{0,63}")


def _external_ids(context: Mapping[str, Any]) -> tuple[Identifier, ...]:
    """`context.externalIds`, as `[{"id", "type", ...}]`, without those that don't name a kind and a value."""
    given = context.get("externalIds")
    if not isinstance(given, list):
        return ()
    pairs = ((each.get("type"), each.get("id")) for each in given if isinstance(each, dict))
    return tuple(
        Identifier(kind, value)
        for kind, value in pairs
        if isinstance(kind, str)
        and isinstance(value, str)
        and value
        and _KIND.fullmatch(kind)
        and kind not in _OUR_KINDS
    )


def _proven(body: bytes, arrival: Arrival) -> str | None:
    """The user id that is proven by what can be read of a call: of one that is judged anew no token is left."""
    if len(body) > EVENT_BYTES:
        body = b"{}"
    try:
        own = decode_object(_fields.decode(tidied(body)).get("context", NOTHING)).get(TOKEN)
    except (ValueError, RecursionError):
        own = None
    try:
        return arrival.proof.user_id(own)
    except Unauthorized:
        return None


class _Label(msgspec.Struct, rename="camel"):
    """Give what a call that can't be used says of itself."""

    message_id: str | int | None = None
    type: str | None = None
    event: str | None = None
    name: str | None = None


def _label(text: bytes) -> _Label:
    """As much of it as can be read; texts cut to what names may have. Of what is not kept whole, nothing."""
    if len(text) > KEPT_BYTES:
        return _Label()
    try:
        fields = _fields.decode(text)
    except (ValueError, RecursionError):
        return _Label()
    label = {}
    for name in ("messageId", "type", "event", "name"):
        with suppress(ValueError):
            label[name] = msgspec.json.decode(fields.get(name, b"null"), type=str | int | None)
    texts = {name: str(value)[:NAME_LENGTH] for name, value in label.items() if value is not None}
    return msgspec.convert(texts, _Label)


_fields = msgspec.json.Decoder(dict[str, Raw])
