"""From a request's bytes to its calls.

The body is what it is, whatever its `Content-Type` says. Nothing here raises: what can't be read is given back as a
`Reason`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

from services.ingest.domain import torn
from services.ingest.domain.bounds import BATCH_CALLS, EVENT_BYTES, SHARED_BYTES, within
from services.ingest.domain.calls import NOTHING, decode_object
from services.ingest.domain.steps import Steps
from shared.events import Reason


class Parcel(msgspec.Struct, frozen=True):
    """The calls of one request. What the batch says of itself holds for each of its calls.

    A call that can't even be told from what is around it stands here as the reasons why. In another `form`, each is as
    its client wrote it, still to be translated (cloudevents.py). `originals`: the bytes of each as they came, where
    these are others. `inside`: the JSON path of the list that the calls stand in; None where the one call is the whole
    body.
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


class Reader(NamedTuple):
    """The ways to read the calls of a request from its body; the address tells which of them it is.

    `quick` gives None for whatever is not plainly right, and is not shown more than a small body. `steps` reads all
    that can be read. `keys` gives the texts that may be a write key in the body, from its first bytes.
    """

    quick: Callable[[bytes], Parcel | None]
    steps: Callable[[bytes], Steps[Parcel | Reason]]
    keys: Callable[[bytes], Iterable[str]]


class _Batch(msgspec.Struct, frozen=True, rename="camel"):
    """A batch as clients of the tracking API send it. What else than calls is in it stays unread until its size is
    known.
    """

    batch: list[Raw]
    sent_at: Raw = NOTHING
    context: Raw = NOTHING
    integrations: Raw = NOTHING
    write_key: Raw = NOTHING


class _Keyed(msgspec.Struct, frozen=True, rename="camel"):
    write_key: Raw = NOTHING


_batches = msgspec.json.Decoder(_Batch | list[Raw])
_object = msgspec.json.Decoder(_Batch)
_keyed = msgspec.json.Decoder(_Keyed)
_any = msgspec.json.Decoder()


def single(body: bytes) -> Parcel | Reason:
    """The one call that `body` is."""
    body = unmarked(body)
    found = _call(body)
    if isinstance(found, Reason) and (tidy := cleaned(body)) is not body:
        found = _call(tidy)
    return _encoded(found, body)


def batch(body: bytes) -> Steps[Parcel | Reason]:
    """The calls of a batch: `{"batch": [...]}`, or the bare array."""
    body = unmarked(body)
    return _encoded((yield from _batch(body)), body)


def _encoded(found: Parcel | Reason, body: bytes) -> Parcel | Reason:
    if isinstance(found, Reason) and b"\0" in body[:4]:
        return Reason("$", "malformed_encoding", "the body is not in UTF-8: this looks like UTF-16 or UTF-32")
    return found


def unmarked(body: bytes) -> bytes:
    """`body` without the mark that Windows sets before UTF-8: it says nothing, and JSON does not begin like that."""
    return body.removeprefix(codecs.BOM_UTF8)


def common(raw: Raw) -> dict[str, Any]:
    """Give what a batch adds to each of its calls: its `context`, or its `integrations`."""
    return decode_object(cleaned(bytes(raw)))


def _call(body: bytes) -> Parcel | Reason:
    if len(body) > EVENT_BYTES:  # which is all that will be said of it, whatever is in it
        return Parcel([Raw(body)])
    try:
        _keyed.decode(body)
    except (ValueError, RecursionError) as error:
        return _unreadable(error, Reason("$", "not_an_object", "a call is a JSON object"))
    return Parcel([Raw(body)])


def _batch(body: bytes) -> Steps[Parcel | Reason]:
    try:
        return _parcel((yield from torn.whole_or_torn(_batches.decode, _pieces, body)))
    except torn.TooMany:
        return Reason("$.batch", "too_many", f"a batch may have {BATCH_CALLS} calls, this one has more")
    except (ValueError, RecursionError) as error:
        return _unreadable(error, Reason("$.batch", "wrong_type", f'a batch is {{"batch": [calls...]}}: {error}'))


def _parcel(decoded: _Batch | list[Raw]) -> Parcel | Reason:
    sent, inside = (_Batch(decoded), "$") if isinstance(decoded, list) else (decoded, "$.batch")
    calls = len(sent.batch)
    if calls > BATCH_CALLS:
        return Reason("$.batch", "too_many", f"a batch may have {BATCH_CALLS} calls, this one has {calls}")
    unfit = _unfit("context", sent.context, calls) or _unfit("integrations", sent.integrations, calls)
    return unfit or Parcel(
        sent.batch, _plain(sent.sent_at), sent.context, sent.integrations, write_key=_plain(sent.write_key),
        inside=inside,
    )  # fmt: skip


def _quick(body: bytes) -> Parcel | None:
    try:
        parcel = _parcel(_batches.decode(body))
    except (ValueError, RecursionError):
        return None
    return parcel if isinstance(parcel, Parcel) else None


def _quick_call(body: bytes) -> Parcel | None:
    found = _call(body)
    return found if isinstance(found, Parcel) else None


def _pieces(body: bytes) -> Steps[_Batch | list[Raw]]:
    if body.lstrip().startswith(b"["):
        return (yield from torn.items(body))
    held = yield from torn.members(body)
    calls = held.pop("batch", None)
    if not isinstance(calls, list):
        raise ValueError("there is no batch in it")  # noqa: TRY004 - as all that is no batch
    rest = {name: Raw(tidied(bytes(raw))) for name, raw in held.items() if name in _REST and isinstance(raw, Raw)}
    return msgspec.structs.replace(_object.decode(msgspec.json.encode({**rest, "batch": ()})), batch=calls)


_REST = ("sentAt", "context", "integrations", "writeKey")


def _unfit(field: str, raw: Raw, calls: int) -> Reason | None:
    """Give what is wrong with something that a batch adds to each of its `calls`, if anything is."""
    if raw is NOTHING:
        return None
    text = bytes(raw)
    if len(text) * calls > SHARED_BYTES:
        return Reason(f"$.{field}", "too_large", f"{field} is too large to go to each of {calls} calls")
    try:
        if not within(text := tidied(text)):
            return Reason(f"$.{field}", "too_deep", f"{field} is too large or too deep")
        decode_object(text)
    except (ValueError, RecursionError):
        return Reason(f"$.{field}", "wrong_type", f"{field} must be an object, or left out")
    return None


def _plain(raw: Raw) -> Any:
    """A value that is short where it is right; None where it is not."""
    if raw is NOTHING or len(text := bytes(raw)) > KEY_LENGTH:
        return None
    try:
        return _any.decode(cleaned(text))
    except (ValueError, RecursionError):
        return None


def _unreadable(error: Exception, otherwise: Reason) -> Reason:
    if isinstance(error, RecursionError):
        return Reason("$", "too_deep", "the body is nested too deeply to be read")
    if isinstance(error, UnicodeDecodeError):
        return Reason("$", "malformed_encoding", "the body is not in UTF-8")
    if isinstance(error, msgspec.ValidationError):
        return otherwise
    return Reason("$", "malformed_json", f"the body is no JSON: {error}")


# --- the write key ---------------------------------------------------------------------------------------------------

KEY_BYTES = 512 * 1024
"""Of a body, in which its key is sought. A call has 32 KB, a beacon 64; the SDKs of phones send batches of 500 KB,
packed, and write their key behind the calls."""

KEY_LENGTH = 600
"""Bytes of a key, as JSON."""

SOUGHT = 4
"""Places that may have the key: so many from the front, in calls, and so many from the back, behind them."""

_KEY_NAME = b'"writeKey"'
_KEY = re.compile(rb'"writeKey"\s*:\s*("(?:[^"\\]|\\.){1,%d}")' % KEY_LENGTH)


def keys(head: bytes) -> Iterator[str]:
    """Texts that `head`, the first bytes of a body, gives as `writeKey` somewhere: one of them may be its key.

    Nothing is read that is not near one of them, so that this costs as good as nothing, whatever is sent.
    """
    for found in filter(None, (_KEY.match(head, place) for place in _places(head))):
        try:
            yield msgspec.json.decode(found[1], type=str)
        except ValueError:
            continue


def _places(head: bytes) -> list[int]:
    """Give the positions of the name: the first few, and the last few."""
    front, back = list[int](), list[int]()
    at = head.find(_KEY_NAME)
    while at >= 0 and len(front) < SOUGHT:
        front.append(at)
        at = head.find(_KEY_NAME, at + 1)
    at = head.rfind(_KEY_NAME)
    while at >= 0 and len(back) < SOUGHT:
        back.append(at)
        at = head.rfind(_KEY_NAME, 0, at)
    return sorted({*front, *back})


def write_key(parcel: Parcel) -> object:
    """The key in a body: the batch's own, else that of its first call."""
    if parcel.write_key is not None or not parcel.batch or parcel.form != "call":
        return parcel.write_key
    first = parcel.batch[0]
    try:
        return _plain(_keyed.decode(tidied(bytes(first))).write_key) if isinstance(first, Raw) else None
    except (ValueError, RecursionError):
        return None


def _single_steps(body: bytes) -> Steps[Parcel | Reason]:
    yield
    return single(body)


CALL = Reader(_quick_call, _single_steps, keys)
BATCH = Reader(_quick, batch, keys)


# --- what can't be written -------------------------------------------------------------------------------------------

# What JSON can write and PostgreSQL, UTF-8 and msgspec can't: \u0000, and half of a surrogate pair.
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})")
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_UNWRITABLE = re.compile(rb"\\u0000|%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_BACKSLASH, _HIDDEN = rb"\\", b"\0\0"


def cleaned(text: bytes, instead: bytes = rb"\ufffd") -> bytes:
    """JSON `text` with U+FFFD in place of what can't be written; `text` itself where there is nothing of the kind.

    Neither is longer than the other. Backslashes that are escaped themselves are hidden meanwhile, so that no escape
    begins in their middle. A text with a zero byte, which would be hidden among them, is no JSON, cleaned or not.
    """
    if b"\\" not in text or not _SUSPECT.search(text) or b"\0" in text:
        return text
    hidden = text.replace(_BACKSLASH, _HIDDEN)
    return _UNWRITABLE.sub(instead.replace(b"\\", rb"\\"), hidden).replace(_HIDDEN, _BACKSLASH)


def tidied(text: bytes) -> bytes:
    """`text` cleaned, where it is no longer than a call may be: what is longer is not used, whatever it holds."""
    return text if len(text) > EVENT_BYTES else cleaned(text)
