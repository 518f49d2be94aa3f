"""CloudEvents 1.0 as calls of the tracking API: what stands where, in one place.

| of the event | becomes |
| --- | --- |
| `source`, `id` | the message id `{source}#{id}`; a UUID of both where that is too long, or `source` has a `#` itself |
| `type` | the name of a track call; but `track`, `identify`, `page`, `screen`, `group` and `alias`, alone or after |
|        | `temas.`, are those calls, and `data` holds the call's own fields |
| `subject` | `user_id:…` and `anonymous_id:…` say whose it is; `email:…` and `phone:…` are external ids beside one of |
|           | those; any other is about something else |
| `userid`, `anonymousid` | extensions of ours: whose it is, where `subject` says something else |
| `channel` | extension of ours: `context.channel` |
| `time` | `timestamp` |
| `data` | an object is `properties`; anything else is `properties.data` |
| `data_base64` | as `data`, where `datacontenttype` says JSON, or is missing and it is; else `properties.data_base64` |
| all attributes but ours, `specversion` and `time` | `context.cloudevent` |
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from services.ingest.domain.attributes import timestamp
from services.ingest.domain.bodies import Parcel, tidied
from services.ingest.domain.bounds import KEPT_BYTES
from services.ingest.domain.calls import CALL_TYPES, NAME_LENGTH, NOTHING, decode_object
from services.ingest.domain.structured import Event, Unusable, decoded, opened, plain
from shared.events import Reason
from shared.identifiers import ANONYMOUS, EMAIL, PHONE, USER

PREFIX = "temas."

# A call's own fields. What else a call has, an event has in its attributes.
FIELDS = (
    "userId", "anonymousId", "previousId", "groupId", "event", "name", "category", "properties", "traits", "context",
    "integrations",
)  # fmt: skip
_OURS = frozenset({"specversion", "time", "userid", "anonymousid", "channel"})

Fields = dict[str, Any]


def call(parcel: Parcel, place: int) -> Raw | tuple[Reason, ...]:
    """The call at `place`, translated where it was written as an event; or what is wrong with it."""
    found = parcel.batch[place]
    return translated(bytes(found)) if parcel.form == "cloudevent" and isinstance(found, Raw) else found


def translated(event: bytes) -> Raw | tuple[Reason, ...]:
    """The call that says what `event` says, which is in the structured JSON format; or what is wrong with it."""
    try:
        return Raw(msgspec.json.encode(_call(opened(event))))
    except Unusable as error:
        return error.reasons


def outlined(event: bytes) -> bytes:
    """As much of the call as can be read of an `event` that is not usable: its type, its name and its message id."""
    if len(event) > KEPT_BYTES:
        return b"{}"
    try:
        members = decoded(tidied(event))
        said = [(name, plain(raw)) for name, raw in members.items() if name in ("type", "source", "id")]
    except Unusable:
        return b"{}"
    texts = {name: value for name, value in said if isinstance(value, str) and value}
    outline: Fields = {}
    if type := texts.get("type"):
        kind = type.removeprefix(PREFIX)
        outline = {"type": kind} if kind in CALL_TYPES else {"type": "track", "event": type}
    if {"source", "id"} <= texts.keys():
        outline["messageId"] = _message_id(texts)
    return msgspec.json.encode(outline)


# --- the call --------------------------------------------------------------------------------------------------------


def _call(event: Event) -> Fields:
    kind = event.attributes["type"].removeprefix(PREFIX)
    call = _own_fields(kind, event) if kind in CALL_TYPES else _track(event)
    people, external = _people(event, call)
    call |= {"messageId": _message_id(event.attributes), **people, "context": _context(event, call, external)}
    if time := event.attributes.get("time"):
        call["timestamp"] = timestamp(time)
    return call


def _track(event: Event) -> Fields:
    name = event.attributes["type"]
    if len(name) > NAME_LENGTH:
        raise Unusable(Reason("$.type", "too_long", f"type may have {NAME_LENGTH} characters at most"))
    properties: Any = {}
    if event.opaque is not None:
        properties = {"data_base64": event.opaque}
    elif event.data is not None:
        properties = event.data if _is_object(event.data) else {"data": event.data}
    return {"type": "track", "event": name, "properties": properties}


def _own_fields(kind: str, event: Event) -> Fields:
    """Data that are the fields of a call. One that no call has would be lost in silence, so it is refused."""
    if event.opaque is not None or not (event.data is None or _is_object(event.data)):
        raise Unusable(Reason("$.data", "wrong_type", f"the data of {kind} are an object, with the call's fields"))
    fields = {} if event.data is None else decoded(bytes(event.data))
    strange = [name for name in fields if name not in FIELDS]
    if strange:
        hint = f"the data of {kind} may have {', '.join(FIELDS)}: put what else there is into traits or properties"
        raise Unusable(*(Reason(f"$.data.{name[:100]}", "unknown_field", hint) for name in strange))
    return {**fields, "type": kind}


def _is_object(data: Raw) -> bool:
    return bytes(data).startswith(b"{")


def _message_id(attributes: Mapping[str, Any]) -> str:
    """Source and id together name an event. Without another `#` in the source, no two pairs are written alike."""
    source, id = attributes["source"], attributes["id"]
    written = f"{source}#{id}"
    if "#" in source or len(written) > NAME_LENGTH:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{source}\n{id}"))
    return written


_IDS = {"userId": (USER, "userid"), "anonymousId": (ANONYMOUS, "anonymousid")}
_EXTERNAL = (EMAIL, PHONE)


def _people(event: Event, call: Fields) -> tuple[Fields, list[Fields]]:
    """Give whose event it is, in the call's own fields; and the external ids that its subject names."""
    kind, _, value = event.attributes.get("subject", "").partition(":")
    people: Fields = {}
    for field, (named, extension) in _IDS.items():
        told = {
            f"$.data.{field}": _id(f"$.data.{field}", call.get(field)),
            f"$.{extension}": _id(f"$.{extension}", event.attributes.get(extension)),
            "$.subject": _id("$.subject", value) if kind == named else "",
        }
        if id := _agreed({path: id for path, id in told.items() if id.strip()}):
            people[field] = id
    if not people:
        raise Unusable(_nobody(event.attributes))
    return people, [{"type": kind, "id": value}] if kind in _EXTERNAL and value.strip() else []


def _agreed(told: Mapping[str, str]) -> str | None:
    """The id that all of them name."""
    if len(set(told.values())) > 1:
        *_, last = told
        raise Unusable(Reason(last, "contradiction", f"{' and '.join(told)} differ: name one person"))
    return next(iter(told.values()), None)


def _id(path: str, given: Any) -> str:
    value = plain(given) if isinstance(given, Raw) else given
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unusable(Reason(path, "wrong_type", f"{path.removeprefix('$.')} must be text, or left out"))
    if len(text := str(value)) > NAME_LENGTH:
        raise Unusable(Reason(path, "too_long", f"an id may have {NAME_LENGTH} characters at most"))
    return text


def _nobody(attributes: Mapping[str, Any]) -> Reason:
    message = "say whose event it is: subject user_id:… or anonymous_id:…, or the extension userid or anonymousid"
    if "subject" in attributes:
        return Reason("$.subject", "nobody", f"{message}; {attributes['subject'][:40]!r} alone names no one")
    return Reason("$.subject", "missing", message)


def _context(event: Event, call: Fields, external: list[dict[str, str]]) -> Fields:
    """The call's own, with what else the event says of itself."""
    try:
        context = decode_object(call.get("context", NOTHING))
    except (ValueError, RecursionError):
        raise Unusable(Reason("$.data.context", "wrong_type", "context must be an object, or left out")) from None
    context["cloudevent"] = {name: value for name, value in event.attributes.items() if name not in _OURS}
    if channel := event.attributes.get("channel"):
        context["channel"] = channel
    if external:
        given = context.get("externalIds")
        context["externalIds"] = [*(given if isinstance(given, list) else ()), *external]
    return context
