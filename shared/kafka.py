"""Kafka: appending to topics with group commit, and the connection settings that every client shares."""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, Self

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

from shared import topics
from shared.clock import Clock, system_clock
from shared.errors import Invalid, LogUnavailable
from shared.events import CONTENT_TYPE
from shared.health import Health, Part
from shared.settings import KafkaSettings
from shared.tasks import end, library_call, why
from shared.topics import Topic

log = structlog.get_logger(__name__)

HEADERS = [("content-type", CONTENT_TYPE.encode())]

BATCH_BYTES = 900_000
"""Of records in one batch: under the 1 MB that a broker accepts, before compression, by default."""

RECORD_OVERHEAD = 80
"""Bytes that a record takes in a batch beside key and value: lengths, timestamp, the one header."""


STOPS_WITHIN = 3.0
"""Seconds that each step of closing a client may take. One that is cut off from its broker would wait for it first."""

LOOK_EVERY = 1.0
"""Seconds between two looks at a producer, and at the brokers while appends fail."""

_write = AIOKafkaConnection.send


def _write_or_say_broken(self: AIOKafkaConnection, *request: Any, **options: Any) -> Any:
    """aiokafka's `send`, with the one error that it expects of a connection that broke.

    Where asyncio raises OSError, uvloop raises RuntimeError. That one ends aiokafka's tasks for good, without a word:
    a broker killed at the wrong moment, and a producer never sends again, a consumer never gets its metadata.
    """
    try:
        return _write(self, *request, **options)
    except KafkaError:
        raise
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        raise KafkaConnectionError(f"the connection to {self.host}:{self.port} is broken: {error}") from error


AIOKafkaConnection.send = _write_or_say_broken


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """The arguments that every client of aiokafka takes to reach the brokers, TLS and SASL included."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": settings.security_protocol,
        "retry_backoff_ms": 100,
    }
    if settings.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate_file:
            context.load_cert_chain(settings.certificate_file, settings.certificate_key_file)
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        arguments["sasl_plain_username"] = settings.username
        arguments["sasl_plain_password"] = settings.password.get_secret_value() if settings.password else None
    return arguments


@asynccontextmanager
async def admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that creates and lists topics."""
    client = AIOKafkaAdminClient(**connection(settings))
    try:
        await library_call(client.start())
        yield client
    finally:
        await _closed(client.close)


@asynccontextmanager
async def consumer(
    settings: KafkaSettings, *names: str, within: float | None = None, **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has started, of the topics with these `names`. It is closed whatever happens, starting included.

    Raises KafkaError where no broker answers, and TimeoutError after `within` seconds.
    """
    client = AIOKafkaConsumer(*names, **connection(settings), enable_auto_commit=False, **options)
    try:
        await library_call(client.start(), within=within)
        yield client
    finally:
        # `stop` lets the CancelledError out of a task that it has cancelled itself (aio-libs/aiokafka#647, seen with
        # 0.14.0), and leaves what it would have closed after that: a task that fetches for ever, connections.
        fetcher = client._fetcher
        await _closed(
            lambda: _leave_group(client), client.stop, *([fetcher.close] if fetcher else []), client._client.close
        )


async def _leave_group(client: AIOKafkaConsumer) -> None:
    """Leave the consumer group of `client`, if it has one, at once: in the middle of a rebalance, too.

    `stop` waits for the rebalance first, which takes as long as the slowest member needs to notice it (3 s and more),
    and sends its LeaveGroupRequest on the connection that the broker keeps busy until then. A member that goes without
    leaving keeps its partitions, unread, until its session ends.
    """
    coordinator = client._coordinator
    if not isinstance(coordinator, GroupCoordinator):
        return
    await end([coordinator._coordination_task])
    if coordinator.member_id and coordinator.coordinator_id is not None:
        request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
        await client._client.send(coordinator.coordinator_id, request)
    coordinator.reset_generation()  # so that `stop` does not leave a second time


async def _closed(*steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Take each of `steps`, whatever comes of the others."""
    for step in steps:
        try:
            await library_call(step(), within=STOPS_WITHIN)
        except (KafkaError, OSError) as error:  # a time-out is an OSError
            log.debug("a client of Kafka did not close cleanly", error=repr(error))


async def answers(settings: KafkaSettings, *, within: float = 5.0) -> bool:
    """Tell whether Kafka answers a client that is new, whatever has become of the others."""

    async def ask() -> None:
        async with admin(settings) as client:
            await client.list_topics()

    try:
        await library_call(ask(), within=within)
    except (KafkaError, OSError):  # a time-out is an OSError
        return False
    return True


Record = tuple[bytes, bytes]
"""Key and value."""


POSITION = re.compile(r"([0-9]{1,10}):([0-9]{1,19})")
"""A partition and an offset. Kafka numbers them in 32 and 64 bits."""


class Position(NamedTuple):
    """The place of a record in its topic."""

    partition: int
    offset: int


def token(positions: Iterable[Position]) -> str:
    """The `Temas-Position` of what was written: for each partition the highest offset, as `0:1234,3:88`."""
    highest: dict[int, int] = {}
    for partition, offset in positions:
        highest[partition] = max(offset, highest.get(partition, -1))
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(highest.items()))


def parse_token(text: str) -> dict[int, int]:
    """A `Temas-Position` as {partition: offset}. Raises Invalid where it is none."""
    found = [POSITION.fullmatch(pair) for pair in text.split(",")]
    pairs = [(int(each[1]), int(each[2])) for each in found if each]
    if len(pairs) < len(found) or any(partition >= 2**31 or offset >= 2**63 for partition, offset in pairs):
        raise Invalid(
            f"after: expected a Temas-Position as ingest gave it, such as 0:1234,3:88; got {text!r}",
            details=[{"path": "after", "code": "invalid_position"}],
        )
    return dict(pairs)


class ProducerEnded(Exception):
    """A task without which the producer never sends again has ended: only a new process helps."""


class Kafka:
    """A process's one producer, and the logs that append through it. One of its loops, too: it looks at the brokers."""

    def __init__(self, settings: KafkaSettings, producer: AIOKafkaProducer, health: Health, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.producer = producer
        self.part = health.part("kafka")
        self.pulse = health.pulse("kafka")
        self.logs: dict[str, Log] = {}
        self.looking = asyncio.create_task(self._look(), name="look at the brokers")

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings, health: Health, clock: Clock = system_clock) -> AsyncIterator[Self]:
        """Connect; at the end let what waits be acknowledged, then close. Raises KafkaError if no broker answers.

        `clock`: what records are dated by. Brokers refuse those that are an hour ahead of their own.
        """
        producer = AIOKafkaProducer(
            **connection(settings),
            acks="all",
            # An idempotent producer wedges after a long leader loss; consumers deduplicate by event id instead.
            enable_idempotence=False,
            # Of touchpoints zstd leaves 17 % in 1.5 µs each; lz4, at the level that aiokafka asks of it, 25 % in 8 µs.
            compression_type="zstd",
            linger_ms=0,  # group commit gathers; waiting on top of it would only add latency
            max_batch_size=16 * BATCH_BYTES,  # `Log` cuts its batches itself, but for the rare record that is larger
            max_request_size=16 * BATCH_BYTES,
            request_timeout_ms=int(settings.deadline * 1000),
        )
        try:
            await library_call(producer.start())
            kafka = cls(settings, producer, health, clock)
            try:
                yield kafka
            finally:
                await end([kafka.looking])
                for each in kafka.logs.values():
                    await each.drained()
        finally:
            await _closed(producer.stop, producer.client.close)

    async def run(self) -> None:
        """Return, or raise, when the look at the brokers has ended, which goes on for as long as this is open."""
        await asyncio.shield(self.looking)

    async def _look(self) -> None:
        """Look whether the producer works, and while appends fail, ask the brokers now and then.

        A process that is not ready gets no traffic, so no append of a client would ever find that Kafka is back.
        """
        while True:
            self.pulse.beat()
            await asyncio.sleep(LOOK_EVERY)
            self._see_to_the_producer()
            if self.part.failure is None:
                continue
            try:
                await library_call(self.producer.client.fetch_all_metadata(), within=self.settings.deadline)
            except (KafkaError, OSError):  # a time-out is an OSError
                continue
            self.part.beat()

    def _see_to_the_producer(self) -> None:
        """Raises ProducerEnded. aiokafka tells of it nowhere: appends would fail one by one, for ever."""
        for task in (self.producer._sender.sender_task, self.producer.client._sync_task):
            if task is None or task.done():
                raise ProducerEnded(f"{task and task.get_coro()}: {task and why(task)}")

    async def require(self, wanted: Iterable[Topic]) -> None:
        """Return when all of `wanted` exist. Raises TopicsMissing."""
        async with admin(self.settings) as client:
            await library_call(topics.require(client, wanted, prefix=self.settings.prefix))

    def log(self, topic: Topic) -> Log:
        """The log of `topic`: one for each topic and process, so that all who append share its batches."""
        name = self.settings.prefix + topic.name
        if name not in self.logs:
            self.logs[name] = Log(self.producer, name, self.settings, self.part, self.clock)
        return self.logs[name]


@dataclass(slots=True)
class Waiter:
    """Some records of one `append` for one partition, that will stand together in one batch; what they wait for."""

    records: Sequence[Record]
    size: int
    base: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Appended(NamedTuple):
    """Records on their way into the log. `positions`, to be asked when `future` is done, raises LogUnavailable."""

    future: asyncio.Future[Any]
    positions: Callable[[], list[Position]]


class Log:
    """Appends to one topic: many waiters, one acknowledgement.

    A future per message is what limits the producer (43,000 events/s on two cores). Here everything that waits for a
    partition leaves as one record batch, and that batch's acknowledgement answers all of its waiters (127,000/s).
    """

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, settings: KafkaSettings, part: Part, clock: Clock = system_clock
    ) -> None:
        self.producer = producer
        self.topic = topic
        self.clock = clock
        self.deadline = settings.deadline
        self.limit = settings.waiting_limit
        self.part = part
        self.partitions = 0
        self.waiting_bytes = 0
        self.waiting: defaultdict[int, list[Waiter]] = defaultdict(list)
        self.draining: dict[int, asyncio.Task[None]] = {}

    async def append(self, records: Sequence[Record]) -> list[Position]:
        """Append `records`; give the position of each, in order, once all in-sync replicas have them.

        Raises LogUnavailable as `put` does, and after the deadline when no acknowledgement came. Then the records may
        or may not be in the log: whoever retries must keep the event ids.
        """
        appended = self.put(records)
        if not appended.future.done():
            await asyncio.wait([appended.future])
        return appended.positions()

    def put(self, records: Sequence[Record]) -> Appended:
        """Begin to append. For who can't afford a task that waits.

        It has failed at once when more than the limit is waiting, or Kafka is known to be away.
        """
        if self.part.failure is not None:  # `Kafka` asks now and then whether it is back
            return _refused("Kafka does not acknowledge now; nothing of this request was written")
        size = _size(records)
        if self.waiting_bytes and self.waiting_bytes + size > self.limit:
            return _refused("too much is waiting for Kafka already; nothing of this request was written")
        self.waiting_bytes += size
        if not self.partitions:
            first = asyncio.get_running_loop().create_task(self._counted(records, size))
            return Appended(first, first.result)
        return self._one(records, size) if len(records) == 1 else self._many(records)

    async def _counted(self, records: Sequence[Record], size: int) -> list[Position]:
        """Append the first records of all, which have to find out how many partitions there are."""
        try:
            partitions = await library_call(self.producer.partitions_for(self.topic), within=self.deadline)
            self.partitions = len(partitions)
        except (KafkaError, OSError) as error:  # a time-out is an OSError
            raise LogUnavailable(f"Kafka does not say what partitions it has: {error!r}") from error
        finally:
            self.waiting_bytes -= size  # to be counted again now, or gone
        return await self.append(records)

    async def drained(self) -> None:
        """Return when nothing waits any more, acknowledged or failed."""
        while self.draining:
            await asyncio.wait(self.draining.values())

    def _one(self, records: Sequence[Record], size: int) -> Appended:
        """As `_many`, with less ado: most requests of apps and browsers hold one call."""
        partition = self._partition(records[0][0])
        waiter = Waiter(records, size)
        self._enqueue(partition, waiter)
        return Appended(waiter.base, lambda: [Position(partition, waiter.base.result())])

    def _many(self, records: Sequence[Record]) -> Appended:
        placed = defaultdict(list)
        for index, (key, _) in enumerate(records):
            placed[self._partition(key)].append(index)
        waiters = [
            (partition, indexes[start:stop], waiter)
            for partition, indexes in placed.items()
            for start, stop, waiter in _pieces([records[index] for index in indexes])
        ]
        for partition, _, waiter in waiters:
            self._enqueue(partition, waiter)
        # Every waiter is waited for, so that a failure is never left unread; then the first one is told.
        all_of_them = asyncio.gather(*(waiter.base for *_, waiter in waiters), return_exceptions=True)
        return Appended(all_of_them, lambda: _positions(waiters, len(records)))

    def _partition(self, key: bytes) -> int:
        """As librdkafka's consistent partitioner. Java's murmur2 in Python costs more than all the rest of a record."""
        return zlib.crc32(key) % self.partitions

    def _enqueue(self, partition: int, waiter: Waiter) -> None:
        self.waiting[partition].append(waiter)
        if partition not in self.draining:
            self.draining[partition] = asyncio.get_running_loop().create_task(self._drain(partition))

    async def _drain(self, partition: int) -> None:
        """Send what waits for `partition`, batch after batch, until nothing waits."""
        while waiting := self.waiting.pop(partition, None):
            unsettled = waiting
            for members in _packed(waiting):
                try:
                    async with asyncio.timeout(self.deadline):
                        base = await self._send(partition, members)
                # Whatever it is, nobody may be left waiting for ever; and it is not we who cancel this task.
                except (Exception, asyncio.CancelledError) as error:
                    # Unknown, not lost: the client sends again with the same ids. Who came later would only wait in
                    # vain for a broker that is away, so they are told as well.
                    self.part.fail(f"Kafka does not acknowledge: {type(error).__name__}")
                    log.warning("kafka does not acknowledge", topic=self.topic, partition=partition, error=repr(error))
                    failed = [*unsettled, *self.waiting.pop(partition, [])]
                    self.waiting_bytes -= sum(each.size for each in failed)
                    _fail(failed)
                    break
                self.part.beat()
                self.waiting_bytes -= sum([each.size for each in members])
                _settle(members, base)
                unsettled = unsettled[len(members) :]
        # No await since the last look at what waits: whoever comes next finds no drain and starts one.
        del self.draining[partition]

    async def _send(self, partition: int, members: Sequence[Waiter]) -> int:
        batch = self.producer.create_batch()
        now = int(self.clock().timestamp() * 1000)
        for member in members:
            for key, value in member.records:
                batch.append(timestamp=now, key=key, value=value, headers=HEADERS)
        acknowledgement = await self.producer.send_batch(batch, self.topic, partition=partition)
        # Shielded from our deadline: aiokafka's sender fails for good when a batch that it holds is cancelled.
        acknowledgement.add_done_callback(lambda future: future.cancelled() or future.exception())
        base: int = (await asyncio.shield(acknowledgement)).offset
        return base


def _refused(message: str) -> Appended:
    """Give the outcome of an append that was not even begun."""
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(LogUnavailable(message))
    failed.exception()  # read, as far as asyncio cares, whether or not somebody asks for the positions
    return Appended(failed, failed.result)


def _size(records: Sequence[Record]) -> int:
    size = RECORD_OVERHEAD * len(records)
    for key, value in records:
        size += len(key) + len(value)
    return size


def _positions(waiters: Sequence[tuple[int, Sequence[int], Waiter]], many: int) -> list[Position]:
    """Give the place of each of `many` records, by the waiters that have some of them: (partition, indexes, waiter)."""
    positions = [Position(0, 0)] * many
    for partition, indexes, waiter in waiters:
        base = waiter.base.result()
        for step, index in enumerate(indexes):
            positions[index] = Position(partition, base + step)
    return positions


def _pieces(records: Sequence[Record]) -> Iterator[tuple[int, int, Waiter]]:
    """`records` cut so that each piece fits into one batch, as (start, stop, waiter)."""
    start = size = 0
    for index, (key, value) in enumerate(records):
        length = len(key) + len(value) + RECORD_OVERHEAD
        if size and size + length > BATCH_BYTES:
            yield start, index, Waiter(records[start:index], size)
            start, size = index, 0
        size += length
    yield start, len(records), Waiter(records[start:], size)


def _packed(waiting: Sequence[Waiter]) -> Iterator[list[Waiter]]:
    """`waiting`, in order, in groups of at most a batch's bytes each."""
    numbered, size, number = [], 0, 0
    for waiter in waiting:
        if size and size + waiter.size > BATCH_BYTES:
            size, number = 0, number + 1
        size += waiter.size
        numbered.append((number, waiter))
    for _, group in groupby(numbered, key=lambda pair: pair[0]):
        yield [waiter for _, waiter in group]


def _settle(members: Sequence[Waiter], base: int) -> None:
    for member in members:
        if not member.base.done():
            member.base.set_result(base)
        base += len(member.records)


def _fail(members: Sequence[Waiter]) -> None:
    error = LogUnavailable("Kafka did not acknowledge in time: send again with the same message ids")
    for member in members:
        if not member.base.done():
            member.base.set_exception(error)
