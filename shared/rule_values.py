"""JSON into CEL and back: what a rule is given, and what an expression comes out as."""

from __future__ import annotations

import base64
import math
from datetime import datetime, timedelta
from typing import Any

from cel_expr_python import cel

from shared.clock import rfc3339

LARGEST = 64 * 1024
"""Of what an expression comes out as: its values and characters together. A loop can repeat what it reads for ever."""

_AS_IT_IS = frozenset({str, float, bool, type(None)})


def given(value: Any) -> Any:
    """`value` as CEL takes it. One value that it does not take would spoil the whole map that holds it."""
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**63 else float(str(value))  # past what a decimal holds: infinity
    if kind is dict:
        return {key: each if type(each) in _AS_IT_IS else given(each) for key, each in value.items()}
    if kind in (list, tuple):
        return [given(each) for each in value]
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def opened(value: Any) -> Any:
    """CEL's `value` in JSON: moments as RFC 3339 text, durations as text such as `90s`, bytes in base64.

    Raises ValueError where it is an error, is more than `LARGEST`, or is nothing that JSON has a word for.
    """
    return _Opening().json(value)


class _Opening:
    """Opens a value, which gives its parts one by one, until there is too much of it."""

    def __init__(self) -> None:
        self.room = LARGEST

    def json(self, part: Any) -> Any:
        value = part.value()
        self._take(1)
        if part.type() == cel.Type.ERROR:
            raise ValueError(value)
        if isinstance(value, dict):
            return {self._key(key): self.json(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.json(each) for each in value]
        written = _written(value)
        self._take(len(written) if isinstance(written, str) else 0)
        return written

    def _key(self, key: Any) -> str:
        name = str(key).lower() if isinstance(key, bool) else str(key)
        self._take(len(name))
        return name

    def _take(self, room: int) -> None:
        self.room -= room
        if self.room < 0:
            raise ValueError(f"it comes out larger than {LARGEST} characters")


def _written(value: Any) -> Any:
    """One plain value in JSON."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it comes out as {value}, which JSON has no word for")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError("it comes out as a type, not as a value")
