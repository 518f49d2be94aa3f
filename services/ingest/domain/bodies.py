"""From a request's bytes to its calls.

The body is what it is, whatever its `Content-Type` says; gzip shows by its first two bytes. Nothing here raises: what
can't be read is given back as a `Reason`.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import msgspec
from msgspec import Raw

from services.ingest.domain.bounds import BATCH_CALLS, SHARED_BYTES, within
from services.ingest.domain.calls import NOTHING, decode_object
from shared.events import Reason


class Parcel(msgspec.Struct, frozen=True, rename="camel"):
    """A batch as clients send it. Its `context` and `integrations` hold for each of its calls."""

    batch: list[Raw]
    sent_at: Any = None
    context: Raw = NOTHING
    integrations: Raw = NOTHING
    write_key: Any = None


class _Keyed(msgspec.Struct, frozen=True, rename="camel"):
    write_key: Any = None


_parcel = msgspec.json.Decoder(Parcel | list[Raw])
_keyed = msgspec.json.Decoder(_Keyed)


def inflated(body: bytes, encoding: str, limit: int) -> bytes | Reason:
    """`body` without its compression, if it has any. Never makes more than `limit` bytes, however small `body` is."""
    if body[:2] != b"\x1f\x8b" and encoding != "deflate":
        return body
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip and deflate both
    try:
        text = inflate.decompress(body, limit + 1)
    except zlib.error:
        return Reason("$", "malformed_encoding", "the body is not the gzip (or deflate) that it says it is")
    if len(text) > limit:
        return Reason("$", "too_large", f"the body is larger than {limit} bytes when unpacked")
    if not inflate.eof:
        return Reason("$", "malformed_encoding", "the compressed body is cut short: send it whole")
    return text


def parcel(body: bytes, *, single: bool) -> Parcel | Reason:
    """The calls in `body`: those of a batch (`{"batch": [...]}`, or the bare array), or the one call that it is."""
    read = _call if single else _batch
    found = read(body)
    if isinstance(found, Reason) and (tidy := cleaned(body)) is not body:
        return read(tidy)  # one half of a surrogate pair would have made a whole batch unreadable
    return found


def write_key(parcel: Parcel) -> object:
    """The key in a body: the batch's own, else that of its first call."""
    if parcel.write_key is not None or not parcel.batch:
        return parcel.write_key
    try:
        return _keyed.decode(parcel.batch[0]).write_key
    except ValueError:
        return None


def common(raw: Raw) -> dict[str, Any]:
    """What a batch gives to each of its calls: its `context`, or its `integrations`."""
    return decode_object(cleaned(bytes(raw)))


def _call(body: bytes) -> Parcel | Reason:
    try:
        _keyed.decode(body)
    except (ValueError, RecursionError) as error:
        return _unreadable(error, Reason("$", "not_an_object", "a call is a JSON object"))
    return Parcel([Raw(body)])


def _batch(body: bytes) -> Parcel | Reason:
    try:
        decoded = _parcel.decode(body)
    except (ValueError, RecursionError) as error:
        return _unreadable(error, Reason("$.batch", "wrong_type", f'a batch is {{"batch": [calls...]}}: {error}'))
    parcel = Parcel(decoded) if isinstance(decoded, list) else decoded
    calls = len(parcel.batch)
    if calls > BATCH_CALLS:
        return Reason("$.batch", "too_many", f"a batch may have {BATCH_CALLS} calls, this one has {calls}")
    return _unfit("context", parcel.context, calls) or _unfit("integrations", parcel.integrations, calls) or parcel


def _unfit(field: str, raw: Raw, calls: int) -> Reason | None:
    """What is wrong with something that a batch gives to each of its `calls`, if anything is."""
    text = cleaned(bytes(raw))
    if len(text) * calls > SHARED_BYTES:
        return Reason(f"$.{field}", "too_large", f"{field} is too large to go to each of {calls} calls")
    try:
        decode_object(text)
        return None if within(text) else Reason(f"$.{field}", "too_deep", f"{field} is too large or too deep")
    except (ValueError, RecursionError):
        return Reason(f"$.{field}", "wrong_type", f"{field} must be an object, or left out")


def _unreadable(error: Exception, otherwise: Reason) -> Reason:
    if isinstance(error, RecursionError):
        return Reason("$", "too_deep", "the body is nested too deeply to be read")
    if isinstance(error, UnicodeDecodeError):
        return Reason("$", "malformed_encoding", "the body is not in UTF-8")
    if isinstance(error, msgspec.ValidationError):
        return otherwise
    return Reason("$", "malformed_json", f"the body is no JSON: {error}")


# What JSON can write and PostgreSQL, UTF-8 and msgspec can't: \u0000, and half of a surrogate pair. Escaped backslashes
# and whole pairs are matched too, and kept, so that a match never begins in their middle.
_HALF = rb"\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})"
_SUSPECT = re.compile(_HALF)
_UNWRITABLE = re.compile(
    rb"((?:\\\\)+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|" + _HALF,
)


def cleaned(text: bytes) -> bytes:
    """JSON `text` with U+FFFD in place of what can't be written; `text` itself where there is nothing of the kind."""
    if b"\\" not in text or not _SUSPECT.search(text):
        return text
    return _UNWRITABLE.sub(lambda found: found[1] or rb"\ufffd", text)
