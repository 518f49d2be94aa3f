"""Looking at the newest touchpoints of the log, without a consumer group: nobody else notices."""

from __future__ import annotations

from asyncio import Lock
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared import topics
from shared.errors import LogUnavailable
from shared.events import Touchpoint
from shared.kafka import consumer
from shared.settings import KafkaSettings
from shared.tasks import library_call

RECORDS = 50_000
"""Looked at, of all partitions together: what two cores decode in half a second."""

SECONDS = 5.0
"""That it may take. What has been read by then is what there is to see."""

AT_ONCE = 500
"""Records between two moments in which requests are answered."""

_touchpoint = msgspec.json.Decoder(Touchpoint)


class Tail:
    """The end of the log. Only one looks at a time: others wait for their turn."""

    def __init__(self, settings: KafkaSettings, *, records: int = RECORDS, seconds: float = SECONDS) -> None:
        self.settings = settings
        self.topic = settings.prefix + topics.TOUCHPOINTS.name
        self.records = records
        self.seconds = seconds
        self.turn = Lock()

    async def each(self, look: Callable[[Touchpoint], None]) -> int:
        """Show the newest touchpoints to `look`, partition by partition in the log's order; give how many there were.

        Raises LogUnavailable where Kafka does not answer.
        """
        seen = 0

        async def show() -> None:
            nonlocal seen
            async with consumer(self.settings, self.topic, auto_offset_reset="earliest") as reader:
                async for record in self._records(reader):
                    with suppress(msgspec.MsgspecError):  # written by a version to come
                        look(_touchpoint.decode(record))
                        seen += 1

        async with self.turn:
            try:
                await library_call(show(), within=self.seconds)
            except (KafkaError, OSError) as error:  # a time-out is an OSError
                if not seen:
                    raise LogUnavailable(f"the log can't be read now: {type(error).__name__}") from error
        return seen

    async def _records(self, reader: AIOKafkaConsumer) -> AsyncIterator[bytes]:
        """The values of the last records of each partition, up to where it ended when asked."""
        partitions = list(reader.assignment())
        ends = await reader.end_offsets(partitions)
        begins = await reader.beginning_offsets(partitions)
        share = self.records // max(1, len(partitions))
        for partition in partitions:
            reader.seek(partition, max(begins[partition], ends[partition] - share))
        while left := await _unread(reader, ends):
            fetched = await reader.getmany(*left, timeout_ms=200, max_records=AT_ONCE)
            for records in fetched.values():
                for record in records:
                    if record.offset < ends[TopicPartition(record.topic, record.partition)]:
                        yield record.value


async def _unread(reader: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> list[TopicPartition]:
    return [partition for partition, end in ends.items() if await reader.position(partition) < end]
