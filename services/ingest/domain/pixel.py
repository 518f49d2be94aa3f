"""Pixels: a call in the address of an image, for places where no script runs (e-mails, AMP pages, receipts).

`data` is the call as JSON in base64 (either alphabet, padding or not), as Segment's pixel takes it. Or each field
stands by itself, as RudderStack's takes them: `userId=ayse&event=Email%20Opened&properties.subject=Spring`. A dot leads
into `properties`, `traits`, `context` and `integrations`; each of these may also be given whole, as a JSON object. All
else is text: what looks like a number may be a code, and amounts are read from text as well.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from services.ingest.domain.bodies import Parcel, Reader, single, write_key
from services.ingest.domain.bounds import DEPTH, EVENT_BYTES
from services.ingest.domain.paths import PATH_LENGTH, cut
from services.ingest.domain.steps import Steps
from shared.events import Reason

QUERY_BYTES = EVENT_BYTES * 3 // 2
"""Of an address, behind its question mark. A whole call fits in base64; most proxies let through a good deal less."""

FIELDS = 500
"""Of one address."""

OBJECTS = ("properties", "traits", "context", "integrations")


def _keys(query: bytes) -> Iterator[str]:
    """The key that the call in `query` has, which is read for it: an address is no longer than a call."""
    if isinstance(key := write_key(read(query)), str):
        yield key


def _steps(query: bytes) -> Steps[Parcel | Reason]:
    yield
    return read(query)


def read(query: bytes) -> Parcel:
    """The one call in the `query` of an address; as what is wrong with it where it can't be read."""
    try:
        call = _call(_fields(query))
    except _Unreadable as error:
        return Parcel([(error.reason,)], originals=[query])
    parcel = single(call)
    return parcel if isinstance(parcel, Parcel) else Parcel([(parcel,)], originals=[call])


PIXEL = Reader(read, _steps, _keys)


class _Unreadable(Exception):
    def __init__(self, path: str, code: str, message: str) -> None:
        self.reason = Reason(path, code, message)


def _fields(query: bytes) -> dict[str, str]:
    if len(query) > QUERY_BYTES:
        raise _Unreadable("$", "too_large", f"the address may have {QUERY_BYTES} bytes behind its ?: post the call")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise _Unreadable("$", "malformed_encoding", "the address is not percent-encoded UTF-8") from None
    except ValueError:
        raise _Unreadable("$", "too_many", f"an address may have {FIELDS} fields: post the call") from None
    repeated = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if repeated:
        raise _Unreadable(f"$.{repeated[0][:100]}", "repeated", f"{repeated[0][:100]} is there twice: give it once")
    return dict(pairs)


def _call(fields: dict[str, str]) -> bytes:
    """The call as JSON."""
    if "data" in fields:
        return _unpacked(fields["data"])
    fields.pop("writeKey", None)
    call: dict[str, Any] = {}
    for name, value in sorted(fields.items()):  # what is whole comes before its parts
        _put(call, name, value)
    return msgspec.json.encode(call)


def _unpacked(data: str) -> bytes:
    text = data.strip()
    if text.startswith("{"):
        return text.encode()
    bare = text.replace(" ", "+").translate(_STANDARD).rstrip("=")  # an unescaped + arrives as a space
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _Unreadable("$.data", "malformed_encoding", "data must be the call's JSON in base64") from None


_STANDARD = str.maketrans("-_", "+/")


def _put(call: dict[str, Any], name: str, value: str) -> None:
    first, *way = name.split(".")
    if first not in OBJECTS:
        call[name] = _unquoted(value)
    elif not way:
        call[first] = _object(first, value)
    else:
        _lead(call, [first, *way], value)


def _lead(call: dict[str, Any], way: Sequence[str], value: str) -> None:
    """Put `value` at the end of `way`, through objects."""
    if len(way) > DEPTH:
        raise _Unreadable(f"$.{way[0]}", "too_deep", f"a call may be nested {DEPTH} levels deep")
    held = call
    for place, step in enumerate(way[:-1], start=1):
        held = held.setdefault(step, {})
        if not isinstance(held, dict):
            path = cut(".".join(way[:place]), PATH_LENGTH)
            raise _Unreadable(f"$.{path}", "contradiction", f"{path} is a value and has parts: give one of them")
    held[way[-1]] = value


def _object(name: str, value: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value or "{}", type=dict[str, Any])
    except (ValueError, RecursionError):
        raise _Unreadable(f"$.{name}", "wrong_type", f"{name} must be an object, as JSON") from None


def _unquoted(value: str) -> str:
    """Without the quotes that AMP sets around its client id."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
