"""How large, how deep and how long what a client sends may be."""

from __future__ import annotations

import re

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
    """Whether the JSON `text` is neither too large nor too deep and holds no number that is. Raises ValueError.

    Most texts can't be: only so many brackets can nest so deeply, and of 309 digits in a row every sixtieth byte is a
    digit, five times. Those that might are looked at.
    """
    if len(text) > EVENT_BYTES:
        return False
    if text.count(b"{") + text.count(b"[") <= DEPTH and not _DIGITS.search(text[::60]):
        return True
    held = msgspec.json.decode(text)
    return not deeper(held, DEPTH) and not enormous(held)


def deeper(value: object, levels: int) -> bool:
    """Whether `value` is nested more than `levels` deep; a plain value is no level."""
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(deeper(each, levels - 1) for each in inside)


def enormous(value: object) -> bool:
    """Whether `value` holds a whole number that no double can hold."""
    if isinstance(value, dict | list):
        return any(enormous(each) for each in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and abs(value) > LARGEST
