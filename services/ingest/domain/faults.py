"""What is wrong with a call that can't be used: its reasons, each with the field's path and how to mend it.

Only calls that have been found unusable come here, so it takes its time and looks at one field after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import msgspec
from msgspec import Raw

from services.ingest.domain.bounds import DEPTH, EVENT_BYTES, KEPT_REASONS, deeper, enormous
from services.ingest.domain.calls import CALL_TYPES, NAME_LENGTH, Id, Name, Sent, decode_call, decode_object, named
from services.ingest.domain.moments import moment
from services.ingest.domain.paths import json_path
from shared.events import Reason

_TEXTS = ("type", "event", "name", "category")
_IDS = ("messageId", "userId", "anonymousId", "previousId", "groupId")
_OBJECTS = ("properties", "traits", "context", "integrations")
_TIMES = ("timestamp", "originalTimestamp")

_text = msgspec.json.Decoder(Name | None)
_id = msgspec.json.Decoder(Id)
_any = msgspec.json.Decoder()
_fields = msgspec.json.Decoder(dict[str, Raw])


def faults(text: bytes, kind: str | None) -> tuple[Reason, ...]:
    """What is wrong with the call `text`, sent as a call of this `kind` (None: it says so itself). Never empty."""
    found = tuple(_form(text)) or tuple(islice(_content(text, kind), KEPT_REASONS))
    return found or (Reason("$", "unusable", "this call can't be read, and we can't say why: please tell us"),)


def lacking(kind: str | None, call: Sent) -> Iterator[Reason]:
    """What a call of this kind needs and has not."""
    if kind not in CALL_TYPES:
        yield Reason("$.type", "unknown_type", f"type must be one of {_KINDS}; got {_shown(kind)}")
    user, anonymous = named(call.user_id), named(call.anonymous_id)
    if user is None and (anonymous is None or kind == "alias"):
        yield _missing("userId", _NEEDS_NEW_ID if kind == "alias" else _NEEDS_ID)
    if kind == "alias" and anonymous is None and named(call.previous_id) is None:
        yield _missing("previousId", "an alias call needs previousId, the id that held until now")
    if kind == "track" and not call.event:
        yield _missing("event", "a track call needs event, the name of what happened, such as 'Order Completed'")
    if kind == "group" and named(call.group_id) is None:
        yield _missing("groupId", "a group call needs groupId")


_KINDS = ", ".join(sorted(CALL_TYPES))
_NEEDS_ID = "give userId or anonymousId, so that it is known whose call this is"
_NEEDS_NEW_ID = "an alias call needs userId, the id that holds from now on"


def _form(text: bytes) -> Iterator[Reason]:
    """What keeps a call from being looked at field by field."""
    if len(text) > EVENT_BYTES:
        yield Reason("$", "too_large", f"a call may have {EVENT_BYTES} bytes, this one has {len(text)}: send less")
        return
    try:
        text.decode()
        decoded = _decoded(text)
    except UnicodeDecodeError:
        yield Reason("$", "malformed_encoding", "the call is not in UTF-8")
    except RecursionError:
        yield _TOO_DEEP
    except ValueError as error:
        yield Reason("$", "malformed_json", f"the call is no JSON: {error}")
    else:
        if not isinstance(decoded, dict):
            yield Reason("$", "not_an_object", "a call is a JSON object")
        elif deeper(decoded, DEPTH):
            yield _TOO_DEEP


_TOO_DEEP = Reason("$", "too_deep", f"a call may be nested {DEPTH} levels deep: send what is deeper as text")


def _decoded(text: bytes) -> object:
    """What `text` holds. Where a number in it is out of range all are text: looking at the fields tells which it is."""
    try:
        return _any.decode(text)
    except msgspec.ValidationError:
        _fields.decode(text)  # the other reader takes NaN for JSON
        return json.loads(text, parse_int=str, parse_float=str)


def _content(text: bytes, kind: str | None) -> Iterator[Reason]:
    fields = _fields.decode(text)
    wrong = {name: found for name, raw in fields.items() if (found := list(islice(_wrong(name, raw), KEPT_REASONS)))}
    yield from chain.from_iterable(wrong.values())
    right = {name: raw for name, raw in fields.items() if name not in wrong}
    call = decode_call(msgspec.json.encode(right))
    for reason in lacking(kind or call.type, call):
        if reason.path.removeprefix("$.") not in wrong:
            yield reason


def _wrong(name: str, raw: Raw) -> Iterator[Reason]:
    """What is wrong with this one field, whatever the others say."""
    if name in _TEXTS and not _reads(_text, raw):
        yield _unnamed(name, "text", raw)
    elif name in _IDS and not _reads(_id, raw):
        yield _unnamed(name, "text (or a whole number)", raw)
    elif name in _OBJECTS:
        yield from _wrong_object(name, raw)
    elif name in _TIMES and not _is_moment(raw):
        yield Reason(f"$.{name}", "invalid_timestamp", f"{name} must be a moment such as 2026-03-01T10:00:00.000Z")
    elif not _calculable(raw):
        yield _no_number(name)


def _wrong_object(name: str, raw: Raw) -> Iterator[Reason]:
    try:
        held = decode_object(raw)
    except ValueError:
        if not bytes(raw).lstrip().startswith(b"{"):
            yield _mistyped(name, "an object")
            return
        yield from (_no_number(name, key) for key, each in _fields.decode(raw).items() if not _reads(_any, each))
    else:
        yield from (_no_number(name, key) for key, each in held.items() if enormous(each))


def _reads(decoder: msgspec.json.Decoder[Any], raw: Raw) -> bool:
    try:
        decoder.decode(raw)
    except ValueError:
        return False
    return True


def _calculable(raw: Raw) -> bool:
    """Whether all numbers in it can be calculated with."""
    return _reads(_any, raw) and not enormous(_any.decode(raw))


def _is_moment(raw: Raw) -> bool:
    try:
        value = _any.decode(raw)
        return value is None or value == "" or bool(moment(value))
    except ValueError:
        return False


def _missing(field: str, sentence: str) -> Reason:
    return Reason(f"$.{field}", "missing", sentence)


def _unnamed(field: str, wanted: str, raw: Raw) -> Reason:
    if bytes(raw).startswith(b'"'):
        return Reason(f"$.{field}", "too_long", f"{field} may have {NAME_LENGTH} characters at most")
    return _mistyped(field, wanted)


def _mistyped(field: str, wanted: str) -> Reason:
    return Reason(f"$.{field}", "wrong_type", f"{field} must be {wanted}, or left out")


def _no_number(*steps: str) -> Reason:
    path = json_path("$", steps)
    sentence = f"{path.removeprefix('$.')} holds a number that is too large: send it as text"
    return Reason(path, "number_out_of_range", sentence)


def _shown(value: str | None) -> str:
    return "nothing" if value is None else repr(value[:40])
