"""What is decided anew though nobody did anything: because time passed, or what people define is new or gone.

Whoever is marked here waits in one line with those to whom something happened. So only a few wait at any time, and what
happens just now is told within a second also while a million people are decided anew.
"""

from __future__ import annotations

from datetime import datetime

from services.profile import metrics
from services.profile.store import due, profiles
from shared.clock import Clock
from shared.db import Work

SHARE = 20
"""While many wait, a twentieth of what could be taken is: whatever the load, everybody has their turn."""


async def room(work: Work, limit: int, now: datetime) -> int:
    """How many of `limit` may be marked `now`: only so many are to wait at a time."""
    return max(limit - await profiles.waiting(work, limit, now), limit // SHARE, 1)


class Sweeping:
    """Finds those whose segments or stage time alone may have changed. It never looks at anybody else."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def sweep(self, limit: int, work: Work) -> int:
        """Mark up to `limit` who are due, unless somebody else does so now. Gives how many."""
        now = self.clock()
        if not await due.lock(work):
            return 0
        swept = await due.find(work, now, await room(work, limit, now))
        await profiles.mark(work, swept, now)
        await due.drop(work, swept, now)
        metrics.SWEPT.inc(len(swept))
        return len(swept)
