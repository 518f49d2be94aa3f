"""Cells: what stands in one column of one row, as the value that a call holds.

A file writes numbers and times its own way, so nothing is guessed: a cell stays what it is until its type is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, Literal, get_args

import msgspec

from services.ingest.domain.moments import moment
from shared.clock import rfc3339

Kind = Literal["text", "number", "integer", "boolean", "time", "json"]
KINDS: tuple[str, ...] = get_args(Kind)


class Notation(msgspec.Struct, frozen=True):
    """How a file writes what it writes.

    `zone` is that of times without one. `decimal` is the sign before the decimals (`.` or `,`); where it is named, the
    other one may group thousands. `times` is the pattern of times, as `strptime` takes it; None for ISO 8601.
    """

    zone: tzinfo = UTC
    decimal: str | None = None
    times: str | None = None


def absent(cell: Any) -> bool:
    """Whether nothing stands there: null, an empty text, or the NaN that is written for want of a null."""
    return cell is None or cell == "" or cell != cell  # noqa: PLR0124 - only NaN differs from itself


def value(cell: Any, kind: Kind | None, notation: Notation) -> Any:
    """`cell` as this kind of value; as it is where no kind is named. None where nothing stands there.

    Raises ValueError with a sentence for the person whose file it is.
    """
    if isinstance(cell, str) and kind not in (None, "text"):
        cell = cell.strip()
    if absent(cell):
        return None
    if kind is None:
        return _moment(cell, notation) if isinstance(cell, date) else cell
    return _CONVERTED[kind](cell, notation)


def _text(cell: Any, notation: Notation) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, date):
        return _moment(cell, notation)
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)


_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_GROUPED = {
    ".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", re.ASCII),
    ",": re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?", re.ASCII),
}
_LONGEST = 400
"""Characters of a number. The largest double has 309 digits, and reading very long ones takes very long."""


def _number(cell: Any, notation: Notation) -> Any:
    if not isinstance(cell, str):
        if isinstance(cell, bool) or not hasattr(cell, "__float__"):
            raise ValueError(f"expected a number, got {_shown(cell)}")
        return _finite(cell)
    plain = _plain(cell, notation.decimal)
    if len(plain) > _LONGEST or not _PLAIN.fullmatch(plain):
        raise ValueError(f"expected a number, got {_shown(cell)}{_advice(cell, notation.decimal)}")
    return int(plain) if plain.lstrip("+-").isdecimal() else _finite(float(plain))


def _plain(text: str, decimal: str | None) -> str:
    """A number as JSON would write it, if it is one: without groups, with a point before its decimals."""
    if decimal is None:
        return text
    other = "." if decimal == "," else ","
    if _GROUPED[decimal].fullmatch(text):
        text = text.replace(other, "")
    elif other in text:
        return ""  # 1.5 where the comma is the decimal sign: no number, and not fifteen
    return text.replace(decimal, ".")


def _finite(number: Any) -> Any:
    if number in (float("inf"), float("-inf")):
        raise ValueError("expected a number that a double can hold, got a larger one")
    return number


def _advice(text: str, decimal: str | None) -> str:
    if decimal is None and "," in text:
        return ": say --decimal , or --decimal . so that its signs are understood"
    return ""


def _integer(cell: Any, notation: Notation) -> int:
    """Also of 17.0: a column of whole numbers with gaps is often written so."""
    number = _number(cell, notation)
    if number != int(number):
        raise ValueError(f"expected a whole number, got {_shown(cell)}")
    return int(number)


_WORDS = {"true": True, "t": True, "yes": True, "y": True, "1": True} | {
    "false": False, "f": False, "no": False, "n": False, "0": False
}  # fmt: skip


def _boolean(cell: Any, notation: Notation) -> bool:
    found = _WORDS.get(str(cell).lower())
    if found is None:
        raise ValueError(f"expected true or false (or yes, no, 1, 0), got {_shown(cell)}")
    return found


def _moment(cell: Any, notation: Notation) -> str:
    """A time as RFC 3339 in UTC; a day is its first moment, in the file's zone."""
    try:
        if isinstance(cell, str):
            cell = _read(cell, notation.times)
        elif isinstance(cell, date) and not isinstance(cell, datetime):
            cell = datetime.combine(cell, time())
        if not isinstance(cell, datetime):
            return rfc3339(moment(cell))
        return rfc3339(cell if cell.tzinfo else cell.replace(tzinfo=notation.zone))
    except (ValueError, OverflowError):
        wanted = f"a time like {notation.times}" if notation.times else "a time such as 2026-03-01T10:00:00+03:00"
        raise ValueError(f"expected {wanted}, got {_shown(cell)}") from None


def _read(text: str, pattern: str | None) -> datetime:
    if pattern is not None:
        return datetime.strptime(text, pattern)  # noqa: DTZ007 - where it says no zone, the file's is meant
    if len(text) > 8 and text.isdecimal():  # seconds (or ms, µs, ns) since 1970; up to eight digits are a day
        return moment(text)
    return datetime.fromisoformat(text.upper())


def _json(cell: Any, notation: Notation) -> Any:
    if not isinstance(cell, str | bytes):
        return cell
    try:
        return msgspec.json.decode(cell)
    except (ValueError, RecursionError):
        raise ValueError(f"expected JSON, got {_shown(cell)}") from None


_CONVERTED: Mapping[Kind, Callable[[Any, Notation], Any]] = {
    "text": _text,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "time": _moment,
    "json": _json,
}


def _shown(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."
