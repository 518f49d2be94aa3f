"""Decision records out to Kafka: soon after the answer, and without the answer waiting."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog

from services.personalize import metrics
from shared.errors import LogUnavailable
from shared.events import Decided, encode
from shared.kafka import Log

log = structlog.get_logger(__name__)

AT_ONCE = 500
"""Records in one append."""

GATHER = 0.2
"""Seconds to wait for more records before appending: nobody waits for them, and their readers pay by the batch."""

RECENT = 500
"""Records that can be found here before they are in the database: some seconds' worth, some ten megabytes."""

_decoder = msgspec.json.Decoder(Decided)


class _Waiting(NamedTuple):
    key: bytes
    value: bytes


class DecisionLog:
    """Records on their way to Kafka. While it is away they wait, up to `limit` bytes; past that the newest are lost."""

    def __init__(self, log: Log, *, limit: int) -> None:
        self.log = log
        self.limit = limit
        self.waiting: deque[_Waiting] = deque()
        self.size = 0
        self.recent: OrderedDict[str, bytes] = OrderedDict()
        self.after: Callable[[], None] = lambda: None
        """Called when there is something to publish."""

    def put(self, record: Decided) -> None:
        """Take a record. Never waits, never raises."""
        value, choice = encode(record), record.data
        self.recent[choice.decision_id] = value
        if len(self.recent) > RECENT:
            self.recent.popitem(last=False)
        if self.size + len(value) > self.limit:
            metrics.RECORDS_DROPPED.inc()
            return
        self.waiting.append(_Waiting((choice.profile_id or choice.profile).encode(), value))
        self._grown(len(value))
        self.after()

    def find(self, decision_id: str) -> Decided | None:
        """A record that was put lately."""
        value = self.recent.get(decision_id)
        return None if value is None else _decoder.decode(value)

    async def publish(self) -> int:
        """Append some of what waits; give how many. They stop waiting once acknowledged. Raises LogUnavailable."""
        if self.waiting and len(self.waiting) < AT_ONCE:
            await asyncio.sleep(GATHER)
        return await self._append()

    async def flush(self, seconds: float) -> None:
        """Append all that waits, for at most `seconds`: the process is about to end."""
        try:
            async with asyncio.timeout(seconds):
                while await self._append():
                    pass
        except (LogUnavailable, TimeoutError):
            metrics.RECORDS_DROPPED.inc(len(self.waiting))
            log.critical("decision records were lost: Kafka did not take them in time", records=len(self.waiting))

    async def _append(self) -> int:
        if not self.waiting:
            return 0
        batch = list(islice(self.waiting, AT_ONCE))
        await self.log.append(batch)
        for record in batch:
            self.waiting.popleft()
            self._grown(-len(record.value))
        return len(batch)

    def _grown(self, by: int) -> None:
        self.size += by
        metrics.RECORDS_WAITING.set(self.size)
