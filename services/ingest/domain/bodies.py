"""From a request's bytes to its calls.

The body is what it is, whatever its `Content-Type` says. Nothing here raises: what can't be read is given back as a
`Reason`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

from services.ingest.domain import torn
from services.ingest.domain.bounds import BATCH_CALLS, SHARED_BYTES, within
from services.ingest.domain.calls import NOTHING, decode_object
from shared.events import Reason


class Parcel(msgspec.Struct, frozen=True):
    """The calls of one request. What the batch says of itself holds for each of its calls.

    A call that was written in another `form` stands here translated, or as the reasons why it can't be; `originals`
    has the bytes of each as they came. Calls of the tracking API are their own originals. `inside`: the JSON path of
    the list that the calls stand in; None where the one call is the whole body.
    """

    batch: Sequence[Raw | tuple[Reason, ...]]
    sent_at: Any = None
    context: Raw = NOTHING
    integrations: Raw = NOTHING
    write_key: Any = None
    form: Literal["call", "cloudevent"] = "call"
    originals: Sequence[bytes] = ()
    inside: str | None = None

    def path(self, place: int) -> str:
        """The JSON path of the call at `place`."""
        return "$" if self.inside is None else f"{self.inside}[{place}]"

    def original(self, place: int) -> bytes:
        """The bytes of the call at `place`, as they came."""
        if self.originals:
            return self.originals[place]
        call = self.batch[place]
        return bytes(call) if isinstance(call, Raw) else b""


class _Batch(msgspec.Struct, frozen=True, rename="camel"):
    """A batch as clients of the tracking API send it."""

    batch: list[Raw]
    sent_at: Any = None
    context: Raw = NOTHING
    integrations: Raw = NOTHING
    write_key: Any = None


class _Keyed(msgspec.Struct, frozen=True, rename="camel"):
    write_key: Any = None


_batches = msgspec.json.Decoder(_Batch | list[Raw])
_object = msgspec.json.Decoder(_Batch)
_keyed = msgspec.json.Decoder(_Keyed)


Read = Callable[[bytes], Parcel | Reason]
"""How the calls of a request are read from its body; the address tells which of these it is."""


def single(body: bytes) -> Parcel | Reason:
    """The one call that `body` is."""
    return _tolerant(_call, body)


def batch(body: bytes) -> Parcel | Reason:
    """The calls of a batch: `{"batch": [...]}`, or the bare array."""
    return _tolerant(_batch, body)


def _tolerant(read: Read, body: bytes) -> Parcel | Reason:
    body = unmarked(body)
    found = read(body)
    if isinstance(found, Reason) and (tidy := cleaned(body)) is not body:
        found = read(tidy)  # one half of a surrogate pair would have made a whole batch unreadable
    if isinstance(found, Reason) and b"\0" in body[:4]:
        return Reason("$", "malformed_encoding", "the body is not in UTF-8: this looks like UTF-16 or UTF-32")
    return found


def unmarked(body: bytes) -> bytes:
    """`body` without the mark that Windows sets before UTF-8: it says nothing, and JSON does not begin like that."""
    return body.removeprefix(codecs.BOM_UTF8)


def write_key(parcel: Parcel) -> object:
    """The key in a body: the batch's own, else that of its first call."""
    if parcel.write_key is not None or not parcel.batch:
        return parcel.write_key
    first = parcel.batch[0]
    try:
        return _keyed.decode(cleaned(bytes(first))).write_key if isinstance(first, Raw) else None
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
        decoded = torn.whole_or_torn(_batches.decode, _pieces, body)
    except (ValueError, RecursionError) as error:
        return _unreadable(error, Reason("$.batch", "wrong_type", f'a batch is {{"batch": [calls...]}}: {error}'))
    sent, inside = (_Batch(decoded), "$") if isinstance(decoded, list) else (decoded, "$.batch")
    calls = len(sent.batch)
    if calls > BATCH_CALLS:
        return Reason("$.batch", "too_many", f"a batch may have {BATCH_CALLS} calls, this one has {calls}")
    unfit = _unfit("context", sent.context, calls) or _unfit("integrations", sent.integrations, calls)
    return unfit or Parcel(
        sent.batch, sent.sent_at, sent.context, sent.integrations, write_key=sent.write_key, inside=inside
    )


def _pieces(body: bytes) -> _Batch | list[Raw]:
    if body.lstrip().startswith(b"["):
        return torn.items(body)
    held = torn.members(body)
    calls = held.get("batch")
    if not isinstance(calls, list):
        raise ValueError("there is no batch in it")  # noqa: TRY004 - as all that is no batch
    rest: _Batch = _object.decode(msgspec.json.encode({**held, "batch": ()}))
    return msgspec.structs.replace(rest, batch=calls)


def _unfit(field: str, raw: Raw, calls: int) -> Reason | None:
    """What is wrong with something that a batch gives to each of its `calls`, if anything is."""
    if raw is NOTHING:
        return None
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


def cleaned(text: bytes, instead: bytes = rb"\ufffd") -> bytes:
    """JSON `text` with U+FFFD in place of what can't be written; `text` itself where there is nothing of the kind."""
    if b"\\" not in text or not _SUSPECT.search(text):
        return text
    return _UNWRITABLE.sub(lambda found: found[1] or instead, text)
