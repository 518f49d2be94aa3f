"""What a consumer could not process: kept with its reason where a person can find, mend and replay it.

There is a limit. A bad record now and then is the world; many at once are a mistake of ours, which must not drain the
log into the dead letters.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import structlog
from aiokafka import ConsumerRecord

from shared import metrics
from shared.clock import Clock
from shared.errors import TooManyDeadLetters
from shared.events import DeadLetter, Undelivered, encode
from shared.kafka import Log

log = structlog.get_logger(__name__)

REASON_LENGTH = 2_000
"""Characters of a reason that are kept: drivers quote whole statements in theirs."""


class TooOld(Exception):
    """An event from before the window in which duplicates are known: it may have been applied, or not."""


@dataclass(frozen=True)
class DeadLetterLimit:
    """At most `share` of the last `window` records or so, and always at least `allowed`."""

    allowed: int = 50
    share: float = 0.01
    window: int = 10_000


class DeadLetters:
    """One consumer's dead letters, and how many of what it read lately they are."""

    def __init__(self, consumer: str, dead: Log, limit: DeadLetterLimit, clock: Clock) -> None:
        self.consumer = consumer
        self.dead = dead
        self.limit = limit
        self.clock = clock
        self.records = 0.0
        self.letters = 0.0

    def went_well(self, records: int) -> None:
        """`records` more were applied. Past the window, what was counted before fades."""
        self.records += records
        if self.records > 2 * self.limit.window:
            self.records, self.letters = self.records / 2, self.letters / 2

    async def put(self, record: ConsumerRecord, topic: str, error: Exception) -> None:
        """Keep `record`. The same record put aside twice is the same dead letter. Raises LogUnavailable."""
        letter = self._letter(record, f"{type(error).__name__}: {error}"[:REASON_LENGTH])
        await self.dead.append([(record.key or b"", encode(letter))])
        metric = metrics.QUARANTINED if isinstance(error, TooOld) else metrics.DEAD_LETTERS
        metric.labels(self.consumer, topic).inc()
        log.error("a record was put aside", topic=topic, partition=record.partition, offset=record.offset)

    def count(self, error: Exception) -> None:
        """One more, because of `error`. Raises TooManyDeadLetters past the limit."""
        self.records += 1
        self.letters += not isinstance(error, TooOld)
        if self.letters > max(self.limit.allowed, self.limit.share * self.records):
            raise TooManyDeadLetters(
                f"{self.letters:.0f} of the last {self.records:.0f} records could not be processed: this looks like a "
                f"mistake in the service, not in the records; see the topic {self.dead.topic}"
            )

    def _letter(self, record: ConsumerRecord, reason: str) -> DeadLetter:
        position = f"{record.topic}/{record.partition}/{record.offset}"
        return DeadLetter(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.consumer}/{position}")),
            source=self.consumer,
            time=self.clock(),
            subject=position,
            data=Undelivered(
                consumer=self.consumer,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=reason,
                key=record.key,
                value=record.value,
            ),
        )
