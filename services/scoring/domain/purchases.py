"""Purchases: per day how many orders and how much money, and from that the state that the models read.

A map `day → (orders, value)` can be merged, and two orders of one day that arrive late still make one purchase day;
counters can do neither. Days are dates in the account's time zone. Money is whole millionths of the currency, so that
sums are exact and order-free.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

import msgspec

from shared.amounts import first_of
from shared.events import Touchpoint

COMPLETED = "Order Completed"
REFUNDED = "Order Refunded"


class DayTotal(msgspec.Struct, frozen=True, array_like=True):
    """The orders of one day and their money, less what was refunded. Without orders: only refunds fell on it."""

    orders: int = 0
    micros: int = 0

    def __add__(self, other: DayTotal) -> DayTotal:
        return DayTotal(self.orders + other.orders, self.micros + other.micros)


Days = Mapping[date, DayTotal]


class History(msgspec.Struct, frozen=True):
    """A customer's purchases through some day. `x`, in the papers, is `days` − 1; a purchase day has orders on it."""

    first: date
    last: date
    days: int
    orders: int
    micros: int
    repeat_micros: int
    """The money of all purchase days but the first, less what was refunded since the second."""


class _Order(msgspec.Struct):
    total: Any = None
    revenue: Any = None
    value: Any = None
    ordered_at: Any = None


def bought(touchpoint: Touchpoint, zone: tzinfo) -> Days:
    """The purchase, or the refund, in this one touchpoint; nothing where it is neither.

    A refund falls on the day of its order where `ordered_at` says it, else on its own. Raises msgspec.DecodeError
    where the properties are no object.
    """
    if touchpoint.data.type != "track" or touchpoint.data.name not in {COMPLETED, REFUNDED}:
        return {}
    order = msgspec.json.decode(touchpoint.data.properties, type=_Order)
    money = first_of(order.total, order.revenue, order.value)
    if touchpoint.data.name == COMPLETED:
        return {day_of(touchpoint.at, zone): DayTotal(1, money)}
    return {_told_day(order.ordered_at, zone) or day_of(touchpoint.at, zone): DayTotal(0, -money)}


def merged(*sides: Days) -> dict[date, DayTotal]:
    """All sides in one, in the order of days."""
    total: dict[date, DayTotal] = {}
    for side in sides:
        for day, bought_then in side.items():
            total[day] = total[day] + bought_then if day in total else bought_then
    return {day: total[day] for day in sorted(total)}


def history(days: Days, through: date) -> History | None:
    """What is known through the day `through`; None before the first purchase.

    A refund on a day without orders (its order's day is not known) is taken off the last purchase day before it.
    """
    known = sorted(day for day in days if day <= through)
    bought_on = [day for day in known if days[day].orders]
    if not bought_on:
        return None
    second = bought_on[1] if len(bought_on) > 1 else date.max
    return History(
        first=bought_on[0],
        last=bought_on[-1],
        days=len(bought_on),
        orders=sum(days[day].orders for day in bought_on),
        micros=sum(days[day].micros for day in known),
        repeat_micros=sum(days[day].micros for day in known if day >= second),
    )


def purchases_between(days: Days, after: date, through: date) -> tuple[int, int]:
    """Purchase days later than `after`, up to and with `through`, and the micros of that time less refunds."""
    known = sorted(days)
    within = known[bisect_right(known, after) : bisect_right(known, through)]
    return sum(days[day].orders > 0 for day in within), sum(days[day].micros for day in within)


def last_known_day(as_of: datetime, zone: tzinfo) -> date:
    """The day of the last microsecond before `as_of`: at midnight the day that has just ended."""
    return day_of(as_of - timedelta(microseconds=1), zone)


def day_of(at: datetime, zone: tzinfo) -> date:
    try:
        return at.astimezone(zone).date()
    except OverflowError:  # the ends of our calendar, where a client left its time empty
        return at.date()


def _told_day(text: object, zone: tzinfo) -> date | None:
    """The day of a date or of an RFC 3339 moment; None where `text` is neither. A moment without a zone is UTC."""
    if not isinstance(text, str):
        return None
    try:
        if len(text) == len("1997-01-01"):
            return date.fromisoformat(text)
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return day_of(at if at.tzinfo else at.replace(tzinfo=UTC), zone)
