"""Orders: a map of days, so that two orders of one day that arrive late still add up, in any order.

Money is counted in whole micros (1e-6 of the currency): sums are exact, so their order never shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Any

import msgspec

from shared.amounts import MICROS, first_of
from shared.events import Touchpoint

COMPLETED = "Order Completed"
REFUNDED = "Order Refunded"

Days = Mapping[str, tuple[int, int]]
"""Day (ISO 8601, in the account's time zone) → number of orders, micros."""


class Orders(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was ordered: the days, and the moments of the first and the last order."""

    days: Days = {}
    first: datetime | None = None
    last: datetime | None = None

    @property
    def count(self) -> int:
        return sum(count for count, _ in self.days.values())

    @property
    def value(self) -> float:
        """In the account's currency, refunds subtracted."""
        return sum(micros for _, micros in self.days.values()) / MICROS


NONE = Orders()


def placed(touchpoint: Touchpoint, zone: tzinfo) -> Orders:
    """What `touchpoint` orders or refunds; nothing for any other."""
    if touchpoint.data.type != "track" or touchpoint.data.name not in (COMPLETED, REFUNDED):
        return NONE
    properties = touchpoint.properties()
    if touchpoint.data.name == COMPLETED:
        return Orders({day(touchpoint.at, zone): (1, worth(properties))}, touchpoint.at, touchpoint.at)
    # Of an order whose day is not told, a fragment can't know it: the refund's own day stands in for it.
    ordered_on = _told_day(properties.get("ordered_at"), zone) or day(touchpoint.at, zone)
    return Orders({ordered_on: (0, -worth(properties))})


def fold(sides: Iterable[Orders]) -> Orders:
    """All orders of all sides."""
    sides = [side for side in sides if side.days]
    if len(sides) <= 1:
        return sides[0] if sides else NONE
    days: dict[str, tuple[int, int]] = {}
    for side in sides:
        for when, (count, micros) in side.days.items():
            counted, summed = days.get(when, (0, 0))
            days[when] = counted + count, summed + micros
    return Orders(
        days,
        min((side.first for side in sides if side.first is not None), default=None),
        max((side.last for side in sides if side.last is not None), default=None),
    )


def day(at: datetime, zone: tzinfo) -> str:
    """The date of `at` on the account's calendar."""
    try:
        return at.astimezone(zone).date().isoformat()
    except OverflowError:  # the ends of our calendar, where a client left its time empty
        return at.date().isoformat()


def worth(properties: Mapping[str, Any]) -> int:
    """An order's value in micros: the first of `total`, `revenue` and `value` that is a number, written or as text."""
    return first_of(*(properties.get(name) for name in ("total", "revenue", "value")))


def _told_day(text: Any, zone: tzinfo) -> str | None:
    """The day of a date or an RFC 3339 moment; None where `text` is neither. A moment without a zone is UTC."""
    if not isinstance(text, str):
        return None
    try:
        if len(text) == len("2026-03-01"):
            return date.fromisoformat(text).isoformat()
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return day(at if at.tzinfo else at.replace(tzinfo=UTC), zone)
