"""The context attributes of a CloudEvent, and what can be wrong with them (CloudEvents 1.0.2, "Context Attributes").

Attributes are plain values here: text, whole numbers, true and false; what is null has been left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services.ingest.domain.moments import moment
from shared.events import Reason

VERSION = "1.0"
REQUIRED = ("specversion", "id", "source", "type")
CORE = frozenset({*REQUIRED, "datacontenttype", "dataschema", "subject", "time"})

JSON = "application/json"
"""What the data is where `datacontenttype` says nothing."""

INTEGERS = range(-(2**31), 2**31)
"""The whole numbers that an attribute may hold."""


def faults(attributes: Mapping[str, Any]) -> Iterator[Reason]:
    """What is wrong with them, each by the path that it has in the JSON format."""
    for name in REQUIRED:
        if name not in attributes:
            yield Reason(f"$.{name}", "missing", f"an event needs {name}")
    version = attributes.get("specversion")
    if isinstance(version, str) and version not in ("", VERSION):
        message = f"only version {VERSION} of CloudEvents is read here; got {version[:40]!r}"
        yield Reason("$.specversion", "unknown_version", message)
    for name, value in attributes.items():
        if not _NAME.fullmatch(name) or name == "data":
            message = "the name of an attribute has lower-case letters and digits only, and is not data"
            yield Reason(f"$.{name[:100]}", "invalid_name", message)
        else:
            yield from _of_text(name, value) if isinstance(value, str) else _of_other(name, value)


def media_type(declared: str) -> str:
    """`Application/JSON; charset=utf-8` without its parameters, in lower case."""
    return declared.partition(";")[0].strip().lower()


def is_json(declared: str) -> bool:
    """Whether data of this type is JSON: `*/json` or `*/*+json`."""
    return media_type(declared).endswith(("/json", "+json"))


def timestamp(time: str) -> str:
    """`time` as the tracking API reads it. A leap second, which our calendar has not, is the end of the one before."""
    return time[:17] + "59.999" + time[19:].lstrip(".0123456789") if time[17:19] == "60" else time


def _of_text(name: str, value: str) -> Iterator[Reason]:
    if not value and name in CORE:
        yield Reason(f"$.{name}", "empty", f"{name} must not be empty")
    elif _NO_TEXT.search(value):
        yield Reason(f"$.{name}", "invalid_text", f"{name} holds what text may not: a control character, half a pair")
    elif name in _FORMS:
        fits, code, wanted = _FORMS[name]
        if not fits(value):
            yield Reason(f"$.{name}", code, f"{name} must be {wanted}")


def _of_other(name: str, value: Any) -> Iterator[Reason]:
    if name in CORE:
        yield Reason(f"$.{name}", "wrong_type", f"{name} must be text")
    elif not isinstance(value, int):
        yield Reason(f"$.{name}", "wrong_type", f"{name} must be text, a whole number, true or false: put it into data")
    elif value not in INTEGERS:
        yield Reason(f"$.{name}", "number_out_of_range", f"{name} must fit into 32 bits: send it as text")


def _is_moment(value: str) -> bool:
    try:
        return _RFC_3339.fullmatch(value) is not None and bool(moment(timestamp(value)))
    except ValueError:
        return False


_NAME = re.compile(r"[a-z0-9]+")

# Control characters, halves of surrogate pairs, and what Unicode says will never be a character.
_NO_TEXT = re.compile(
    "[\u0000-\u001f\u007f-\u009f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:(?:[0-5]\d|60)(?:\.\d+)?(?:[Zz]|[+\-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
# RFC 3986, by its characters: at most one # and no % without its digits.
_URI_CHARACTERS = r"(?:[\w\-.~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
_REFERENCE = re.compile(rf"{_URI_CHARACTERS}(?:#{_URI_CHARACTERS})?", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:.")
# RFC 2046 and 2045.
_WORD = r"[\w!#$%&'*+.^`|~\-]+"
_MEDIA_TYPE = re.compile(rf'{_WORD}/{_WORD}(?:\s*;\s*{_WORD}=(?:{_WORD}|"(?:[^"\\]|\\.)*"))*\s*;?', re.ASCII)

_FORMS: Mapping[str, tuple[Callable[[str], object], str, str]] = {
    "source": (_REFERENCE.fullmatch, "invalid_uri", "a URI reference, such as https://shop.example/orders or /orders"),
    "dataschema": (
        lambda value: _SCHEME.match(value) and _REFERENCE.fullmatch(value),
        "invalid_uri",
        "an absolute URI, such as https://shop.example/schemas/order.json",
    ),
    "datacontenttype": (_MEDIA_TYPE.fullmatch, "invalid_media_type", f"a media type, such as {JSON}"),
    "time": (_is_moment, "invalid_timestamp", "a moment in RFC 3339, such as 2026-03-01T10:00:00.000Z"),
}
