"""Watching a consumer from beside it: how far behind it is, and whether it has stuck without saying so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared import metrics
from shared.clock import Clock
from shared.db import is_away
from shared.health import Part
from shared.tasks import library_call

HOUSEKEEPING = 3600.0
"""Seconds between two rounds of forgetting old events."""


class Stuck(Exception):
    """Nothing is applied, though records wait and the servers answer: only a new process helps."""


def _now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Progress:
    """How far each partition has been applied; the stream writes it, the watch reads it."""

    expected: dict[TopicPartition, int] = field(default_factory=dict)
    # Kafka's timestamp, in milliseconds, of the last record applied.
    applied: dict[TopicPartition, int] = field(default_factory=dict)
    # The loop's time of the last step forward, or of the last moment when none was to be expected.
    at: float = 0.0

    def made(self, partition: TopicPartition, next_offset: int, timestamp: int) -> None:
        self.expected[partition] = next_offset
        self.applied[partition] = timestamp
        self.excused()

    def excused(self) -> None:
        self.at = _now()


class Watch:
    """Every few seconds: shows the lag, tells Kafka our offsets, keeps house, notices a stuck consumer."""

    def __init__(
        self,
        *,
        consumer_name: str,
        prefix: str,
        progress: Progress,
        pulse: Part,
        clock: Clock,
        stuck: float,
        answers: Callable[[], Awaitable[bool]],
        stored: Callable[[], Awaitable[Mapping[tuple[str, int], int]]],
        forget: Callable[[], Coroutine[Any, Any, bool]],
    ) -> None:
        """`answers`: whether Kafka answers a new client. `stored`: the next offsets by topic and partition.

        `forget` forgets some old events, and says whether there are more.
        """
        self.name = consumer_name
        self.prefix = prefix
        self.progress = progress
        self.pulse = pulse
        self.clock = clock
        self.stuck = stuck
        self.answers = answers
        self.stored = stored
        self.forget = forget
        self.forgot_at = -HOUSEKEEPING  # the loop's clock begins anew with the machine: 0 may have been just now
        self.answered_at = 0.0
        self.shown: set[tuple[str, str, str]] = set()

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Until cancelled. Raises Stuck."""
        self.progress.excused()
        self.answered_at = _now()
        period = min(5.0, self.stuck / 4)
        while True:
            self.pulse.beat()
            await asyncio.sleep(period)
            try:
                waiting = await library_call(self._look(consumer), within=2 * period)
            except (KafkaError, OSError) as error:  # a time-out is an OSError
                await self._unanswered(error)
            else:
                self.answered_at = _now()
                self._judge(waiting)
            await self._keep_house()

    async def _look(self, consumer: AIOKafkaConsumer) -> int:
        mine = consumer.assignment()
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(mine)) if mine else {}
        waiting = sum(self._show(partition, end) for partition, end in ends.items())
        self._hide(self.shown - {self._labels(partition) for partition in ends})
        if done := {partition: offset for partition, offset in self.progress.expected.items() if partition in mine}:
            await consumer.commit(done)
        return waiting

    def _judge(self, waiting: int) -> None:
        if not waiting:
            self.progress.excused()
        elif (idle := _now() - self.progress.at) > self.stuck:
            raise Stuck(f"{waiting} records wait and none was applied for {idle:.0f} s")

    async def _unanswered(self, error: Exception) -> None:
        """While Kafka is away that is no fault of this process. But it is away only if others say so, too."""
        self.progress.excused()
        if not await self.answers():
            self.answered_at = _now()
        elif (silent := _now() - self.answered_at) > self.stuck:
            raise Stuck(f"Kafka answers others, but for {silent:.0f} s not this process's consumer") from error

    async def _keep_house(self) -> None:
        try:
            await library_call(self._compare())
            if _now() - self.forgot_at > HOUSEKEEPING and not await library_call(self.forget()):
                self.forgot_at = _now()
        except Exception as error:
            if not is_away(error):
                raise

    async def _compare(self) -> None:
        """See whether the database was restored to an earlier state: then what is missing there is read again.

        Where events come all the time the fence notices; where none come nobody would.
        """
        believed = dict(self.progress.expected)  # before we ask: what is stored only grows
        stored = await self.stored()
        if any(stored.get((each.topic, each.partition), 0) < offset for each, offset in believed.items()):
            self.progress.expected.clear()

    def _show(self, partition: TopicPartition, end: int) -> int:
        labels = self._labels(partition)
        lag = max(0, end - self.progress.expected.get(partition, 0))
        last = self.progress.applied.get(partition)
        age = self.clock().timestamp() - last / 1000 if lag and last else 0.0
        metrics.LAG_RECORDS.labels(*labels).set(lag)
        metrics.LAG_SECONDS.labels(*labels).set(max(0.0, age))
        self.shown.add(labels)
        return lag

    def _hide(self, labels: set[tuple[str, str, str]]) -> None:
        """Partitions that went to another process: their lag is its to show, and ours would stand still for ever."""
        for each in labels:
            metrics.LAG_RECORDS.remove(*each)
            metrics.LAG_SECONDS.remove(*each)
        self.shown -= labels

    def _labels(self, partition: TopicPartition) -> tuple[str, str, str]:
        return self.name, partition.topic.removeprefix(self.prefix), str(partition.partition)
