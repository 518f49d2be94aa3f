"""Filling computed traits from history, a step at a time, and bringing the views in line.

Whose step it is, says the definition's row: whoever calls next, in whichever process, goes on from there. How far it is
changes in the transaction that changes the parts: what fails half way was never done.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from services.profile import metrics
from services.profile.domain.computed.definitions import Defined, Definition
from services.profile.domain.computed.filling import Fill
from services.profile.domain.computed.parts import counted
from services.profile.service.background import room
from services.profile.service.defined import Definitions
from services.profile.service.defining import path, told
from services.profile.store import definitions, partitions, parts, past, profiles, timeline
from services.profile.store.definitions import Kept
from shared.audit import Audit, of_process
from shared.clock import Clock
from shared.db import Work

FILLER = of_process("filling")
"""The actor, in the audit, of what shows once it is filled."""

PHASES = ("filling", "showing", "ready", "leaving", "gone")


class Filling:
    """What is done about definitions that were saved or deleted.

    `batch`: touchpoints read in one step; `marks`: profiles marked in one, and how many may wait meanwhile.
    """

    def __init__(self, current: Definitions, clock: Clock, *, batch: int, marks: int) -> None:
        self.current = current
        self.clock = clock
        self.batch = batch
        self.marks = marks
        self.audit = Audit(clock)

    async def step(self, work: Work) -> int:
        """Do some of what is to be done; give whether to come again at once."""
        kept = await definitions.due(work)
        if kept is None:
            return 0
        if kept.phase == "filling":
            await (self._show(kept, work) if kept.fill.done else self._fill(kept, work))
        elif kept.phase == "gone":
            await self._sweep(kept, work)
        else:
            return await self._mark(kept, work)
        return 1

    async def measure(self, work: Work) -> None:
        """Show how many there are, by phase."""
        found = await definitions.phases(work)
        for phase in PHASES:
            metrics.COMPUTED.labels(phase).set(found.get(phase, 0))

    async def _fill(self, kept: Kept, work: Work) -> None:
        """Count the next chunk of history."""
        await definitions.put(work, await self.read_on(kept, work))

    async def read_on(self, kept: Kept, work: Work) -> Kept:
        """Count the next chunk of history, and give how far that has come; it is not written down yet."""
        first = self._first(kept.definition)
        periods = await partitions.existing(work)
        fill = kept.fill.going_on(first, periods)
        if kept.fill.span is None:
            fill = await self._sized(fill, first, work)
        assert fill.span is not None  # noqa: S101 - `going_on` says so
        await timeline.walk(work)
        chunk = await past.chunk(work, kept.definition, fill.span, fill.after, self.batch)

        own = Defined(zone=self.current.known.zone, counted=(kept.definition,))
        additions = counted(chunk.found, own)

        await parts.add(work, additions, own)
        metrics.COMPUTED_LOOKED.inc(chunk.looked)
        return kept._replace(fill=fill.read(chunk.looked, len(chunk.found), chunk.last))

    async def _show(self, kept: Kept, work: Work) -> None:
        """From the end of this transaction on it shows in every view that is published, and the one before in none.

        A step of its own: who waits here for those who absorb must hold no part that they may be waiting for.
        """
        await definitions.lock(work)
        await definitions.advance(work)
        await definitions.replace(work, kept.definition)
        removed, first = await partitions.removed_before(work), self._first(kept.definition)
        incomplete = removed is not None and (first is None or first < removed)
        await definitions.put(work, kept._replace(phase="showing", complete_from=removed if incomplete else None))
        await self.audit.note(work, FILLER, "filled", path(kept.definition.id), after=told(kept))

    async def _mark(self, kept: Kept, work: Work) -> int:
        """Mark the next profiles, so that their views follow: as many as there is room for among those who wait."""
        now = self.clock()
        some = await room(work, self.marks, now)
        chunk = await profiles.next_chunk(work, kept.marked_to, some)
        await profiles.mark(work, chunk, now)
        after = {"showing": "ready", "leaving": "gone"}[kept.phase]
        more = len(chunk) == some
        await definitions.put(
            work, kept._replace(marked_to=chunk[-1] if chunk else None, phase=kept.phase if more else after)
        )
        return int(not more or some == self.marks)

    async def _sweep(self, kept: Kept, work: Work) -> None:
        """Delete some of its parts; the definition after the last."""
        if await parts.sweep(work, kept.definition.key, self.batch) < self.batch:
            await definitions.forget(work, kept)

    async def _sized(self, fill: Fill, first: datetime | None, work: Work) -> Fill:
        """With about how many touchpoints there are to look at."""
        sizes = await past.sizes(work)
        passed = {
            period.name for period in await partitions.existing(work) if first is not None and period.end <= first
        }
        expected = sum(rows for name, rows in sizes.items() if name.removeprefix(partitions.PREFIX) not in passed)
        return fill.expecting(expected)

    def _first(self, definition: Definition) -> datetime | None:
        """The first moment that can count."""
        if definition.since is None:
            return None
        return datetime.combine(date.fromordinal(definition.since), time.min, self.current.known.zone).astimezone(UTC)
