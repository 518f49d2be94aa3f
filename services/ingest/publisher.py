"""Keys out to Kafka: what each may do and until when, for the services that do not have our tables."""

from __future__ import annotations

from collections.abc import Sequence

from services.ingest.settings import SERVICE
from services.ingest.store import telling
from shared import topics
from shared.clock import Clock
from shared.db import Database
from shared.events import Keyed, NamedKey, encode
from shared.kafka import Kafka

BATCH = 500
"""Keys told at once."""


class KeyPublisher:
    """Tells of keys that were made, rotated or revoked; and, when the process is new, of all of them.

    The latter mends whatever became of the topic. One process tells at a time, in a transaction that lasts until Kafka
    has it: else one could tell that a key holds after another has told that it does not.
    """

    def __init__(self, *, database: Database, kafka: Kafka, clock: Clock) -> None:
        self.database = database
        self.log = kafka.log(topics.KEYS)
        self.clock = clock
        self.new = True

    async def publish(self) -> int:
        """Tell of up to a batch of keys; give how many. Raises what Kafka and PostgreSQL raise: nothing is lost."""
        if self.new:
            await self._begin_anew()
        async with self.database.begin() as claim:
            keys = await telling.untold(claim, BATCH) if await telling.claim(claim) else []
            await self._send(keys)
            await telling.told(claim, keys)
        return len(keys)

    async def _begin_anew(self) -> None:
        """In a transaction of its own: until it ends, nobody can revoke a key."""
        async with self.database.begin() as claim:
            if await telling.claim(claim):
                await telling.begin_anew(claim)
                self.new = False

    async def _send(self, keys: Sequence[NamedKey]) -> None:
        now = self.clock()
        events = [Keyed(id=_version(key), source=SERVICE, time=now, subject=key.id, data=key) for key in keys]
        if events:
            await self.log.append([(event.data.id.encode(), encode(event)) for event in events])


def _version(key: NamedKey) -> str:
    """Names a state of a key: told twice, it is the same event."""
    return f"{key.id}:{key.ends_at.isoformat() if key.ends_at else 'holds'}"
