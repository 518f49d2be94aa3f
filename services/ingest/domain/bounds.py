"""Limits of what a client sends: how large, how deep and how long it may be."""

from __future__ import annotations

import re
from typing import Any

import msgspec

EVENT_BYTES = 32 * 1024
"""Of one call, as in the tracking API."""

DEPTH = 32
"""Levels of objects and lists in one call, the call itself being the first."""

LARGEST = int(1.7976931348623157e308)
"""The largest number that a double holds. JSON allows larger ones, but nobody can calculate with them."""

BATCH_CALLS = 5_000
"""Calls in one batch. Clients send up to 2,500; refusing a million empty ones would cost us more than them."""

SHARED_BYTES = 16_000_000
"""What a batch's context may add up to, once it stands in each of its calls."""

KEPT_BYTES = 512 * 1024
"""Kept of a call that can't be used. A record of a topic may have a megabyte, and bytes grow by a third in JSON."""

KEPT_REASONS = 20
"""Reasons kept of one call. One can have thousands, and the first ones tell what to do."""

_DIGITS = re.compile(rb"\d{5}")


def within(text: bytes) -> bool:
    """Tell whether the JSON `text` is neither too large nor too deep and holds no number that is. Raises ValueError.

    Most texts can't be: only so many brackets can nest so deeply, and of 309 digits in a row every sixtieth byte is a
    digit, five times. Those that might are looked at.
    """
    if len(text) > EVENT_BYTES:
        return False
    deep, long = text.count(b"{") + text.count(b"[") > DEPTH, bool(_DIGITS.search(text[::60]))
    if not deep and not long:
        return True
    held = msgspec.json.decode(text)
    return not (deep and deeper(held, DEPTH)) and not (long and enormous(held))


def deeper(value: object, levels: int) -> bool:
    """Tell whether `value`, as read from JSON, is nested more than `levels` deep; a plain value is no level.

    Level by level, and by `type`: this is asked of 16,000 lists in one call, and others wait for the answer.
    """
    level: list[Any] = [value] if type(value) is dict or type(value) is list else []
    for _ in range(levels):
        level = [
            each
            for holder in level
            if holder
            for each in (holder.values() if type(holder) is dict else holder)
            if type(each) is list or type(each) is dict
        ]
    return bool(level)


def enormous(value: object) -> bool:
    """Tell whether `value`, as read from JSON, holds a whole number that no double can hold."""
    level: list[Any] = [value]
    while level:
        if [each for each in level if type(each) is int and not -LARGEST <= each <= LARGEST]:
            return True
        level = [
            each
            for holder in level
            if type(holder) is list or type(holder) is dict
            for each in (holder.values() if type(holder) is dict else holder)
        ]
    return False
