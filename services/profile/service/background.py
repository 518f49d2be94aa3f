"""What is decided anew though nobody did anything: because time passed, or a segment was saved or deleted.

Whoever is marked here waits in one line with those to whom something happened. So only a few wait at any time, and what
happens just now is told within a second also while a million people are decided anew.
"""

from __future__ import annotations

from services.profile import metrics
from services.profile.store import due, profiles
from shared.clock import Clock
from shared.db import Work

SHARE = 20
"""While many wait, a twentieth of what could be taken is: whatever the load, everybody has their turn."""


async def room(work: Work, limit: int) -> int:
    """How many of `limit` may be marked now: only so many are to wait at a time."""
    return max(limit - await profiles.waiting(work, limit), limit // SHARE, 1)


class Sweeping:
    """Finds those whose segments or stage time alone may have changed. It never looks at anybody else."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def sweep(self, limit: int, work: Work) -> int:
        """Mark up to `limit` who are due. Gives how many."""
        now = self.clock()
        swept = await due.take(work, now, await room(work, limit))
        await profiles.mark(work, swept, now)
        metrics.SWEPT.inc(len(swept))
        return len(swept)
