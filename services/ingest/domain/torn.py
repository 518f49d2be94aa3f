"""A batch that is no JSON because of one of its calls, taken apart.

`NaN`, which Python's clients write, and control characters as they are spoil what they stand in, and so does half of a
surrogate pair. The calls beside it are right, and are somebody else's. The standard library reads over all three, and
says where a value ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Raw

from services.ingest.domain.bounds import BATCH_CALLS

T = TypeVar("T")

_values = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\n\r]*")


def whole_or_torn(whole: Callable[[bytes], T], apart: Callable[[bytes], T], body: bytes) -> T:
    """What `whole`, a decoder, makes of `body`; where that is no JSON, what `apart` makes of it.

    Raises what `whole` raises, which says best what is wrong, where that can't be read either.
    """
    try:
        return whole(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        try:
            return apart(body)
        except (ValueError, RecursionError):
            raise error from None


def items(body: bytes) -> list[Raw]:
    """The bytes of each value of the list that `body` is.

    Raises ValueError where it is none, or has more values than a batch may have; and RecursionError.
    """
    text = body.decode("latin-1")  # one character a byte: places in the one are places in the other
    found, end = _items(text, _behind(text, 0))
    _nothing_behind(text, end)
    return found


def members(body: bytes) -> dict[str, Raw | list[Raw]]:
    """The bytes of each value of the object that `body` is; of its `batch`, those of each item. Raises as `items`."""
    text = body.decode("latin-1")
    found: dict[str, Raw | list[Raw]] = {}
    at = _behind(text, _past("{", text, _behind(text, 0)))
    while text[at : at + 1] != "}":
        if found:
            at = _behind(text, _past(",", text, at))
        name, end = _values.raw_decode(text, at)
        at = _behind(text, _past(":", text, _behind(text, end)))
        found[str(name)], end = _items(text, at) if name == "batch" else _value(text, at)
        if len(found) > BATCH_CALLS:
            raise ValueError("more fields than anybody has a use for")
        at = _behind(text, end)
    _nothing_behind(text, at + 1)
    return found


def _items(text: str, at: int) -> tuple[list[Raw], int]:
    """The values of the list that begins at `at`, and where it ends."""
    found: list[Raw] = []
    at = _behind(text, _past("[", text, at))
    while text[at : at + 1] != "]":
        if found:
            at = _behind(text, _past(",", text, at))
        value, end = _value(text, at)
        found.append(value)
        at = _behind(text, end)
        if len(found) > BATCH_CALLS:
            raise ValueError("more values than a batch may have")
    return found, at + 1


def _value(text: str, at: int) -> tuple[Raw, int]:
    _, end = _values.raw_decode(text, at)
    return Raw(text[at:end].encode("latin-1")), end


def _past(mark: str, text: str, at: int) -> int:
    if not text.startswith(mark, at):
        raise ValueError(f"{mark} is missing at byte {at}")
    return at + 1


def _behind(text: str, at: int) -> int:
    """The place of the next character that is no space."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _nothing_behind(text: str, end: int) -> None:
    if _behind(text, end) < len(text):
        raise ValueError(f"there is more behind byte {end}")
