"""The computed traits of a person as of a moment, and when they may change although nothing happens."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

import msgspec

from services.profile.domain.computed.cells import Answer
from services.profile.domain.computed.definitions import Definition, first_day
from services.profile.domain.computed.parts import Days


class Held(msgspec.Struct, frozen=True):
    """What a person's events add up to: of each definition that shows, by id, the days; none where nothing counted."""

    zone: tzinfo = UTC
    parts: tuple[tuple[Definition, Days], ...] = ()

    def values(self, now: datetime) -> dict[str, Any]:
        """The value of each."""
        return {definition.id: answer(definition, days, now, self.zone).value for definition, days in self.parts}

    def due(self, now: datetime) -> datetime | None:
        """The next moment at which one of them may change with no event; None where none can."""
        moments = (next_change(definition, days, now, self.zone) for definition, days in self.parts)
        return min((moment for moment in moments if moment is not None), default=None)


NOTHING = Held()


def answer(definition: Definition, days: Days, now: datetime, zone: tzinfo) -> Answer:
    """What `days` come out as, as of `now` on the calendar of `zone`."""
    within = _within(definition, days, now, zone)
    return definition.aggregate.answer([within[on] for on in sorted(within)])


def next_change(definition: Definition, days: Days, now: datetime, zone: tzinfo) -> datetime | None:
    """The midnight in `zone` at which the oldest day leaves the window; None where there is none to leave."""
    window, within = definition.formula.window_days, _within(definition, days, now, zone)
    if window is None or not within:
        return None
    try:
        leaves = date.fromordinal(min(within) + window)
        return datetime.combine(leaves, time.min, zone).astimezone(UTC)
    except (ValueError, OverflowError):  # past the end of our calendar
        return None


def _within(definition: Definition, days: Days, now: datetime, zone: tzinfo) -> Days:
    """Those inside the window: from its first day on. What clients date a little ahead counts, too."""
    first = first_day(definition.formula.window_days, now, zone)
    return days if first is None else {on: cell for on, cell in days.items() if on >= first}
