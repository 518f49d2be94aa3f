"""What the machine gives at most, in this run: to a bare producer, and to a bare upsert."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle, islice

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared.kafka import BATCH_BYTES, HEADERS
from shared.topics import TOUCHPOINTS
from tests.bench.stack import PREFIX, BenchFailed, Stack

Pair = tuple[bytes, bytes]
ROWS_AT_ONCE = 1_000

MAKE_TABLE = """
    CREATE SCHEMA IF NOT EXISTS bench;
    DROP TABLE IF EXISTS bench.fragment;
    CREATE TABLE bench.fragment (
        kind text NOT NULL, value text NOT NULL, state jsonb NOT NULL, version bigint NOT NULL,
        PRIMARY KEY (kind, value)
    ) WITH (fillfactor = 70);
"""
UPSERT = """
    INSERT INTO bench.fragment (kind, value, state, version)
    SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bigint[])
    ON CONFLICT (kind, value) DO UPDATE SET state = excluded.state, version = excluded.version
"""


async def written_records(stack: Stack, wanted: int = 1_000) -> Sequence[Pair]:
    """(key, value) of records that ingest has written to the bench's own topic: the bytes that really go to Kafka."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.told["TEMAS_KAFKA_BOOTSTRAP"], auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(PREFIX + TOUCHPOINTS.name, number) for number in range(TOUCHPOINTS.partitions)])
        fetched = await consumer.getmany(timeout_ms=5_000, max_records=wanted)
    finally:
        await consumer.stop()
    records = [(record.key, record.value) for partition in fetched.values() for record in partition]
    if not records:
        raise BenchFailed("ingest has written nothing to the bench's topic")
    return records


async def produced(stack: Stack, records: Sequence[Pair], seconds: float) -> float:
    """Records a second that a bare aiokafka producer gets acknowledged: full batches, one a partition at a time."""
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.told["TEMAS_KAFKA_BOOTSTRAP"],
        acks="all",
        compression_type="zstd",
        max_batch_size=16 * BATCH_BYTES,
        max_request_size=16 * BATCH_BYTES,
    )
    await producer.start()
    try:
        began = time.perf_counter()
        counts = await asyncio.gather(
            *(_fill(producer, number, records, began + seconds) for number in range(TOUCHPOINTS.partitions))
        )
        return sum(counts) / (time.perf_counter() - began)
    finally:
        await producer.stop()


async def _fill(producer: AIOKafkaProducer, partition: int, records: Sequence[Pair], until: float) -> int:
    """Batch after batch into one partition. Gives how many records were acknowledged."""
    per_batch = BATCH_BYTES // (sum(len(key) + len(value) for key, value in records) // len(records) + 80)
    endless, count = cycle(records), 0
    while time.perf_counter() < until:
        batch = producer.create_batch()
        for key, value in islice(endless, per_batch):
            batch.append(timestamp=None, key=key, value=value, headers=HEADERS)
        await (await producer.send_batch(batch, PREFIX + TOUCHPOINTS.name, partition=partition))
        count += per_batch
    return count


async def upserted(stack: Stack, seconds: float) -> float:
    """Rows of 600 bytes a second that PostgreSQL takes in sorted `unnest` upserts of 1,000, over 10,000 keys."""
    connection = await asyncpg.connect(stack.told["TEMAS_DATABASE_URL"])
    try:
        await connection.execute(MAKE_TABLE)
        values = [f"u-{number:05d}" for number in range(10 * ROWS_AT_ONCE)]
        state = '{"days": {"2026-01-01": ' + "[1, 2.5, " * 30 + "0" + "]" * 30 + '}, "text": "' + "x" * 280 + '"}'
        began, count = time.perf_counter(), 0
        while time.perf_counter() < began + seconds:
            keys = values[count % len(values) :][:ROWS_AT_ONCE]
            many = len(keys)
            await connection.execute(UPSERT, ["user_id"] * many, keys, [state] * many, [count] * many)
            count += many
        return count / (time.perf_counter() - began)
    finally:
        await connection.close()
