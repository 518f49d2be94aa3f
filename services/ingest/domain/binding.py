"""CloudEvents over HTTP (HTTP Protocol Binding 1.0.2): from a request to its events, each as a call or with reasons.

Here `Content-Type` decides, as the binding demands: `application/cloudevents+json` is one event, and
`application/cloudevents-batch+json` a list of them; anything else is the type of one event's data, whose attributes are
headers. Events that can't be used are kept in the structured JSON format, whichever way they came.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw

from services.ingest.domain import torn
from services.ingest.domain.attributes import is_json, media_type
from services.ingest.domain.bodies import Parcel, Reader, tidied, unmarked
from services.ingest.domain.bounds import BATCH_CALLS, EVENT_BYTES
from services.ingest.domain.steps import Steps
from services.ingest.domain.structured import CONTENT
from shared.events import Reason

Headers = Iterable[tuple[bytes, bytes]]
"""As servers hand them over: names in lower case, one pair for each line."""

STRUCTURED = "application/cloudevents"
BATCHED = "application/cloudevents-batch"
PREFIX = b"ce-"

_events = msgspec.json.Decoder(list[Raw])


def reader(headers: Headers) -> Reader:
    """Tell how the body of a request with these `headers` is read. Their key never stands in a body."""
    headers = list(headers)
    declared = media_type(_content_type(headers))
    if declared == f"{BATCHED}+json":
        return Reader(_quick, batched, _no_keys)

    def read(body: bytes) -> Parcel:
        if not declared.startswith(STRUCTURED):
            return binary(headers, body)
        if declared == f"{STRUCTURED}+json":
            return structured(body)
        return _refused(body, "unknown_format", f"{declared[:80]} is not read here: use JSON")

    def steps(body: bytes) -> Steps[Parcel | Reason]:
        yield
        return read(body)

    return Reader(read, steps, _no_keys)


def _no_keys(head: bytes) -> tuple[str, ...]:
    return ()


def structured(body: bytes) -> Parcel:
    """The one event that `body` is."""
    return Parcel([Raw(unmarked(body))], form="cloudevent")


def batched(body: bytes) -> Steps[Parcel | Reason]:
    """The events in the JSON array that `body` is; one that is wrong is refused by itself."""
    try:
        events = yield from torn.whole_or_torn(_events.decode, torn.items, unmarked(body))
    except torn.TooMany:
        return _refused(body, "too_many", f"a batch may have {BATCH_CALLS} events, this one has more")
    except (ValueError, RecursionError) as error:
        code = "wrong_type" if isinstance(error, msgspec.ValidationError) else "malformed_json"
        return _refused(body, code, f"a batch is a JSON array of events: {error}")
    if len(events) > BATCH_CALLS:
        return _refused(body, "too_many", f"a batch may have {BATCH_CALLS} events, this one has {len(events)}")
    return Parcel(events, form="cloudevent", inside="$")


def _quick(body: bytes) -> Parcel | None:
    try:
        events = _events.decode(body)
    except (ValueError, RecursionError):
        return None
    return Parcel(events, form="cloudevent", inside="$") if len(events) <= BATCH_CALLS else None


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
    return _parcel(msgspec.json.encode(members), *_faults(given))


def _parcel(event: bytes, *reasons: Reason) -> Parcel:
    """The one `event`; for these `reasons`, if there are any, one that can't be used."""
    return Parcel([reasons or Raw(event)], form="cloudevent", originals=[event])


def _refused(body: bytes, code: str, message: str) -> Parcel:
    return _parcel(body, Reason("$", code, message))


def _content_type(headers: Headers) -> str:
    return next((value.decode("latin-1").strip() for name, value in headers if name == b"content-type"), "")


# --- headers ---------------------------------------------------------------------------------------------------------

# To the end where the quotes are not closed: else each quote in it would be tried as a beginning, up to the end.
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)("?)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def _decoded(value: bytes) -> bytes:
    """Without its quotes (RFC 7230, 3.2.6), which older senders set, and then without its percent signs, once."""
    return unquote_to_bytes(_QUOTED.sub(_unquoted, value.strip()))


def _unquoted(quoted: re.Match[bytes]) -> bytes:
    return _ESCAPED.sub(rb"\1", quoted[1]) if quoted[2] else quoted[0]


def _text(value: bytes) -> str:
    """The value; as it came where it is not in UTF-8."""
    try:
        return _decoded(value).decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _faults(given: Sequence[tuple[str, bytes]]) -> Iterator[Reason]:
    """Give what is wrong with headers as such; what is wrong with attributes is found with them."""
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
    """Without a type it is JSON where it can be read as such. What is too large is not read, only looked over."""
    try:
        msgspec.json.decode(tidied(body), type=Any if len(body) <= EVENT_BYTES else Raw)
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
