"""The judgement over one call: a touchpoint, or what is wrong with it.

Almost every call is right, so it is judged in one quick pass (7 µs, with encoding) that only knows right or wrong. For
a wrong one `faults` then finds out what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from services.ingest.domain.bodies import cleaned
from services.ingest.domain.bounds import KEPT_BYTES, within
from services.ingest.domain.calls import NAME_LENGTH, NOTHING, Sent, decode_call, decode_object, named
from services.ingest.domain.channels import channel
from services.ingest.domain.faults import faults, lacking
from services.ingest.domain.moments import happened
from shared.events import Call, CallType, Reason, Refusal, Rejected, Touchpoint
from shared.identifiers import Identifier


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What all calls of one request share. `call`: the kind that the address names; None where each call says its own.

    `usual` is the channel of the source where nothing else tells it. `context` and `integrations` are the batch's.
    """

    source: str
    received_at: datetime
    call: CallType | None = None
    sent_at: datetime | None = None
    usual: str = "unknown"
    user_agent: str = ""
    traceparent: str | None = None
    context: dict[str, Any] = {}
    integrations: dict[str, Any] = {}


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A touchpoint for the log. `cut`: it claimed to come from the future."""

    touchpoint: Touchpoint
    key: bytes
    cut: bool


class Refused(msgspec.Struct, frozen=True):
    """A call that can't be used: why, the bytes as received, and its message id where it has one."""

    reasons: tuple[Reason, ...]
    body: bytes
    message_id: str | None


def judge(item: Raw, arrival: Arrival, fresh_id: Callable[[], str]) -> Accepted | Refused:
    """Accepted or Refused, whatever `item` is. `fresh_id` makes a message id for a call without one."""
    text = cleaned(bytes(item))
    try:
        return _accepted(text, arrival, fresh_id)
    except (ValueError, RecursionError):
        return Refused(faults(text, arrival.call), bytes(item), _message_id(text))


def rejection(refused: Refused, arrival: Arrival, fresh_id: str) -> Rejected:
    """What is kept of `refused`."""
    reasons = refused.reasons
    if len(refused.body) > KEPT_BYTES:
        cut = f"only the first {KEPT_BYTES} of {len(refused.body)} bytes were kept"
        reasons = (*reasons, Reason("$", "cut", cut))
    return Rejected(
        id=fresh_id,
        source=arrival.source,
        time=arrival.received_at,
        traceparent=arrival.traceparent,
        data=Refusal(
            received_at=arrival.received_at,
            reasons=reasons,
            body=refused.body[:KEPT_BYTES],
            message_id=refused.message_id,
        ),
    )


def _accepted(text: bytes, arrival: Arrival, fresh_id: Callable[[], str]) -> Accepted:
    """Raises ValueError or RecursionError where anything is wrong."""
    if not within(text):
        raise ValueError("too large, too deep, or a number that is")
    call = decode_call(text)
    kind = arrival.call or call.type
    if next(lacking(kind, call), None):
        raise ValueError("something is missing")
    data = _data(call, kind, arrival)
    at, cut = happened(call, arrival.received_at, arrival.sent_at)
    touchpoint = Touchpoint(
        id=named(call.message_id) or fresh_id(),
        source=arrival.source,
        time=at,
        subject=f"user_id:{data.user_id}" if data.user_id else f"anonymous_id:{data.anonymous_id}",
        traceparent=arrival.traceparent,
        data=data,
    )
    return Accepted(touchpoint, (data.anonymous_id or data.user_id or "").encode(), cut)


def _data(call: Sent, kind: str | None, arrival: Arrival) -> Call:
    context, raw_context = _context(call, arrival)
    properties, raw_properties = _properties(call, kind)
    return Call(
        type=kind,  # type: ignore[arg-type]  # `lacking` lets only the six through
        received_at=arrival.received_at,
        channel=channel(context, properties, call.channel, arrival.user_agent, arrival.usual),
        name=call.event if kind == "track" else call.name or call.category,
        user_id=named(call.user_id),
        anonymous_id=named(call.anonymous_id),
        previous_id=named(call.previous_id),
        group_id=named(call.group_id),
        traits=_traits(call, kind, context),
        external_ids=_external_ids(context),
        properties=raw_properties,
        context=raw_context,
    )


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
    """What the call says about the person: its traits over those of its context."""
    traits = {} if kind == "group" else decode_object(call.traits)
    person = context.get("traits")
    return {**person, **traits} if isinstance(person, dict) else traits


def _context(call: Sent, arrival: Arrival) -> tuple[dict[str, Any], Raw]:
    """The call's context over the batch's, with the integrations in it; the call's own bytes where nothing is added."""
    context = decode_object(call.context)
    integrations = {**arrival.integrations, **decode_object(call.integrations)}
    if context and not integrations and not arrival.context:
        return context, call.context
    merged = {**arrival.context, **context}
    if integrations:
        merged.setdefault("integrations", integrations)
    return merged, _raw(merged)


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


def _message_id(text: bytes) -> str | None:
    """The id of a call that can't be used, if that much can be read."""
    try:
        message_id = msgspec.json.decode(text, type=_OnlyId).message_id
    except (ValueError, RecursionError):
        return None
    return None if message_id is None else str(message_id)[:NAME_LENGTH]


class _OnlyId(msgspec.Struct, rename="camel"):
    message_id: str | int | None = None
