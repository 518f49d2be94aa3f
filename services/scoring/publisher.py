"""Dirty profiles out to Kafka: scored, sent, and only then clean."""

from __future__ import annotations

import math

from services.scoring import metrics
from services.scoring.service.scores import Scores
from shared.clock import Clock
from shared.events import Scored, Valuation, encode
from shared.kafka import Log

SOURCE = "scoring"


class ScorePublisher:
    """Publishes what is dirty; when nothing is, brings some ageing scores up to date.

    Ageing scores wait for everybody else: after a model is activated all customers are due, and nobody's new order
    should have to queue behind them.
    """

    def __init__(self, *, scores: Scores, log: Log, batch: int) -> None:
        self.scores = scores
        self.log = log
        self.batch = batch

    async def publish(self) -> int:
        """Publish up to a batch of profiles; give how many."""
        published = await self._publish()
        if not published and await self.scores.mark_aging(self.batch):
            published = await self._publish()
        return published

    async def _publish(self) -> int:
        batch = await self.scores.score_dirty(self.batch)
        if batch.valuations:
            await self.log.append([_record(valuation) for valuation in batch.valuations])
        if batch.due:
            await self.scores.published(batch)
        return len(batch.due)


class Backlog:
    """Looks at how far behind we are, for the metrics."""

    def __init__(self, scores: Scores, clock: Clock) -> None:
        self.scores = scores
        self.clock = clock

    async def look(self) -> int:
        """Note what there is to note. Publishes nothing: 0."""
        standing = await self.scores.standing()
        metrics.BACKLOG.set(standing.dirty)
        age = (self.clock() - standing.model_as_of).total_seconds() if standing.model_as_of else math.nan
        metrics.MODEL_AGE.set(age)
        return 0


def _record(valuation: Valuation) -> tuple[bytes, bytes]:
    event = Scored(
        id=f"{valuation.profile_id}:{valuation.version}",
        source=SOURCE,
        time=valuation.as_of,
        subject=valuation.profile_id,
        data=valuation,
    )
    return valuation.profile_id.encode(), encode(event)
