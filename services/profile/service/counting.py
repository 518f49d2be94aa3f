"""How many are in each segment, over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from services.profile.domain.counts import KEPT, Unit, beginning, ending, hour_of
from services.profile.errors import SegmentNotFound
from services.profile.store import counts, segments
from shared.clock import Clock
from shared.db import Work


class Counting:
    """What can be counted of segments."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def count_next(self, work: Work) -> bool:
        """Count one segment that was not counted in this hour, unless somebody else counts; give whether one was.

        What was counted of it too long ago is forgotten on the way.
        """
        hour = hour_of(self.clock())
        segment_id = await counts.uncounted(work, hour) if await counts.lock(work) else None
        if segment_id is not None:
            await counts.count(work, segment_id, hour)
            await counts.forget(work, segment_id, hour - KEPT)
        return segment_id is not None

    async def page(
        self, segment_id: str, unit: Unit, between: tuple[datetime | None, datetime | None], limit: int, work: Work
    ) -> Sequence[Row[Any]]:
        """The hours or days of a segment, oldest first: those that begin between both. Raises SegmentNotFound."""
        if await segments.find(work, segment_id) is None:
            raise SegmentNotFound(segment_id)
        since, until = between
        first = beginning(since or self.clock() - KEPT, unit)
        last = ending(until or datetime.max.replace(tzinfo=UTC), unit)
        return await counts.page(work, segment_id, unit, (first, last), limit)
