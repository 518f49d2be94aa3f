"""Amounts as clients write them, in whole millionths: their sums are exact, so that the order of adding never shows.

What is a number is settled here for all services: two that read one order must come to the same money.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

MICROS = 1_000_000
"""Of an amount: units that it is counted in."""

DEAREST = Decimal(10) ** 12
"""What is larger than this, up or down, is no price but a mistake, and counts as none given."""

_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
"""A text that is a number to everybody. Python takes `1_000`, and the digits of all scripts, too."""


def micros(value: object, largest: Decimal = DEAREST) -> int | None:
    """A number, written or as text, in micros; None for what is none, or is past `largest`, up or down."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        amount = Decimal(value) if isinstance(value, int) else Decimal(str(value).strip())
    except InvalidOperation:
        return None
    # copy_abs rounds nothing: what `1e1000000` says can be compared, and not be calculated with.
    if not amount.is_finite() or amount.copy_abs() > largest:
        return None
    return int((amount * MICROS).to_integral_value())


def first_of(*candidates: object) -> int:
    """The first of `candidates` that is an amount of money, in micros; else 0."""
    amounts = (micros(each) for each in candidates)
    return next((amount for amount in amounts if amount is not None), 0)
