"""The loop that applies dead letters once more, as they were ordered (`shared/dead_letter_queue.py`).

Each is applied by the consumer that could not apply it before: the same decoder, the same memory of what was seen, the
same handler, in one transaction with the letter's new status. So a letter is applied once, however many processes run
and wherever one is killed; and an event that came by another way meanwhile is not applied again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row

from shared import dead_letter_store as store
from shared import metrics
from shared.clock import Clock, rfc3339
from shared.db import Database, Work
from shared.dead_letter_queue import DeadLetterQueue
from shared.dead_letter_store import Mark
from shared.dead_letters import REASON_LENGTH
from shared.health import Health
from shared.outbox import Publisher
from shared.stream import Stream, is_transient

log = structlog.get_logger(__name__)

KEPT = timedelta(days=90)
"""How long letters are kept: as long as their topic is."""

SWEEP_EVERY = timedelta(minutes=1)

LOOK_EVERY = 1.0
"""Seconds between two looks for what was ordered at another process, or by a command."""


def replaying(queue: DeadLetterQueue, stream: Stream, health: Health, *, gates: bool = True) -> Publisher:
    """Give the loop that has `stream` apply what is ordered of `queue`, to be run. `gates` as of `Publisher`."""
    replays = DeadLetterReplays(stream, queue.database, queue.clock)
    loop = Publisher(name="dead letters", publish=replays.step, health=health, idle=LOOK_EVERY, gates=gates)
    queue.ordered = loop.nudge
    return loop


class DeadLetterReplays:
    """Applies what was ordered, by `stream`'s handlers; once a minute counts those that wait and forgets old ones."""

    def __init__(self, stream: Stream, database: Database, clock: Clock) -> None:
        self.stream = stream
        self.database = database
        self.clock = clock
        self.swept_at: datetime | None = None
        self.counted: set[str] = set()

    async def step(self) -> int:
        """Apply one letter that was ordered; give how many that were: one or none. Raises what a server away raises."""
        await self._sweep()
        taken: list[Row[Any]] = []
        try:
            await self.database.retrying(lambda work: self._apply(work, taken))
        except Exception as error:
            if not taken or is_transient(error):
                raise
            await self._failed(taken[-1], error)
        if taken:
            self.stream.after_commit()
        return len(taken[-1:])

    async def _apply(self, work: Work, taken: list[Row[Any]]) -> None:
        letter = await store.take(work)
        if letter is None:
            return
        taken.append(letter)
        new = await self.stream.apply_again(letter.topic, letter.mended, work)
        entry = {"at": rfc3339(self.clock()), "outcome": "replayed" if new else "known already"}
        await store.mark(work, [Mark(letter.id, "replayed", letter.mended, entry)])

    async def _failed(self, letter: Row[Any], error: Exception) -> None:
        """Let it wait again, with the reason."""
        log.warning("a dead letter could not be applied", id=letter.id, topic=letter.topic)
        reason = f"{type(error).__name__}: {error}"[:REASON_LENGTH]
        entry = {"at": rfc3339(self.clock()), "outcome": "failed", "why": reason}
        await self.database.retrying(lambda work: store.mark(work, [Mark(letter.id, "waiting", None, entry)]))

    async def _sweep(self) -> None:
        now = self.clock()
        if self.swept_at is not None and now - self.swept_at < SWEEP_EVERY:
            return
        async with self.database.begin() as work:
            await store.forget(work, now - KEPT)
            waiting = await store.waiting(work)
        self.counted |= waiting.keys()
        for topic in self.counted:
            metrics.DEAD_LETTERS_WAITING.labels(self.stream.service, topic).set(waiting.get(topic, 0))
        self.swept_at = now
