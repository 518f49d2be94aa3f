"""A CloudEvent in the structured JSON format (CloudEvents 1.0.2, "JSON Event Format"), opened: attributes and data.

What is wrong with it as an event is found here; what its call would lack is found in `cloudevents`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from services.ingest.domain.attributes import faults, is_json
from services.ingest.domain.bodies import cleaned, unmarked
from services.ingest.domain.bounds import EVENT_BYTES, KEPT_REASONS
from shared.events import Reason

CONTENT = ("data", "data_base64")

_members = msgspec.json.Decoder(dict[str, Raw])
_any = msgspec.json.Decoder()


class Event(NamedTuple):
    """An event, opened: attributes as plain values, data as JSON. `opaque` are data that are none, in base64."""

    attributes: Mapping[str, Any]
    data: Raw | None
    opaque: str | None = None


class Unusable(Exception):
    """An event that can't become a call, with the reasons."""

    def __init__(self, *reasons: Reason) -> None:
        self.reasons = reasons[:KEPT_REASONS]


_CONTROL = rb"\u0001"
"""In place of what text may not hold, so that it shows in which attribute that was: none may hold this either."""

_TOO_DEEP = Reason("$", "too_deep", "the event is nested too deeply to be read")


def opened(event: bytes) -> Event:
    """Raises Unusable."""
    if len(event) > EVENT_BYTES:
        raise Unusable(Reason("$", "too_large", f"an event may have {EVENT_BYTES} bytes, this one has {len(event)}"))
    text = cleaned(event)
    members = decoded(text)
    shown = members if text is event else decoded(cleaned(event, _CONTROL))
    values = {name: plain(raw) for name, raw in shown.items() if name not in CONTENT}
    attributes = {name: value for name, value in values.items() if value is not None}
    data, opaque, wrong = None, None, None
    try:
        data, opaque = _content(members, attributes.get("datacontenttype"))
    except Unusable as error:
        wrong = error.reasons
    if reasons := tuple(islice(chain(_repeated(text, members), faults(attributes), wrong or ()), KEPT_REASONS)):
        raise Unusable(*reasons)
    return Event(attributes, data, opaque)


def decoded(text: bytes) -> dict[str, Raw]:
    """The members of an object. Raises Unusable where `text` is none."""
    try:
        return _members.decode(text)
    except RecursionError:
        raise Unusable(_TOO_DEEP) from None
    except msgspec.ValidationError:
        hint = "an event is a JSON object; several are a batch, application/cloudevents-batch+json"
        raise Unusable(Reason("$", "not_an_object", hint)) from None
    except UnicodeDecodeError:
        raise Unusable(Reason("$", "malformed_encoding", "the event is not in UTF-8")) from None
    except msgspec.DecodeError as error:
        raise Unusable(Reason("$", "malformed_json", f"the event is no JSON: {error}")) from None


def plain(raw: Raw) -> Any:
    """The value of a member; `...` where it is nothing that an attribute could be. Raises Unusable."""
    try:
        return _any.decode(raw)
    except UnicodeDecodeError:
        raise Unusable(Reason("$", "malformed_encoding", "the event is not in UTF-8")) from None
    except (ValueError, RecursionError):
        return ...  # `faults` will say so


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
        raise Unusable(_TOO_DEEP) from None
    except ValueError as error:
        raise Unusable(Reason("$", "malformed_json", f"the event is no JSON: {error}")) from None


def _content(members: Mapping[str, Raw], declared: Any) -> tuple[Raw | None, str | None]:
    """The data as JSON, else what is in `data_base64`."""
    data, packed = (members.get(name) for name in CONTENT)
    packed_text = None if packed is None else plain(packed)
    if packed_text is None:
        return data, None
    if data is not None and bytes(data) != b"null":
        raise Unusable(Reason("$.data_base64", "contradiction", "give data or data_base64, not both"))
    try:
        held = base64.b64decode(packed_text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Unusable(Reason("$.data_base64", "wrong_type", "data_base64 must be text in base64")) from None
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
        raise Unusable(Reason("$.data", "malformed_json", message)) from None
    return Raw(text), None
