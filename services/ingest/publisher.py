"""Keys out to Kafka: what each may do and until when, for the services that do not have our tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from time import monotonic

from services.ingest.settings import SERVICE
from services.ingest.store import telling
from shared import topics
from shared.clock import Clock
from shared.db import Database
from shared.events import Keyed, NamedKey, encode
from shared.kafka import Kafka
from shared.key_records import KeySignatures

BATCH = 500
"""Keys told at once."""

ALL_EVERY = 300.0
"""Seconds between two times that a process tells of all keys. Whoever writes to the topic beside us can make compaction
take a record of ours away, a revocation even: so long does it stay away at most."""


class KeyPublisher:
    """Tells of keys that were made, rotated or revoked; and, when the process is new and now and then, of all of them.

    The latter mends whatever became of the topic, and signs all with the secret that signs now. One process tells at a
    time, in a transaction that lasts until Kafka has it: else one could tell that a key holds after another has told
    that it does not.
    """

    def __init__(
        self,
        *,
        database: Database,
        kafka: Kafka,
        signatures: KeySignatures,
        clock: Clock,
        all_every: float = ALL_EVERY,
    ) -> None:
        self.signatures = signatures
        self.all_every = all_every
        self.database = database
        self.log = kafka.log(topics.KEYS)
        self.clock = clock
        self.all_due = 0.0

    async def publish(self) -> int:
        """Tell of up to a batch of keys; give how many. Raises what Kafka and PostgreSQL raise: nothing is lost."""
        if monotonic() >= self.all_due:
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
                self.all_due = monotonic() + self.all_every

    async def _send(self, keys: Sequence[NamedKey]) -> None:
        now = self.clock()
        events = [self._event(key, now) for key in keys]
        if events:
            await self.log.append([(event.data.id.encode(), encode(event)) for event in events])

    def _event(self, key: NamedKey, now: datetime) -> Keyed:
        signature = self.signatures.sign(key)
        return Keyed(id=_version(key), source=SERVICE, time=now, subject=key.id, data=key, signature=signature)


def _version(key: NamedKey) -> str:
    """Names a state of a key: told twice, it is the same event."""
    return f"{key.id}:{key.ends_at.isoformat() if key.ends_at else 'holds'}"
