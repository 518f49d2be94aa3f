"""Kafka in: the one consumer algorithm. PostgreSQL is the only point of linearisation.

One transaction for a batch, always in this order:

1. fence: move the stored offsets from where we believe they are. One did not move: somebody else owns the partition;
   roll back, read the offsets, seek. This alone makes zombies harmless.
2. deduplicate: remember the events; only those never seen before go on.
3. the service's handler: fold, link, mark.

A batch is of one topic, from as many of its partitions as were read together: a transaction, and each of the dozen
statements in it, costs the same for one event as for fifty. While little comes, the consumer lets some gather.

Offsets live in PostgreSQL, and the consumer seeks to them. An offset outside the log's range means that a topic was
made anew or cut: stop and say so, never reset silently.

A batch that fails on what is in it is bisected until the one bad record is found; that record goes to the dead
letters with its reason, the others are applied. A server that is away means back off and try again; nothing is
dropped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, NoOffsetForPartitionError, OffsetOutOfRangeError

from shared import ledger, metrics, topics
from shared.clock import Clock
from shared.db import Database, Work, is_away
from shared.dead_letters import DeadLetterLimit, DeadLetters, TooOld
from shared.errors import Fatal, LogUnavailable, OffsetOutOfRange
from shared.events import CloudEvent, Touchpoint
from shared.health import Health
from shared.kafka import Log, answers, consumer
from shared.ledger import TABLES_V1, add_tables
from shared.settings import KafkaSettings
from shared.tasks import CallCancelled, library_call, together
from shared.topics import Topic
from shared.watch import Progress, Watch

__all__ = ["TABLES_V1", "Route", "Stream", "StreamLimits", "add_tables"]

PATIENCE = 10.0
"""Seconds that an answer of Kafka is waited for, before it is asked whether it answers anybody."""

STARTS_WITHIN = 30.0
"""Seconds that a consumer may take to find the brokers."""

log = structlog.get_logger(__name__)
E = TypeVar("E", bound=CloudEvent)
T = TypeVar("T")


@dataclass(frozen=True)
class StreamLimits:
    """How much at once, how long, how often."""

    # Records in one transaction, and milliseconds to wait for the first.
    batch: int = 1_000
    wait: int = 200
    # Seconds from one turn to the next while less than a batch comes: what comes meanwhile shares a transaction.
    pace: float = 0.03
    # Seconds to back off while a server is away: from, to.
    pause: float = 0.1
    longest_pause: float = 5.0
    # Seconds with records waiting and none applied, after which the process must be started again.
    stuck: float = 60.0
    # How long events are remembered: the log's retention and some more.
    remembered: timedelta = timedelta(days=topics.LOG_RETENTION_DAYS + 5)
    dead_letters: DeadLetterLimit = field(default_factory=DeadLetterLimit)


@dataclass(frozen=True)
class Route(Generic[E]):
    """What a service does with a topic. `once`: only events never seen before, by (source, id), reach the handler.

    The handler gets events in the order of the log, inside the consumer's transaction. It never commits. Whatever it
    raises that is not a server's absence is taken as the fault of a record.
    """

    topic: Topic
    handler: Callable[[Sequence[E], Work], Awaitable[None]]
    once: bool = False


@dataclass(frozen=True)
class Slice:
    """Records of one partition that follow on each other; `at` is what is next to be applied there."""

    partition: TopicPartition
    records: Sequence[ConsumerRecord]
    at: int

    @property
    def following(self) -> int:
        """What is next once they are applied."""
        return int(self.records[-1].offset) + 1

    def split(self, count: int) -> tuple[Slice, Slice]:
        """The first `count` of them, at least one, and the others."""
        first = Slice(self.partition, self.records[:count], self.at)
        return first, Slice(self.partition, self.records[count:], first.following)


def batches(slices: Iterable[Slice], size: int) -> Iterator[list[Slice]]:
    """`slices` in their order, in batches of `size` records, the last one smaller."""
    batch: list[Slice] = []
    room = size
    for rest in slices:
        while rest.records:
            first, rest = rest.split(room)  # noqa: PLW2901 - the rest of it
            batch.append(first)
            room -= len(first.records)
            if not room:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


def _halves(batch: Sequence[Slice]) -> Iterator[Sequence[Slice]]:
    """A batch of two records or more in two: between its partitions, or in the middle of its only one."""
    if len(batch) > 1:
        yield from (batch[: len(batch) // 2], batch[len(batch) // 2 :])
    else:
        yield from ([half] for half in batch[0].split(len(batch[0].records) // 2))


class Fenced(Exception):
    """Another process has applied this partition further than we have, or we do not know yet how far it is."""


class Unreadable(Exception):
    """A record that is no event of its topic. The text says where it departs."""


class Stream:
    """A service's one consumer: all its topics, one group."""

    def __init__(
        self,
        *,
        service: str,
        routes: Sequence[Route[Any]],
        settings: KafkaSettings,
        limits: StreamLimits,
        database: Database,
        dead: Log,
        health: Health,
        clock: Clock,
        after_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.service = service
        self.settings = settings
        self.limits = limits
        self.database = database
        self.clock = clock
        self.after_commit = after_commit
        self.routes = {settings.prefix + route.topic.name: route for route in routes}
        self.decoders: Mapping[str, msgspec.json.Decoder[Any]] = {
            name: msgspec.json.Decoder(route.topic.event) for name, route in self.routes.items()
        }
        self.dead_letters = DeadLetters(service, dead, limits.dead_letters, clock)
        self.part = health.part("consumer", deadline=limits.stuck)
        self.pulse = health.pulse("consumer")
        self.watch_pulse = health.pulse("watch of the consumer")
        self.progress = Progress()
        metrics.STOPPED.labels(service).set(0)

    async def run(self) -> None:
        """Consume until cancelled. Raises Stuck; where a person must look it stops, alarms, and stays stopped."""
        try:
            await self._consume()
        except Fatal as error:
            metrics.STOPPED.labels(self.service).set(1)
            log.critical("the consumer has stopped for good", why=str(error))
            while True:  # ending the process would only have it started again, into the same wall
                self.part.fail(f"stopped: {error}")
                for pulse in (self.pulse, self.watch_pulse):
                    pulse.beat()
                await asyncio.sleep(self.limits.longest_pause)

    async def _consume(self) -> None:
        """Read with one consumer until something ends it for good; while Kafka is away, begin again and again."""
        pause = self.limits.pause
        while True:
            try:
                await self._begin()
            except Exception as error:
                if not is_transient(error):
                    raise
                self.progress.expected.clear()
                pause = await self._back_off(error, pause)

    async def _begin(self) -> None:
        options = {
            "group_id": self.settings.prefix + self.service,
            "auto_offset_reset": "none",
            # After kill -9 nobody reads the dead member's partitions until its session ends, and its successor waits
            # that long to join. Being taken for dead too soon costs only a rebalance: the fence makes zombies harmless.
            "session_timeout_ms": 10_000,
            "rebalance_timeout_ms": 60_000,
            "max_partition_fetch_bytes": 4 * 1024 * 1024,
            # A topic that was deleted leaves the assignment; that it was made anew is only seen with fresh metadata,
            # and until then the consumer would be idle and look well.
            "metadata_max_age_ms": 10_000,
        }
        watch = Watch(
            consumer_name=self.service,
            prefix=self.settings.prefix,
            progress=self.progress,
            pulse=self.watch_pulse,
            clock=self.clock,
            stuck=self.limits.stuck,
            answers=lambda: answers(self.settings),
            stored=self._stored,
            forget=self._forget,
        )
        async with consumer(self.settings, within=STARTS_WITHIN, **options) as client:
            client.subscribe(list(self.routes), listener=_Assignment(self, client))
            await together(reading=self._read(client), watching=watch.run(client))

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, client: AIOKafkaConsumer) -> None:
        pause = self.limits.pause
        while True:
            try:
                if any(partition not in self.progress.expected for partition in client.assignment()):
                    await library_call(self.seek(client))
                if await library_call(self._turn(client)):
                    self.part.beat()
            except OffsetOutOfRangeError as error:
                raise OffsetOutOfRange(f"the log no longer has what is next to be applied: {error}") from error
            except (Fenced, NoOffsetForPartitionError):  # the latter: assigned, and read before we could seek
                self.progress.expected.clear()
            except Exception as error:
                if not is_transient(error):
                    raise
                self.progress.expected.clear()
                pause = await self._back_off(error, pause)
            else:
                pause = self.limits.pause

    async def _turn(self, client: AIOKafkaConsumer) -> bool:
        """Read some records and apply them. False where there is nobody to read from: no partition is assigned yet."""
        most = 4 * self.limits.batch
        try:
            # It waits without a limit while the group is being put together, for as long as Kafka is away.
            fetched = await library_call(client.getmany(timeout_ms=self.limits.wait, max_records=most), within=PATIENCE)
        except TimeoutError:
            if not await answers(self.settings):
                self._waits()
            return False
        self.pulse.beat()
        # Before anything is awaited: these records follow on what is expected now, and a rebalance changes that.
        expected = [self.progress.expected.get(partition) for partition in fetched]
        began = asyncio.get_running_loop().time()
        slices = []
        for (partition, records), at in zip(fetched.items(), expected, strict=True):
            if at is None:
                raise Fenced(f"{partition.topic}/{partition.partition} was assigned and not sought yet")
            # After a rebalance the same records may come twice: what was applied meanwhile is behind us.
            slices.append(Slice(partition, [record for record in records if record.offset >= at], at))
        await self.follow(slices)
        if 0 < sum(len(each.records) for each in slices) < self.limits.batch:
            await asyncio.sleep(max(0.0, began + self.limits.pace - asyncio.get_running_loop().time()))
        return True

    async def follow(self, slices: Sequence[Slice]) -> None:
        """Apply what was read, the partitions of a topic together, in batches."""
        for topic in sorted({each.partition.topic for each in slices}):
            for batch in batches([each for each in slices if each.partition.topic == topic], self.limits.batch):
                await self._apply(batch)

    async def _back_off(self, error: Exception, pause: float) -> float:
        """Wait a little, and longer each time. Gives how long to wait the next time."""
        metrics.PAUSES.labels(self.service).inc()
        log.warning("a server is away; backing off", error=repr(error)[:300], seconds=round(pause, 1))
        self._waits()
        if not isinstance(error, KafkaError | CallCancelled):
            # Nor is it being stuck. Of Kafka's errors a stuck client may be the source: the watch asks the broker.
            self.progress.excused()
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
        return min(2 * pause, self.limits.longest_pause)

    def _waits(self) -> None:
        """Report that we wait for a server, which is what we should do now."""
        self.part.beat()
        self.pulse.beat()

    async def seek(self, client: AIOKafkaConsumer) -> None:
        """Go on from what PostgreSQL says was applied, in every assigned partition. Raises OffsetOutOfRange."""
        partitions = sorted(client.assignment())
        if not partitions:
            return
        firsts = await _answer(client.beginning_offsets(partitions))
        async with self.database.begin() as work:
            stored = {each: await self._next(work, each, firsts[each]) for each in partitions}
        # Asked last: whoever had these partitions before us may still be moving on, and then there is more in the log.
        ends = await _answer(client.end_offsets(partitions))
        for partition, offset in stored.items():
            first, end = firsts[partition], ends[partition]
            if not first <= offset <= end:
                raise OffsetOutOfRange(
                    f"{partition.topic}/{partition.partition} holds the offsets {first} to {end}, but {offset} is next "
                    "to be applied: the topic was made anew or cut. Restore it, or decide what was lost and set "
                    "stream_offset"
                )
            client.seek(partition, offset)
            self.progress.expected[partition] = offset

    async def _next(self, work: Work, partition: TopicPartition, first: int) -> int:
        return await ledger.next_offset(work, self.service, partition.topic, partition.partition, first=first)

    # --- applying ----------------------------------------------------------------------------------------------------

    async def _apply(self, batch: Sequence[Slice]) -> None:
        """Apply `batch`: in halves where it fails together, down to the single record that is to blame."""
        began = asyncio.get_running_loop().time()
        try:
            events, fresh = await self._commit(batch)
        except Exception as error:
            if is_transient(error) or isinstance(error, Fenced):
                raise
            if sum(len(each.records) for each in batch) == 1:
                await self._put_aside(batch[0], error)
            else:
                for half in _halves(batch):
                    await self._apply(half)
        else:  # not above: what fails from here on is the fault of no record
            self._applied(batch, events, fresh, began)

    async def _commit(self, batch: Sequence[Slice]) -> tuple[int, int]:
        """One transaction with all of `batch`. Gives how many events they are, and how many of those were new."""
        topic = batch[0].partition.topic
        events = self._events(topic, [record for each in batch for record in each.records])
        route = self.routes[topic]

        async def transaction(work: Work) -> int:
            await self._fence(work, batch)
            fresh = await self._unseen(work, events) if route.once else events
            if fresh:
                await route.handler(fresh, work)
            return len(fresh)

        return len(events), await self.database.retrying(transaction)

    def _applied(self, batch: Sequence[Slice], events: int, fresh: int, began: float) -> None:
        self.pulse.beat()
        for each in batch:
            self.progress.made(each.partition, each.following, each.records[-1].timestamp)
        records = sum(len(each.records) for each in batch)
        self.dead_letters.went_well(records)
        labels = (self.service, batch[0].partition.topic.removeprefix(self.settings.prefix))
        metrics.BATCH_RECORDS.labels(*labels).observe(records)
        metrics.BATCH_SECONDS.labels(*labels).observe(asyncio.get_running_loop().time() - began)
        metrics.APPLIED.labels(*labels).inc(fresh)
        metrics.DUPLICATES.labels(*labels).inc(events - fresh)
        self.after_commit()

    def _events(self, topic: str, records: Sequence[ConsumerRecord]) -> list[CloudEvent]:
        # A record without a value says that its key is gone: the handler of an erasure's signal does the erasing.
        return self._decoded(topic, [record.value for record in records if record.value is not None])

    def _decoded(self, topic: str, values: Iterable[bytes]) -> list[CloudEvent]:
        decode = self.decoders[topic].decode
        try:
            return [decode(value) for value in values]
        except msgspec.DecodeError as error:
            raise Unreadable(str(error)) from error

    async def apply_again(self, topic: str, value: bytes, work: Work) -> bool:
        """Apply a record that was put aside, inside `work`. Gives False where its event was applied before.

        However old it is: whoever orders this has decided that it was not. Raises Unreadable, KeyError where nothing
        here reads `topic`, and what the handler raises.
        """
        route = self.routes[topic]
        events = self._decoded(topic, [value])
        fresh = await self._new(work, events) if route.once else events
        if fresh:
            await route.handler(fresh, work)
        return bool(fresh)

    async def _fence(self, work: Work, batch: Sequence[Slice]) -> None:
        topic = batch[0].partition.topic
        steps = {each.partition.partition: (each.at, each.following) for each in batch}
        if not await ledger.move(work, self.service, topic, steps):
            metrics.FENCED.labels(self.service, topic.removeprefix(self.settings.prefix)).inc()
            raise Fenced(f"{topic}: a partition is no longer where it was believed to be ({steps})")

    async def _unseen(self, work: Work, events: Sequence[CloudEvent]) -> list[CloudEvent]:
        oldest = self.clock() - self.limits.remembered
        for event in events:
            if isinstance(event, Touchpoint) and event.data.received_at < oldest:
                raise TooOld(f"received {event.data.received_at}, before duplicates are known ({oldest})")
        return await self._new(work, events)

    async def _new(self, work: Work, events: Sequence[CloudEvent]) -> list[CloudEvent]:
        named: dict[bytes, CloudEvent] = {}
        for event in events:
            named.setdefault(ledger.key(event), event)
        new = await ledger.remember(work, list(named), self.clock())
        return [event for key, event in named.items() if key in new]

    async def _put_aside(self, one: Slice, error: Exception) -> None:
        (record,) = one.records
        await self.dead_letters.put(record, one.partition.topic.removeprefix(self.settings.prefix), error)
        async with self.database.begin() as work:
            await self._fence(work, [one])
        self.progress.made(one.partition, one.following, record.timestamp)
        self.dead_letters.count(error)

    async def _stored(self) -> Mapping[tuple[str, int], int]:
        async with self.database.begin() as work:
            return await ledger.positions(work, self.service)

    async def _forget(self) -> bool:
        async with self.database.begin() as work:
            return await ledger.forget(work, self.clock() - self.limits.remembered)


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """On every rebalance, forget where we believed to be and read it again."""

    def __init__(self, stream: Stream, client: AIOKafkaConsumer) -> None:
        self.stream = stream
        self.client = client

    async def on_partitions_revoked(self, revoked: object) -> None:
        self.stream.progress.expected.clear()

    async def on_partitions_assigned(self, assigned: object) -> None:
        # aiokafka logs what is raised here and goes on. Then nothing is expected of these partitions, nothing of them
        # can be committed, and the reading loop seeks again.
        self.stream.progress.expected.clear()
        await library_call(self.stream.seek(self.client))


async def _answer(call: Coroutine[Any, Any, T]) -> T:
    """Kafka's answer to `call`. Raises KafkaError, also where none comes: that says nothing of the database."""
    try:
        return await library_call(call, within=PATIENCE)
    except TimeoutError as error:
        raise KafkaTimeoutError(str(error)) from error


def is_transient(error: BaseException) -> bool:
    """Tell whether `error` says that a server is away, so that the same work may succeed later."""
    return isinstance(error, KafkaError | LogUnavailable) or is_away(error)
