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

import base64
import binascii
import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from services.ingest.domain.attributes import faults, is_json, timestamp
from services.ingest.domain.bodies import cleaned, unmarked
from services.ingest.domain.bounds import EVENT_BYTES, KEPT_REASONS
from services.ingest.domain.calls import CALL_TYPES, NAME_LENGTH, NOTHING, decode_object
from shared.events import Reason
from shared.identifiers import ANONYMOUS, EMAIL, PHONE, USER

PREFIX = "temas."
CONTENT = ("data", "data_base64")

# A call's own fields. What else a call has, an event has in its attributes.
FIELDS = (
    "userId", "anonymousId", "previousId", "groupId", "event", "name", "category", "properties", "traits", "context",
    "integrations",
)  # fmt: skip
_OURS = frozenset({"specversion", "time", "userid", "anonymousid", "channel"})

Fields = dict[str, Any]

_members = msgspec.json.Decoder(dict[str, Raw])
_any = msgspec.json.Decoder()


def translated(event: bytes) -> Raw | tuple[Reason, ...]:
    """The call that says what `event` says, which is in the structured JSON format; or what is wrong with it."""
    try:
        return Raw(msgspec.json.encode(_call(_opened(event))))
    except _Unusable as error:
        return error.reasons


def outlined(event: bytes) -> bytes:
    """As much of the call as can be read of an `event` that is not usable: its type, its name and its message id."""
    try:
        members = _decoded(cleaned(event))
        said = [(name, _plain(raw)) for name, raw in members.items() if name in ("type", "source", "id")]
    except _Unusable:
        return b"{}"
    texts = {name: value for name, value in said if isinstance(value, str) and value}
    outline: Fields = {}
    if type := texts.get("type"):
        kind = type.removeprefix(PREFIX)
        outline = {"type": kind} if kind in CALL_TYPES else {"type": "track", "event": type}
    if {"source", "id"} <= texts.keys():
        outline["messageId"] = _message_id(texts)
    return msgspec.json.encode(outline)


class _Event(NamedTuple):
    """An event, opened: attributes as plain values, data as JSON. `opaque` are data that are none, in base64."""

    attributes: Mapping[str, Any]
    data: Raw | None
    opaque: str | None = None


class _Unusable(Exception):
    def __init__(self, *reasons: Reason) -> None:
        self.reasons = reasons[:KEPT_REASONS]


_CONTROL = rb"\u0001"
"""In place of what text may not hold, so that it shows in which attribute that was: none may hold this either."""

_TOO_DEEP = Reason("$", "too_deep", "the event is nested too deeply to be read")


# --- opening ---------------------------------------------------------------------------------------------------------


def _opened(event: bytes) -> _Event:
    if len(event) > EVENT_BYTES:
        raise _Unusable(Reason("$", "too_large", f"an event may have {EVENT_BYTES} bytes, this one has {len(event)}"))
    text = cleaned(event)
    members = _decoded(text)
    shown = members if text is event else _decoded(cleaned(event, _CONTROL))
    values = {name: _plain(raw) for name, raw in shown.items() if name not in CONTENT}
    attributes = {name: value for name, value in values.items() if value is not None}
    data, opaque, wrong = None, None, None
    try:
        data, opaque = _content(members, attributes.get("datacontenttype"))
    except _Unusable as error:
        wrong = error.reasons
    if reasons := tuple(islice(chain(_repeated(text, members), faults(attributes), wrong or ()), KEPT_REASONS)):
        raise _Unusable(*reasons)
    return _Event(attributes, data, opaque)


def _decoded(text: bytes) -> dict[str, Raw]:
    try:
        return _members.decode(text)
    except RecursionError:
        raise _Unusable(_TOO_DEEP) from None
    except msgspec.ValidationError:
        hint = "an event is a JSON object; several are a batch, application/cloudevents-batch+json"
        raise _Unusable(Reason("$", "not_an_object", hint)) from None
    except UnicodeDecodeError:
        raise _Unusable(Reason("$", "malformed_encoding", "the event is not in UTF-8")) from None
    except msgspec.DecodeError as error:
        raise _Unusable(Reason("$", "malformed_json", f"the event is no JSON: {error}")) from None


def _plain(raw: Raw) -> Any:
    try:
        return _any.decode(raw)
    except UnicodeDecodeError:
        raise _Unusable(Reason("$", "malformed_encoding", "the event is not in UTF-8")) from None
    except (ValueError, RecursionError):
        return ...  # nothing that an attribute could be: `faults` will say so


def _repeated(text: bytes, members: Mapping[str, Raw]) -> Iterator[Reason]:
    """Attributes that are there twice, of which decoding would take the last in silence."""
    written = Counter(_WRITTEN_NAME.findall(text))
    if all(times == 1 for name, times in written.items() if name.decode() in members):
        return
    for name, times in Counter(_names(text)).items():
        if times > 1 and name in members:
            yield Reason(f"$.{name[:100]}", "repeated", f"{name[:100]} is there {times} times: give it once")


_WRITTEN_NAME = re.compile(rb'"([a-z0-9_]+)"\s*:')  # in data, too


def _names(text: bytes) -> list[str]:
    """Those of all members, each as often as it is there."""
    plain = text.decode(errors="replace")
    try:
        return [name for name, _ in json.loads(plain, object_pairs_hook=list, parse_int=str, parse_float=str)]
    except RecursionError:
        raise _Unusable(_TOO_DEEP) from None
    except ValueError as error:
        raise _Unusable(Reason("$", "malformed_json", f"the event is no JSON: {error}")) from None


def _content(members: Mapping[str, Raw], declared: Any) -> tuple[Raw | None, str | None]:
    """The data as JSON, else what is in `data_base64`."""
    data, packed = (members.get(name) for name in CONTENT)
    packed_text = None if packed is None else _plain(packed)
    if packed_text is None:
        return data, None
    if data is not None and bytes(data) != b"null":
        raise _Unusable(Reason("$.data_base64", "contradiction", "give data or data_base64, not both"))
    try:
        held = base64.b64decode(packed_text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise _Unusable(Reason("$.data_base64", "wrong_type", "data_base64 must be text in base64")) from None
    return _unpacked(held, packed_text, declared)


def _unpacked(held: bytes, packed: str, declared: Any) -> tuple[Raw | None, str | None]:
    if isinstance(declared, str) and not is_json(declared):
        return None, packed
    text = unmarked(cleaned(held)).strip()
    try:
        _any.decode(text)
    except (ValueError, RecursionError) as error:
        if declared is None:
            return None, packed
        message = f"datacontenttype says that the data are JSON, and they are not: {error}"
        raise _Unusable(Reason("$.data", "malformed_json", message)) from None
    return Raw(text), None


# --- the call --------------------------------------------------------------------------------------------------------


def _call(event: _Event) -> Fields:
    kind = event.attributes["type"].removeprefix(PREFIX)
    call = _own_fields(kind, event) if kind in CALL_TYPES else _track(event)
    people, external = _people(event, call)
    call |= {"messageId": _message_id(event.attributes), **people, "context": _context(event, call, external)}
    if time := event.attributes.get("time"):
        call["timestamp"] = timestamp(time)
    return call


def _track(event: _Event) -> Fields:
    name = event.attributes["type"]
    if len(name) > NAME_LENGTH:
        raise _Unusable(Reason("$.type", "too_long", f"type may have {NAME_LENGTH} characters at most"))
    properties: Any = {}
    if event.opaque is not None:
        properties = {"data_base64": event.opaque}
    elif event.data is not None:
        properties = event.data if _is_object(event.data) else {"data": event.data}
    return {"type": "track", "event": name, "properties": properties}


def _own_fields(kind: str, event: _Event) -> Fields:
    """Data that are the fields of a call. One that no call has would be lost in silence, so it is refused."""
    if event.opaque is not None or not (event.data is None or _is_object(event.data)):
        raise _Unusable(Reason("$.data", "wrong_type", f"the data of {kind} are an object, with the call's fields"))
    fields = {} if event.data is None else _decoded(bytes(event.data))
    strange = [name for name in fields if name not in FIELDS]
    if strange:
        hint = f"the data of {kind} may have {', '.join(FIELDS)}: put what else there is into traits or properties"
        raise _Unusable(*(Reason(f"$.data.{name[:100]}", "unknown_field", hint) for name in strange))
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


def _people(event: _Event, call: Fields) -> tuple[Fields, list[Fields]]:
    """Whose event it is, in the call's own fields; and the external ids that its subject names."""
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
        raise _Unusable(_nobody(event.attributes))
    return people, [{"type": kind, "id": value}] if kind in _EXTERNAL and value.strip() else []


def _agreed(told: Mapping[str, str]) -> str | None:
    """The id that all of them name."""
    if len(set(told.values())) > 1:
        *_, last = told
        raise _Unusable(Reason(last, "contradiction", f"{' and '.join(told)} differ: name one person"))
    return next(iter(told.values()), None)


def _id(path: str, given: Any) -> str:
    value = _plain(given) if isinstance(given, Raw) else given
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _Unusable(Reason(path, "wrong_type", f"{path.removeprefix('$.')} must be text, or left out"))
    if len(text := str(value)) > NAME_LENGTH:
        raise _Unusable(Reason(path, "too_long", f"an id may have {NAME_LENGTH} characters at most"))
    return text


def _nobody(attributes: Mapping[str, Any]) -> Reason:
    message = "say whose event it is: subject user_id:… or anonymous_id:…, or the extension userid or anonymousid"
    if "subject" in attributes:
        return Reason("$.subject", "nobody", f"{message}; {attributes['subject'][:40]!r} alone names no one")
    return Reason("$.subject", "missing", message)


def _context(event: _Event, call: Fields, external: list[dict[str, str]]) -> Fields:
    """The call's own, with what else the event says of itself."""
    try:
        context = decode_object(call.get("context", NOTHING))
    except (ValueError, RecursionError):
        raise _Unusable(Reason("$.data.context", "wrong_type", "context must be an object, or left out")) from None
    context["cloudevent"] = {name: value for name, value in event.attributes.items() if name not in _OURS}
    if channel := event.attributes.get("channel"):
        context["channel"] = channel
    if external:
        given = context.get("externalIds")
        context["externalIds"] = [*(given if isinstance(given, list) else ()), *external]
    return context
