"""Keeping segments: their rules, who is in them, and the filling that follows when a rule is new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from services.profile import metrics
from services.profile.domain.segments import rule as compiled
from services.profile.errors import SegmentNotFound
from services.profile.store import profiles, segments
from shared.clock import Clock
from shared.db import Work


class Segments:
    """What can be done with segments."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def save(self, segment_id: str, name: str, rule: str, work: Work) -> Row[Any]:
        """Make or change a segment. It fills in the background. Raises RuleRefused, with line and column."""
        compiled(rule)
        return await segments.save(work, segment_id, name, rule, self.clock())

    async def get(self, segment_id: str, work: Work) -> Row[Any]:
        """Raises SegmentNotFound."""
        segment = await segments.find(work, segment_id)
        if segment is None:
            raise SegmentNotFound(segment_id)
        return segment

    async def page(self, after: str, limit: int, work: Work) -> Sequence[Row[Any]]:
        """Segments by id, those past `after`."""
        return await segments.page(work, after, limit)

    async def members(
        self, segment_id: str, after: str | None, limit: int, work: Work
    ) -> tuple[int, Sequence[Row[Any]]]:
        """How many are in the segment, and those past the profile `after`. Raises SegmentNotFound."""
        await self.get(segment_id, work)
        return await segments.count(work, segment_id), await segments.members(work, segment_id, after, limit)

    async def fill(self, limit: int, work: Work) -> int:
        """Mark the next `limit` profiles for a segment that was saved, so that its rule is asked about them.

        How far it is stands in the segment's row: whoever calls next, in whichever process, goes on from there. Gives
        how many were marked; 0 when nothing is left to fill.
        """
        segment = await segments.filling(work)
        if segment is None:
            return 0
        chunk = await profiles.next_chunk(work, segment.filled_to and str(segment.filled_to), limit)
        await profiles.mark(work, chunk, self.clock())
        await segments.filled(work, segment.id, chunk[-1] if chunk else None, more=len(chunk) == limit)
        metrics.FILLED.inc(len(chunk))
        return len(chunk)
