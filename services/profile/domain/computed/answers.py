"""The computed traits of a person as of a moment, and when they may change although nothing happens."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, tzinfo
from functools import lru_cache
from typing import Any

import msgspec

from services.profile.domain.computed.cells import Answer, Cell
from services.profile.domain.computed.definitions import Definition, day
from services.profile.domain.computed.parts import Days


class Held(msgspec.Struct, frozen=True):
    """What a person's events add up to: of each definition that shows, by id, the days; none where nothing counted."""

    zone: tzinfo = UTC
    parts: tuple[tuple[Definition, Days], ...] = ()

    def values(self, now: datetime) -> dict[str, Any]:
        """The value of each."""
        today = _today(now, self.zone) if self.parts else 0
        return {each.id: each.aggregate.answer(_inside(each, days, today)).value for each, days in self.parts}

    def due(self, now: datetime) -> datetime | None:
        """The next moment at which one of them may change with no event; None where none can."""
        today = _today(now, self.zone) if self.parts else 0
        leaves = (_leaves(each, days, today) for each, days in self.parts if days)
        first = min((day for day in leaves if day is not None), default=None)
        return None if first is None else _midnight(first, self.zone)


NOTHING = Held()


def answer(definition: Definition, days: Days, now: datetime, zone: tzinfo) -> Answer:
    """What `days` come out as, as of `now` on the calendar of `zone`."""
    return definition.aggregate.answer(_inside(definition, days, _today(now, zone)))


def next_change(definition: Definition, days: Days, now: datetime, zone: tzinfo) -> datetime | None:
    """The midnight in `zone` at which the oldest day leaves the window; None where there is none to leave."""
    leaves = _leaves(definition, days, _today(now, zone))
    return None if leaves is None else _midnight(leaves, zone)


@lru_cache(maxsize=16)
def _today(now: datetime, zone: tzinfo) -> int:
    """The same for all of a person's definitions, and for everybody who is told in one go."""
    return day(now, zone)


def _inside(definition: Definition, days: Days, today: int) -> list[Cell]:
    """The cells inside the window, from its first day on. What clients date a little ahead counts, too."""
    window = definition.formula.window_days
    if window is None:  # of all time there is one at most
        return list(days.values())
    first = today - window + 1
    return [days[on] for on in sorted(days) if on >= first]


def _leaves(definition: Definition, days: Days, today: int) -> int | None:
    """The day on which the oldest that counts no longer does."""
    window = definition.formula.window_days
    if window is None:
        return None
    oldest = min((on for on in days if on > today - window), default=None)
    return None if oldest is None else oldest + window


@lru_cache(maxsize=1024)
def _midnight(number: int, zone: tzinfo) -> datetime | None:
    """When the day of this number begins; None past the end of our calendar."""
    try:
        return datetime.combine(date.fromordinal(number), time.min, zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
