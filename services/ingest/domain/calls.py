"""Calls as clients write them: the Segment tracking API, as the SDKs of Segment and RudderStack send it.

Decoding is strict about types and generous about absence: fields may be missing, null or empty, ids may be numbers.
`properties`, `traits`, `context` and `integrations` stay as they were sent (`Raw`) until somebody has to look inside,
so that no digit of a number is lost. Of a key that comes twice in an object the last one holds, here and, as good as
everywhere, in whatever reads the log.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta, Raw

from shared.events import CallType

CALL_TYPES = frozenset[str](get_args(CallType))

NAME_LENGTH = 512
"""Characters of an id or a name. Longer ones are data that slipped into the wrong field."""

NOTHING = Raw(b"{}")

Name = Annotated[str, Meta(max_length=NAME_LENGTH)]
Id = Name | int | None
When = str | int | float | None


class Sent(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One call. What is not listed here (`_metadata`, `projectId`, ...) says nothing about the person."""

    type: str | None = None
    message_id: Id = None
    user_id: Id = None
    anonymous_id: Id = None
    previous_id: Id = None
    group_id: Id = None
    event: Name | None = None
    name: Name | None = None
    category: Name | None = None
    channel: Any = None  # RudderStack's word for the kind of SDK: web, mobile, server
    properties: Raw = NOTHING
    traits: Raw = NOTHING
    context: Raw = NOTHING
    integrations: Raw = NOTHING
    timestamp: When = None
    original_timestamp: When = None
    sent_at: Any = None
    received_at: Any = None
    write_key: Any = None


def named(value: Id) -> str | None:
    """An id as text; None where it is missing, null or blank."""
    if value is None:
        return None
    text = str(value)
    return text if text.strip() else None


_call = msgspec.json.Decoder(Sent)
_object = msgspec.json.Decoder(dict[str, Any] | None)


def decode_call(text: bytes) -> Sent:
    """Raises ValueError where a field has the wrong type, or `text` is no JSON object."""
    return _call.decode(text)


def decode_object(raw: Raw | bytes) -> dict[str, Any]:
    """What an object holds; null holds nothing. Raises ValueError where it is none, or holds too large a number."""
    return {} if raw is NOTHING else _object.decode(raw) or {}
