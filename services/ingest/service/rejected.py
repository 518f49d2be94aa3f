"""Keeping rejected events until somebody has mended or discarded them.

An event that is replayed is in the log before the queue says so. Should this process die in between, the event still
waits, and the next replay appends it again: the same source and the same id, so that every consumer drops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Row

from services.ingest import metrics
from services.ingest.domain.judgement import Accepted
from services.ingest.domain.replays import Attempt, Terms, attempt, digest
from services.ingest.domain.sources import Key, Source
from services.ingest.errors import RejectedNotFound
from services.ingest.service.registry import Registry, Snapshot
from services.ingest.store import rejected
from services.ingest.store.rejected import Kept, Mark, Place, Selection
from shared import audit
from shared.clock import Clock, rfc3339
from shared.db import Database, Work
from shared.events import Rejected, encode
from shared.fixes import Fix
from shared.kafka import Log, Position, token
from shared.topics import LOG_RETENTION_DAYS

AT_ONCE = 100
"""Events in one transaction of a replay: their bodies are in memory, and nobody else may have them meanwhile."""

SAMPLES = 5
"""Of those that a replay takes, and of those that it does not: to see whether a fix does what it should."""

GROUPS = 100
"""In the counts: who sees a hundred knows where to begin, and names of events may be as many as clients like."""

REMEMBERED = timedelta(days=LOG_RETENTION_DAYS)
"""How old what is received may be for every consumer to know its duplicates, with days to spare for its lag."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A replay as somebody wants it. `told` is how the audit says it; `after`, where an earlier one has ended."""

    which: Selection
    fix: Fix | None
    limit: int
    after: Place | None
    dry_run: bool
    told: Any


class Tried(NamedTuple):
    """A rejected event, and what became of it; its position in the log where it is there now."""

    id: str
    body: bytes
    attempt: Attempt
    position: Position | None = None

    @property
    def accepted(self) -> bool:
        return isinstance(self.attempt.verdict, Accepted)


@dataclass
class Replayed:
    """What a replay came to. `last`: where it ended; `remaining`: how many more there are past that."""

    accepted: int = 0
    rejected: int = 0
    remaining: int = 0
    last: Place | None = None
    positions: list[Position] = field(default_factory=list)
    samples: list[Tried] = field(default_factory=list)

    @property
    def selected(self) -> int:
        return self.accepted + self.rejected

    def add(self, tried: Tried) -> None:
        alike = self.accepted if tried.accepted else self.rejected
        if alike < SAMPLES:
            self.samples.append(tried)
        if tried.accepted:
            self.accepted += 1
        else:
            self.rejected += 1
        if tried.position is not None:
            self.positions.append(tried.position)


@dataclass(frozen=True)
class _Step:
    """One transaction of a replay: at most so many events after that place."""

    order: Order
    replay_id: str
    after: Place | None
    most: int
    first: bool


class Discarded(NamedTuple):
    selected: int
    remaining: int


class Rejections:
    """What can be done with rejected events."""

    def __init__(self, *, registry: Registry, touchpoints: Log, clock: Clock, fresh_id: Callable[[], str]) -> None:
        self.registry = registry
        self.touchpoints = touchpoints
        self.clock = clock
        self.fresh_id = fresh_id

    async def keep(self, batch: Sequence[Rejected], work: Work) -> None:
        """Let what came through the topic wait, inside the consumer's transaction. What waits already waits once."""
        kept = [Kept(each.id, each.source, each.data, digest(each.source, each.data)) for each in batch]
        fresh = await rejected.add(work, kept)
        metrics.REPEATED.inc(len(kept) - fresh)

    async def page(self, which: Selection, before: Place | None, limit: int, work: Work) -> Sequence[Row[Any]]:
        """Those of `which` before that place, newest first."""
        return await rejected.page(work, which, before, limit)

    async def counts(self, which: Selection, work: Work) -> Sequence[Row[Any]]:
        """How many of `which` there are of each reason, source and event; the largest groups first."""
        return await rejected.counts(work, which, GROUPS)

    async def get(self, rejected_id: str, work: Work) -> Row[Any]:
        """All of one. Raises RejectedNotFound."""
        found = await rejected.find(work, rejected_id)
        if found is None:
            raise RejectedNotFound(rejected_id)
        return found

    async def discard(self, order: Order, actor: Key, work: Work) -> Discarded:
        """Take those that wait out of everybody's way, the oldest first. They are kept until they are too old."""
        waiting = await rejected.count_waiting(work, order.which, None)
        if order.dry_run:
            return Discarded(min(waiting, order.limit), max(0, waiting - order.limit))

        entry = {"at": rfc3339(self.clock()), "by": actor.id, "outcome": "discarded"}
        discarded = await rejected.discard(work, order.which, order.limit, entry)
        if discarded:
            await self._note("discarded", {**order.told, "discarded": discarded}, actor, work)
        return Discarded(discarded, max(0, waiting - discarded))  # some may have come meanwhile

    async def replay(self, order: Order, actor: Key, database: Database) -> Replayed:
        """Judge those that wait once more, the oldest first, and bring what can be used now into the log.

        In steps, each a transaction of `database` that holds its events, so that of two replays at once each event is
        in one. Raises Starting and LogUnavailable: what earlier steps have done stays done, the rest waits.
        """
        replayed = Replayed(last=order.after)
        replay_id = self.fresh_id()
        more = True
        while more:
            most = min(AT_ONCE, order.limit - replayed.selected)
            step = _Step(order, replay_id, replayed.last, most, first=not replayed.selected)
            tried, last = await database.retrying(partial(self._step, step, actor))
            replayed.last = last
            for each in tried:
                replayed.add(each)
            if not order.dry_run:
                _measure(tried)
            more = len(tried) == most and replayed.selected < order.limit
        async with database.begin() as work:
            replayed.remaining = await rejected.count_waiting(work, order.which, replayed.last)
        return replayed

    async def _step(self, step: _Step, actor: Key, work: Work) -> tuple[list[Tried], Place | None]:
        order = step.order
        rows = await rejected.oldest(work, order.which, step.after, step.most, lock=not order.dry_run)
        if not rows:
            return [], step.after

        tried = await asyncio.to_thread(self._tried, rows, order.fix)  # clients must not wait for it

        if not order.dry_run:
            tried = await self._appended(tried)
            await rejected.mark(work, [self._mark(each, step.replay_id, actor) for each in tried])
            if step.first:
                await self._note("replayed", {**order.told, "replay": step.replay_id}, actor, work)
        return tried, Place(rows[-1].received_at, rows[-1].id)

    def _tried(self, rows: Sequence[Row[Any]], fix: Fix | None) -> list[Tried]:
        terms = partial(self._terms, fix, self.registry.current, self.clock())
        return [Tried(row.id, row.body, attempt(row.id, rejected.refusal(row), terms(row.source))) for row in rows]

    def _terms(self, fix: Fix | None, known: Snapshot, now: datetime, source: str) -> Terms:
        where = known.sources.get(source) or Source(name=source)
        return Terms(fix, where, known.plan, now, remembered=now - REMEMBERED)

    async def _appended(self, tried: Sequence[Tried]) -> list[Tried]:
        """The same, once Kafka has those that can be used."""
        usable = [each.attempt.verdict for each in tried if isinstance(each.attempt.verdict, Accepted)]
        positions = iter(await self.touchpoints.append([(each.key, encode(each.touchpoint)) for each in usable]))
        return [each._replace(position=next(positions)) if each.accepted else each for each in tried]

    def _mark(self, tried: Tried, replay_id: str, actor: Key) -> Mark:
        entry = {"at": rfc3339(self.clock()), "by": actor.id, "replay": replay_id}
        verdict = tried.attempt.verdict
        if isinstance(verdict, Accepted):
            where = token([tried.position]) if tried.position else None
            return Mark(tried.id, "replayed", {**entry, "outcome": "replayed", "position": where})
        return Mark(tried.id, "waiting", {**entry, "outcome": "rejected", "reasons": verdict})

    async def _note(self, action: str, after: Any, actor: Key, work: Work) -> None:
        now = self.clock()
        await audit.note(work, at=now, actor=actor.id, action=action, object="rejected", before=None, after=after)


def _measure(tried: Sequence[Tried]) -> None:
    for each in tried:
        verdict = each.attempt.verdict
        metrics.REPLAYED.labels("accepted" if each.accepted else "rejected").inc()
        if isinstance(verdict, Accepted):
            metrics.ACCEPTED.labels(verdict.touchpoint.source).inc()
