"""A batch that is no JSON because of one of its calls, taken apart.

`NaN`, which Python's clients write, and control characters as they are spoil what they stand in, and so does half of a
surrogate pair. The calls beside it are right, and are somebody else's. The standard library reads over all three, and
says where a value ends. It is only shown as many bytes as a call may have: where the end is not among them, brackets
are counted instead, for it would read on for a second, and hold the process up meanwhile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Raw

from services.ingest.domain.bounds import BATCH_CALLS, EVENT_BYTES
from services.ingest.domain.steps import Steps

T = TypeVar("T")

COMMAS = 250_000
"""In one body. More values than these separate take msgspec longer than it may keep others waiting: it finds all of
them before anybody can count. Bodies of the largest size have 190,000, if their calls are of the usual kind."""

MARKS = 1_000
"""Brackets and texts that are looked at in one step: some tenths of a millisecond."""

FAR = 64 * 1024
"""Bytes in which the next of them is sought in one step."""

_values = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\n\r]*")
_MARK = re.compile(r'["\[\]{}]')
_TEXT = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+){0,1000}+', re.DOTALL)  # no more escapes: a text may have millions
_PLAIN = re.compile(r"[^\s,:\"\[\]{}]*")


class TooMany(ValueError):
    """More values than a batch may have."""


def whole_or_torn(whole: Callable[[bytes], T], apart: Callable[[bytes], Steps[T]], body: bytes) -> Steps[T]:
    """Decode `body` with `whole`; with `apart` where it is no JSON, or has too many parts.

    Raises what `whole` raises, which says best what is wrong, where that can't be read either; and TooMany where only
    `apart` could tell.
    """
    if body.count(b",") > COMMAS:
        return (yield from apart(body))
    try:
        return whole(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        try:
            return (yield from apart(body))
        except (ValueError, RecursionError):
            raise error from None


def items(body: bytes) -> Steps[list[Raw]]:
    """The bytes of each value of the list that `body` is.

    Raises ValueError where it is none, TooMany where it has more values than a batch may have; and RecursionError.
    """
    text = body.decode("latin-1")  # one character a byte: places in the one are places in the other
    found, end = yield from _items(text, _behind(text, 0))
    _nothing_behind(text, end)
    return found


def members(body: bytes) -> Steps[dict[str, Raw | list[Raw]]]:
    """The bytes of each value of the object that `body` is; of its `batch`, those of each item. Raises as `items`."""
    text = body.decode("latin-1")
    found: dict[str, Raw | list[Raw]] = {}
    at = _behind(text, _past("{", text, _behind(text, 0)))
    while text[at : at + 1] != "}":
        if found:
            at = _behind(text, _past(",", text, at))
        name, end = _values.raw_decode(text[at : at + EVENT_BYTES])
        at = _behind(text, _past(":", text, _behind(text, at + end)))
        found[str(name)], end = yield from (_items(text, at) if name == "batch" else _value(text, at))
        if len(found) > BATCH_CALLS:
            raise ValueError("more fields than anybody has a use for")
        at = _behind(text, end)
    _nothing_behind(text, at + 1)
    return found


def _items(text: str, at: int) -> Steps[tuple[list[Raw], int]]:
    """The values of the list that begins at `at`, and where it ends."""
    found: list[Raw] = []
    at = _behind(text, _past("[", text, at))
    while text[at : at + 1] != "]":
        if found:
            at = _behind(text, _past(",", text, at))
        value, end = yield from _value(text, at)
        found.append(value)
        at = _behind(text, end)
        if len(found) > BATCH_CALLS:
            raise TooMany("more values than a batch may have")
    return found, at + 1


def _value(text: str, at: int) -> Steps[tuple[Raw, int]]:
    yield
    seen = text[at : at + EVENT_BYTES]
    whole = at + len(seen) == len(text)
    try:
        _, size = _values.raw_decode(seen)
    except ValueError:
        if whole:
            raise
        size = len(seen)
    if size == len(seen) and not whole:
        size = (yield from _end(text, at)) - at
        if size <= len(seen):
            raise ValueError(f"there is no JSON at byte {at}")
    return Raw(text[at : at + size].encode("latin-1")), at + size


def _end(text: str, at: int) -> Steps[int]:
    """Give the end of the value that begins at `at`, by its brackets alone: nobody will read one as long as that."""
    depth = marks = 0
    if not _MARK.match(text, at):
        return _ended(_PLAIN, text, at)
    while True:
        mark = _MARK.search(text, at, at + FAR)
        if mark is None:
            at += FAR
            if at >= len(text):
                raise ValueError("a bracket is not closed")
            yield
            continue
        at = mark.end()
        if mark[0] == '"':
            at = yield from _text_end(text, at)
        else:
            depth += 1 if mark[0] in "[{" else -1
        if depth <= 0:
            return at
        marks += 1
        if marks % MARKS == 0:
            yield


def _text_end(text: str, at: int) -> Steps[int]:
    """Give the end of the text whose first character is at `at`."""
    while True:
        at = _ended(_TEXT, text, at)
        if text[at : at + 1] == '"':
            return at + 1
        if at >= len(text) - 1:
            raise ValueError("a text is not closed")
        yield


def _past(mark: str, text: str, at: int) -> int:
    if not text.startswith(mark, at):
        raise ValueError(f"{mark} is missing at byte {at}")
    return at + 1


def _behind(text: str, at: int) -> int:
    """The place of the next character that is no space."""
    return _ended(_SPACE, text, at)


def _ended(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _nothing_behind(text: str, end: int) -> None:
    if _behind(text, end) < len(text):
        raise ValueError(f"there is more behind byte {end}")
