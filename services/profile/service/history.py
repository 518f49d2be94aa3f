"""Paging through a timeline, however long: newest first, month by month, each page with a bounded effort.

A page that asks for what is rare may end before it is full, and even empty: then its `next` says how far it has looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Row

from services.profile.domain.periods import month_of, start_of
from services.profile.store import timeline
from services.profile.store.timeline import Asked, Place
from shared.db import Work, aware

NOW = Place(datetime.max.replace(tzinfo=UTC), "", "")
"""Where every timeline ends: it is read from here backwards."""


class Effort(NamedTuple):
    """How far a page goes at most. There is something in every month that it looks into, if not of that name."""

    # Rows looked at in one month where a channel or a type is asked for: some ten milliseconds.
    scan: int = 5_000
    # Months in each round: most pages need one or two of them, a name that is nowhere would need all history.
    rounds: Sequence[int] = (2, 10, 24)


USUAL = Effort()


class Page(NamedTuple):
    """Some touchpoints, and the place after which there may be more; None where there are none."""

    rows: Sequence[Row[Any]]
    next: Place | None


async def page(work: Work, asked: Asked, *, before: Place, limit: int, effort: Effort = USUAL) -> Page:
    """The newest that is asked for and older than `before`."""
    await timeline.walk(work)
    found: list[Row[Any]] = []
    last = _last(before)
    for size in effort.rounds:
        months = await timeline.months(work, asked, last=last, limit=size)
        for month in months:
            part = await _month(work, asked, month, before=before, limit=limit + 1 - len(found), scan=effort.scan)
            found += part.rows
            if len(found) > limit:
                return Page(found[:limit], _place(found[limit - 1]))
            if part.next is not None:
                return Page(found, part.next)
        if len(months) < size:
            return Page(found, None)
        last = months[-1] - 1
    return Page(found, Place(start_of(last + 1), "", ""))


async def _month(work: Work, asked: Asked, month: int, *, before: Place, limit: int, scan: int) -> Page:
    """What there is in one month. Nothing that follows a row that is cut is to be believed: others may come between."""
    rows = await timeline.newest(work, asked, month=month, before=before, limit=limit, scan=scan)
    cut = next((number for number, row in enumerate(rows) if row.cut), None)
    whole = rows if cut is None else rows[: cut + 1]
    return Page([row for row in whole if row.matches], None if cut is None else _place(rows[cut]))


def _last(before: Place) -> int:
    """The last month in which anything can be older than `before`."""
    month = month_of(before.at)
    return month if Place(start_of(month), "", "") < before else month - 1


def _place(row: Row[Any]) -> Place:
    return Place(aware(row.at), row.touchpoint_id, row.source)
