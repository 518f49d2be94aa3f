"""Keeping segments: their rules, who is in them, and the filling that follows when a rule is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from services.profile import metrics
from services.profile.domain.personas import Persona
from services.profile.domain.segments import require_seen
from services.profile.domain.segments import rule as compiled
from services.profile.errors import PersonaChanged, SegmentNotFound, SegmentsTooCostly, TooManySegments
from services.profile.service.background import room
from services.profile.service.publishing import cost, usable
from services.profile.store import counts, profiles, segments
from shared.audit import Audit
from shared.clock import Clock
from shared.db import Work

MOST = 1_000
"""Segments. Each is asked about everybody who is published."""

STEPS = 2_500_000
"""That all rules together may take for one person: 30 ms for lists of 1,000. Most rules take fewer than a hundred."""

LAST_WORD = timedelta(minutes=5)
"""How long a deleted segment is remembered at least. A publication that began before may still say that somebody is in
it; none takes so long, and then that one is told to have left, too."""


class Segments:
    """What can be done with segments."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.audit = Audit(clock)
        self.marked: dict[tuple[str, datetime], datetime] = {}
        """When we first saw that everybody was marked for a segment, as it was saved then."""

    async def save(self, segment_id: str, name: str, rule: str, actor: str, work: Work) -> Row[Any]:
        """Make or change a segment. It fills in the background. One that was deleted is made anew, and counted anew;
        who was not told of its end is still in it, until its new rule is asked about them.

        Raises RuleRefused, with line and column; TooManySegments and SegmentsTooCostly.
        """
        new = compiled(rule)
        await segments.lock(work)
        saved = await segments.rules(work)
        _check_room(segment_id, rule, new.cost, saved)
        if saved.get(segment_id) != rule:
            require_seen(segment_id, new, usable(saved))
        if await segments.ended(work, segment_id):
            await counts.forget(work, segment_id)
        before = await segments.find(work, segment_id)
        segment = await segments.save(work, segment_id, name, rule, self.clock())
        await self._note(segment_id, actor, before, segment, work)
        return segment

    async def rules(self, work: Work) -> dict[str, str]:
        """The text of every segment's rule."""
        return await segments.rules(work)

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

    async def delete(self, segment_id: str, actor: str, work: Work) -> None:
        """Delete a segment: gone at once for whoever asks, and for its members as they are told to have left it.

        They are published in the background, as they are when a segment fills, each whole: the view without the
        segment, and the signal. Raises SegmentNotFound.
        """
        before = await segments.delete(work, segment_id, self.clock())
        if before is None:
            raise SegmentNotFound(segment_id)
        await self._note(segment_id, actor, before, None, work)

    async def _note(
        self, segment_id: str, actor: str, before: Row[Any] | None, after: Row[Any] | None, work: Work
    ) -> None:
        await self.audit.changed(
            work, actor, f"segments/{segment_id}", before=before and _told(before), after=after and _told(after)
        )

    async def adopt(self, persona: Persona, replace: bool, actor: str, work: Work) -> Row[Any]:
        """Save `persona` as a segment. Raises PersonaChanged where that has another rule, unless to `replace` it."""
        segment = await segments.find(work, persona.id)
        if segment is not None and segment.rule == persona.rule:
            return segment
        if segment is not None and not replace:
            raise PersonaChanged(persona.id)
        return await self.save(persona.id, persona.name, persona.rule, actor, work)

    async def fill(self, limit: int, work: Work) -> int:
        """Mark up to `limit` profiles for a segment that was saved, so that its rule is asked about them.

        How far it is stands in the segment's row: whoever calls next, in whichever process, goes on from there. Gives
        how many were marked; 0 when nobody is left to mark.
        """
        now = self.clock()
        await self._end_filling(now, work)
        segment = await segments.filling(work)
        if segment is None:
            return 0
        some = await room(work, limit, now)
        chunk = await profiles.next_chunk(work, segment.filled_to and str(segment.filled_to), some)
        await profiles.mark(work, chunk, now)
        await segments.filled_to(work, segment.id, chunk[-1] if len(chunk) == some else segments.EVERYBODY)
        metrics.FILLED.inc(len(chunk))
        return len(chunk)

    async def _end_filling(self, now: datetime, work: Work) -> None:
        """A segment is filled once nobody waits any more who was marked before we saw that everybody was: whoever was
        marked for it has been published by then.
        """
        seen = {
            (each.id, each.saved_at): self.marked.get((each.id, each.saved_at), now)
            for each in await segments.marked(work)
        }
        for (segment_id, _), since in seen.items():
            if not await profiles.older(work, since, now):
                await segments.filled(work, segment_id)
        self.marked = seen

    async def empty(self, limit: int, work: Work) -> int:
        """Mark up to `limit` members of a segment that was deleted; forget it when nobody is in it. Gives how many."""
        now = self.clock()
        segment_id = await segments.emptying(work, now - LAST_WORD)
        if segment_id is None:
            return 0
        chunk = await segments.unmarked(work, segment_id, await room(work, limit, now))
        await profiles.mark(work, chunk, now)
        if not chunk and not await segments.count(work, segment_id):
            await counts.forget(work, segment_id)
            await segments.forget(work, segment_id, now - LAST_WORD)
        return len(chunk)


def _told(row: Row[Any]) -> dict[str, Any]:
    """A segment as the audit has it: its definition, not how far it is filled."""
    return {"id": row.id, "name": row.name, "rule": row.rule}


def _check_room(segment_id: str, rule: str, steps: int, saved: Mapping[str, str]) -> None:
    """Raises TooManySegments and SegmentsTooCostly where a new rule would be too much. What is saved may stay."""
    if segment_id not in saved and len(saved) >= MOST:
        raise TooManySegments(MOST)
    whole = steps + sum(cost(id, text) or 0 for id, text in saved.items() if id != segment_id)
    if saved.get(segment_id) != rule and whole > STEPS:
        raise SegmentsTooCostly(whole, STEPS)
