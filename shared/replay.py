"""The log, read once more: from wherever one wants, and into tables that nobody else writes.

A topic's records are read by a consumer that belongs to no group, so nobody's partitions or offsets move. They are
applied as `shared/stream.py` does it: fence, deduplicate, handle, in one transaction a batch; so a replay that was
interrupted goes on where it was. Only the clock is another: what was too old when it came is left out now, however late
it is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple, Self

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from shared import ledger
from shared.clock import Clock
from shared.db import Database, Work, is_away
from shared.errors import OffsetOutOfRange
from shared.events import CloudEvent, Touchpoint
from shared.kafka import admin, consumer
from shared.settings import KafkaSettings
from shared.tasks import library_call
from shared.topics import Topic

BATCH = 1_000
"""Records in one transaction."""

Offsets = Mapping[int, int]
"""{partition: offset}."""

Records = Mapping[int, Sequence[ConsumerRecord]]
"""By partition."""


class Bounds(NamedTuple):
    """What a partition holds: from the offset `first` up to, but without, `end`."""

    first: int
    end: int


class Past:
    """What a topic holds."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, event: type[CloudEvent]) -> None:
        self.consumer = consumer
        self.topic = topic
        self.decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(event)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings, topic: Topic) -> AsyncIterator[Self]:
        """Raises KafkaError where no broker answers."""
        name = settings.prefix + topic.name
        fetched = 4 * 1024 * 1024
        async with consumer(settings, auto_offset_reset="none", max_partition_fetch_bytes=fetched) as reader:
            async with admin(settings) as client:
                (description,) = await client.describe_topics([name])
            reader.assign([TopicPartition(name, each["partition"]) for each in description["partitions"]])
            yield cls(reader, name, topic.event)

    async def bounds(self) -> dict[int, Bounds]:
        """What each partition holds now."""
        mine = sorted(self.consumer.assignment())
        firsts, ends = await self.consumer.beginning_offsets(mine), await self.consumer.end_offsets(mine)
        return {each.partition: Bounds(firsts[each], ends[each]) for each in mine}

    async def read(self, start: Offsets, stop: Offsets) -> AsyncIterator[Records]:
        """The records from `start` up to, but without, `stop`, some of each partition at a time.

        Raises OffsetOutOfRange where the log has lost some of them meanwhile.
        """
        at = {self._partition(number): start[number] for number in stop if start[number] < stop[number]}
        for partition, offset in at.items():
            self.consumer.seek(partition, offset)
        try:
            while at:
                fetched = await library_call(self.consumer.getmany(*at, timeout_ms=200, max_records=len(at) * BATCH))
                yield {
                    partition.partition: [each for each in records if each.offset < stop[partition.partition]]
                    for partition, records in fetched.items()
                }
                at |= {partition: records[-1].offset + 1 for partition, records in fetched.items() if records}
                at = {partition: offset for partition, offset in at.items() if offset < stop[partition.partition]}
        except OffsetOutOfRangeError as error:
            raise OffsetOutOfRange(f"the log lost records before they were read: {error}. Start again") from error

    def decoded(self, record: ConsumerRecord) -> CloudEvent | None:
        """The event in a record; None where it is none of this topic's."""
        try:
            found: CloudEvent = self.decoder.decode(record.value or b"")
        except msgspec.DecodeError:
            return None
        return found

    def _partition(self, number: int) -> TopicPartition:
        return TopicPartition(self.topic, number)


@dataclass
class Tally:
    """What a replay has met. `repeated`: records of an event that had been met before. `too_old`: what was put aside
    when it came. `since`: when the first was received.
    """

    read: int = 0
    fresh: int = 0
    repeated: int = 0
    too_old: int = 0
    unreadable: int = 0
    since: datetime | None = None


class Sieve:
    """Which records count: those that can be read, and were not too old when they came, each event once."""

    def __init__(self, past: Past, remembered: timedelta, clock: Clock, tally: Tally) -> None:
        self.past = past
        self.remembered = remembered
        self.clock = clock
        self.tally = tally

    def named(self, records: Sequence[ConsumerRecord]) -> dict[bytes, CloudEvent]:
        """The events by what names them for ever, in the order of the log. Repetitions among them are counted."""
        found: dict[bytes, CloudEvent] = {}
        for key, event in self.usable(records):
            self.tally.repeated += key in found
            found.setdefault(key, event)
        return found

    def usable(self, records: Sequence[ConsumerRecord]) -> Iterator[tuple[bytes, CloudEvent]]:
        """Each record's event with what names it for ever, in the order of the log."""
        for record in records:
            event = self.past.decoded(record)
            self.tally.read += 1
            if event is None:
                self.tally.unreadable += record.value is not None
            elif self._was_too_old(event, record):
                self.tally.too_old += 1
            else:
                self._note(event)
                yield ledger.key(event), event

    def _note(self, event: CloudEvent) -> None:
        if isinstance(event, Touchpoint):
            received = event.data.received_at
            self.tally.since = min(self.tally.since or received, received)

    def _was_too_old(self, event: CloudEvent, record: ConsumerRecord) -> bool:
        """As the consumer judged it, which read it soon after it was written."""
        if not isinstance(event, Touchpoint):
            return False
        written = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        return event.data.received_at < min(written, self.clock()) - self.remembered


class Replay:
    """Applies a topic's past to a database. `consumer`: the name under which its offsets are kept there."""

    def __init__(
        self,
        *,
        past: Past,
        consumer: str,
        database: Database,
        handler: Callable[[Sequence[Any], Work], Awaitable[None]],
        remembered: timedelta,
        clock: Clock,
    ) -> None:
        self.past = past
        self.consumer = consumer
        self.database = database
        self.handler = handler
        self.clock = clock
        self.tally = Tally()
        self.sieve = Sieve(past, remembered, clock, self.tally)

    async def positions(self) -> dict[int, int]:
        """What is next to be applied, of the partitions of which anything was."""
        async with self.database.begin() as work:
            stored = await ledger.positions(work, self.consumer)
        return {number: offset for (topic, number), offset in stored.items() if topic == self.past.topic}

    async def begin(self) -> dict[int, int]:
        """Begin with each partition that was not begun, at its first record. Gives what is next of each."""
        bounds = await self.past.bounds()
        async with self.database.begin() as work:
            return {
                number: await ledger.next_offset(work, self.consumer, self.past.topic, number, first=each.first)
                for number, each in bounds.items()
            }

    async def up_to(self, stop: Offsets, made: Callable[[int], None] = lambda records: None) -> None:
        """Apply everything up to, but without, `stop`. `made` is told how many records were.

        What is away ends it with the error that said so: it goes on from there when it is called again.
        """
        start = await self.begin()
        async for records in self.past.read(start, stop):
            follow = (self._follow(number, some, start) for number, some in records.items())
            for failure in await asyncio.gather(*follow, return_exceptions=True):
                if failure is not None:
                    raise failure
            made(sum(map(len, records.values())))

    async def _follow(self, number: int, records: Sequence[ConsumerRecord], at: dict[int, int]) -> None:
        for begin in range(0, len(records), BATCH):
            part = records[begin : begin + BATCH]
            await self._apply(number, list(self.sieve.named(part).items()), at[number], part[-1].offset + 1)
            at[number] = part[-1].offset + 1

    async def _apply(self, number: int, events: Sequence[tuple[bytes, CloudEvent]], at: int, new: int) -> None:
        """`events` in one transaction; one by one where they fail together, and without the one that is to blame."""

        async def transaction(work: Work) -> int:
            if not await ledger.move(work, self.consumer, self.past.topic, {number: (at, new)}):
                raise OffsetOutOfRange(f"somebody else replays into these tables: {number} is no longer at {at}")
            unseen = await ledger.remember(work, [key for key, _ in events], self.clock())
            fresh = [event for key, event in events if key in unseen]
            if fresh:
                await self.handler(fresh, work)
            return len(fresh)

        try:
            fresh = await self.database.retrying(transaction)
        except Exception as error:
            if isinstance(error, KafkaError | OffsetOutOfRange) or is_away(error):
                raise
            await self._by_halves(number, events, at, new)
        else:
            self.tally.fresh += fresh
            self.tally.repeated += len(events) - fresh

    async def _by_halves(self, number: int, events: Sequence[tuple[bytes, CloudEvent]], at: int, new: int) -> None:
        if len(events) <= 1:
            self.tally.unreadable += len(events)
            await self._apply(number, [], at, new)
            return
        middle = len(events) // 2
        await self._apply(number, events[:middle], at, at)
        await self._apply(number, events[middle:], at, new)


async def gathered(
    past: Past, sieve: Sieve, start: Offsets, stop: Offsets, wanted: Callable[[Any], bool]
) -> dict[bytes, Any]:
    """All events between two positions that are `wanted`, each once: the first that is read."""
    found: dict[bytes, Any] = {}
    async for records in past.read(start, stop):
        for key, event in chain.from_iterable(sieve.usable(some) for some in records.values()):
            if key in found:
                sieve.tally.repeated += 1
            elif wanted(event):
                found[key] = event
    return found
