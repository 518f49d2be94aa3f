"""What a service has applied: how far it has read each partition, and which events it has seen.

Both stand in the service's own schema and change in the transaction that changes its state, so that PostgreSQL alone
says what was applied. Kafka's committed offsets only feed lag tools.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, LargeBinary, MetaData, Table, Text, text

from shared.db import Work
from shared.events import CloudEvent
from shared.lookups import Lookup, Lookups

TABLES_V1 = (
    """
    CREATE TABLE stream_offset (
        consumer text NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        next_offset bigint NOT NULL,
        PRIMARY KEY (consumer, topic, partition)
    ) WITH (fillfactor = 70)
    """,
    "CREATE TABLE event_seen (key bytea PRIMARY KEY, seen_at timestamptz NOT NULL)",
    # Rows arrive in the order of time: a block range index is all that pruning needs, and costs inserts nothing.
    "CREATE INDEX event_seen_by_time ON event_seen USING brin (seen_at)",
)
"""For the first migration of every service that consumes."""

# Locked in one order: two that fight for the same partitions wait for each other instead of deadlocking.
MOVE = text("""
    WITH steps (partition, expected, new) AS (
        SELECT * FROM unnest(CAST(:partitions AS integer[]), CAST(:expected AS bigint[]), CAST(:new AS bigint[]))
    ), locked AS (
        SELECT stream_offset.partition, steps.new FROM stream_offset JOIN steps USING (partition)
        WHERE consumer = :consumer AND topic = :topic AND next_offset = steps.expected
        ORDER BY partition FOR NO KEY UPDATE OF stream_offset
    )
    UPDATE stream_offset SET next_offset = locked.new FROM locked
    WHERE consumer = :consumer AND topic = :topic AND stream_offset.partition = locked.partition
""")
FIND = text("""
    SELECT next_offset FROM stream_offset WHERE consumer = :consumer AND topic = :topic AND partition = :partition
""")
BEGIN = text("""
    INSERT INTO stream_offset (consumer, topic, partition, next_offset) VALUES (:consumer, :topic, :partition, :first)
    ON CONFLICT DO NOTHING
""")
POSITIONS = Lookup(
    text("SELECT partition, next_offset FROM stream_offset WHERE consumer = :consumer AND topic = :topic")
)
ALL_POSITIONS = text("SELECT topic, partition, next_offset FROM stream_offset WHERE consumer = :consumer")
# Keys arrive sorted: two consumers that insert the same events then wait for each other instead of deadlocking.
REMEMBER = text("""
    INSERT INTO event_seen (key, seen_at) SELECT unnest(CAST(:keys AS bytea[])), :now
    ON CONFLICT DO NOTHING RETURNING key
""")
SEEN = text("SELECT key, seen_at FROM event_seen WHERE key = ANY(CAST(:keys AS bytea[]))")
FORGET = text("""
    DELETE FROM event_seen
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM event_seen WHERE seen_at < :before LIMIT :most))
""")

FORGOTTEN_AT_ONCE = 50_000
"""Events. An hour's worth in one statement would run into its time-out, be rolled back, and be tried again for ever."""


def add_tables(metadata: MetaData) -> None:
    """Declare the tables above in a service's metadata, so that a test can hold it against the migrations."""
    Table(
        "stream_offset",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("topic", Text, primary_key=True),
        Column("partition", Integer, primary_key=True),
        Column("next_offset", BigInteger, nullable=False),
    )
    seen = Table(
        "event_seen",
        metadata,
        Column("key", LargeBinary, primary_key=True),
        Column("seen_at", DateTime(timezone=True), nullable=False),
    )
    Index("event_seen_by_time", seen.c.seen_at, postgresql_using="brin")


def key(event: CloudEvent) -> bytes:
    """What names an event for ever: 16 bytes from its source and its id."""
    return hashlib.blake2b(f"{event.source}\0{event.id}".encode(), digest_size=16).digest()


async def next_offset(work: Work, consumer: str, topic: str, partition: int, *, first: int) -> int:
    """Where `consumer` goes on in this partition; `first` where it has never been."""
    row = {"consumer": consumer, "topic": topic, "partition": partition}
    await work.execute(BEGIN, row | {"first": first})
    found: int = (await work.execute(FIND, row)).scalar_one()
    return found


async def move(work: Work, consumer: str, topic: str, steps: Mapping[int, tuple[int, int]]) -> bool:
    """The fence: in each partition go from an offset to another ({partition: (expected, new)}).

    Gives False where somebody else has moved one of them: then nothing of this transaction may stay.
    """
    row = {
        "consumer": consumer,
        "topic": topic,
        "partitions": list(steps),
        "expected": [expected for expected, _ in steps.values()],
        "new": [new for _, new in steps.values()],
    }
    return (await work.execute(MOVE, row)).rowcount == len(steps)


async def positions(work: Work, consumer: str) -> dict[tuple[str, int], int]:
    """Where `consumer` goes on, by topic and partition."""
    rows = await work.execute(ALL_POSITIONS, {"consumer": consumer})
    return {(row.topic, row.partition): row.next_offset for row in rows}


async def remember(work: Work, keys: Sequence[bytes], now: datetime) -> set[bytes]:
    """Remember these events; give those that had not been seen before."""
    if not keys:
        return set()
    return set((await work.execute(REMEMBER, {"keys": sorted(set(keys)), "now": now})).scalars().all())


async def seen_at(work: Work, keys: Sequence[bytes]) -> dict[bytes, datetime]:
    """When those of these events were seen that are remembered."""
    rows = await work.execute(SEEN, {"keys": sorted(set(keys))})
    return {row.key: row.seen_at for row in rows}


async def forget(work: Work, before: datetime, *, most: int = FORGOTTEN_AT_ONCE) -> bool:
    """Forget `most` of the events that were seen before that moment. Gives whether there may be more of them."""
    return (await work.execute(FORGET, {"before": before, "most": most})).rowcount == most


async def reached(lookups: Lookups, consumer: str, topic: str, position: Mapping[int, int]) -> bool:
    """Whether `consumer` has applied everything of `topic` up to `position` ({partition: offset})."""
    rows = await lookups.rows(POSITIONS, {"consumer": consumer, "topic": topic})
    applied = dict(map(tuple, rows))
    return all(applied.get(partition, 0) > offset for partition, offset in position.items())
