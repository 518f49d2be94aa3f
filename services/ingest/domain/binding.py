"""CloudEvents over HTTP (HTTP Protocol Binding 1.0.2): from a request to its events, each as a call or with reasons.

Here `Content-Type` decides, as the binding demands: `application/cloudevents+json` is one event, and
`application/cloudevents-batch+json` a list of them; anything else is the type of one event's data, whose attributes are
headers. Events that can't be used are kept in the structured JSON format, whichever way they came.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw

from services.ingest.domain import torn
from services.ingest.domain.attributes import is_json, media_type
from services.ingest.domain.bodies import Parcel, cleaned, unmarked
from services.ingest.domain.bounds import BATCH_CALLS
from services.ingest.domain.cloudevents import translated
from services.ingest.domain.structured import CONTENT
from shared.events import Reason

Headers = Iterable[tuple[bytes, bytes]]
"""As servers hand them over: names in lower case, one pair for each line."""

STRUCTURED = "application/cloudevents"
BATCHED = "application/cloudevents-batch"
PREFIX = b"ce-"

_events = msgspec.json.Decoder(list[Raw])


def reader(headers: Headers) -> Callable[[bytes], Parcel]:
    """How the body of a request with these `headers` is read."""
    headers = list(headers)
    declared = media_type(_content_type(headers))
    if not declared.startswith(STRUCTURED):
        return lambda body: binary(headers, body)
    formats = {f"{STRUCTURED}+json": structured, f"{BATCHED}+json": batched}
    return formats.get(declared) or (
        lambda body: _refused(body, "unknown_format", f"{declared[:80]} is not read here: use JSON")
    )


def structured(body: bytes) -> Parcel:
    """The one event that `body` is."""
    event = unmarked(body)
    return _parcel([(translated(event), event)])


def batched(body: bytes) -> Parcel:
    """The events in the JSON array that `body` is; one that is wrong is refused by itself."""
    try:
        events = torn.whole_or_torn(_events.decode, torn.items, unmarked(body))
    except (ValueError, RecursionError) as error:
        code = "wrong_type" if isinstance(error, msgspec.ValidationError) else "malformed_json"
        return _refused(body, code, f"a batch is a JSON array of events: {error}")
    if len(events) > BATCH_CALLS:
        return _refused(body, "too_many", f"a batch may have {BATCH_CALLS} events, this one has {len(events)}")
    return _parcel([(translated(bytes(event)), bytes(event)) for event in events], inside="$")


def binary(headers: Headers, body: bytes) -> Parcel:
    """The event whose data are `body`, and whose attributes are the headers that begin with `ce-`."""
    headers = list(headers)
    given = [(name.removeprefix(PREFIX).decode("latin-1"), value) for name, value in headers if name.startswith(PREFIX)]
    if not given:
        hint = "no header begins with ce-; an event that is all in the body has the type application/cloudevents+json"
        return _refused(body, "missing", hint)
    attributes = {name: _text(value) for name, value in given if name not in CONTENT}
    declared = _content_type(headers)
    members = {**attributes, **({"datacontenttype": declared} if declared else {}), **_data(declared, body)}
    event = msgspec.json.encode(members)
    return _parcel([(tuple(_faults(given)) or translated(event), event)])


def _parcel(events: Sequence[tuple[Raw | tuple[Reason, ...], bytes]], inside: str | None = None) -> Parcel:
    batch, originals = [call for call, _ in events], [original for _, original in events]
    return Parcel(batch, form="cloudevent", originals=originals, inside=inside)


def _refused(body: bytes, code: str, message: str) -> Parcel:
    return _parcel([((Reason("$", code, message),), body)])


def _content_type(headers: Headers) -> str:
    return next((value.decode("latin-1").strip() for name, value in headers if name == b"content-type"), "")


# --- headers ---------------------------------------------------------------------------------------------------------

_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def _decoded(value: bytes) -> bytes:
    """Without its quotes (RFC 7230, 3.2.6), which older senders set, and then without its percent signs, once."""
    unquoted = _QUOTED.sub(lambda quoted: _ESCAPED.sub(rb"\1", quoted[1]), value.strip())
    return unquote_to_bytes(unquoted)


def _text(value: bytes) -> str:
    """The value; as it came where it is not in UTF-8."""
    try:
        return _decoded(value).decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _faults(given: Sequence[tuple[str, bytes]]) -> Iterator[Reason]:
    """What is wrong with headers as such; what is wrong with attributes is found with them."""
    for name, times in Counter(name for name, _ in given).items():
        if times > 1:
            yield Reason(f"$.{name}", "repeated", f"the header ce-{name} is there {times} times: give it once")
        if name in (*CONTENT, "datacontenttype"):
            yield Reason(f"$.{name}", "invalid_name", f"ce-{name} can't be: data are the body, their type Content-Type")
    for name, value in given:
        try:
            _decoded(value).decode()
        except UnicodeDecodeError:
            yield Reason(f"$.{name}", "malformed_encoding", f"the header ce-{name} is not percent-encoded UTF-8")


# --- data ------------------------------------------------------------------------------------------------------------

_TEXT = re.compile(r"text/.*|.*[/+](xml|yaml)|application/x-www-form-urlencoded")
_CHARSET = re.compile(r';\s*charset="?([\w\-]+)', re.IGNORECASE)
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})


def _data(declared: str, body: bytes) -> dict[str, object]:
    """`body` as the member that it is in the JSON format."""
    if not body:
        return {}
    if _is_json(declared, text := unmarked(body)):
        return {"data": Raw(text.strip())}
    if _TEXT.fullmatch(media_type(declared)) and (written := _read(declared, body)) is not None:
        return {"data": written}
    return {"data_base64": base64.b64encode(body).decode()}


def _is_json(declared: str, body: bytes) -> bool:
    """Without a type it is JSON where it can be read as such."""
    try:
        msgspec.json.decode(cleaned(body))
    except (ValueError, RecursionError):
        return False
    return not declared or is_json(declared)


def _read(declared: str, body: bytes) -> str | None:
    charset = _CHARSET.search(declared)
    name = charset[1].lower() if charset else "utf-8"
    try:
        return body.decode(name) if name in _CHARSETS else None
    except UnicodeDecodeError:
        return None
