"""The read model of customers: kept from `profiles`, asked for each decision, and never waited for long."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog

from services.personalize import metrics
from services.personalize.domain.customers import Known, Reliance
from services.personalize.store import customers
from services.personalize.store.customers import Found
from services.personalize.store.reading import reader
from shared.clock import Clock
from shared.db import Database, Work, is_away
from shared.events import Profiled, View
from shared.identifiers import Identifier

log = structlog.get_logger(__name__)

BEHIND = timedelta(seconds=10)
"""A view that comes this late says that the read model is behind."""

HEARD = timedelta(seconds=5)
"""How long that is believed without another late view: after that, the read model has caught up, or is caught up."""

RELIED_ON = timedelta(minutes=5)
"""How long what is remembered of a person says who they are (not what they consent to, nor what they have been shown):
longer than PostgreSQL takes to start again, and shorter than a person takes to become somebody else."""

_view = msgspec.json.Decoder(View)


class Answer(NamedTuple):
    """What is known, and whether the read model was asked: else it is from memory, or nothing at all."""

    known: Known
    current: bool


class Remembered(NamedTuple):
    """The read model's last answer on a person, and when it was given."""

    found: Found
    at: datetime


class Customers:
    """Who is asked about, by any identifier. `reads` is for questions alone, so that they keep no writer waiting.

    `follows` says whether the consumer that fills the read model is at work.
    """

    def __init__(
        self,
        reads: Database,
        *,
        follows: Callable[[], bool],
        clock: Clock,
        patience: float,
        at_once: int,
        look_back: timedelta,
        remembered: int,
    ) -> None:
        self.reads = reads
        self.follows = follows
        self.clock = clock
        self.patience = patience
        self.at_once = at_once
        self.look_back = look_back
        self.remembered = remembered
        self.recent: OrderedDict[Identifier, Remembered] = OrderedDict()
        self.free = asyncio.Semaphore(at_once)
        self.late: set[asyncio.Task[Found | None]] = set()
        self.late_at: datetime | None = None

    # --- asked for a decision ----------------------------------------------------------------------------------------

    async def known(self, person: Identifier) -> Answer:
        """What is known of `person`. From memory, where the database does not answer within `patience` seconds."""
        found = await self._read(person)
        if found is not None:
            return Answer(_known(found, self._reliance(found)), current=True)
        remembered = self.recent.get(person)
        if remembered is None:
            return Answer(Known(reliance="unknown"), current=False)
        recent = self.clock() - remembered.at < RELIED_ON
        return Answer(_known(remembered.found, "recent" if recent else "unknown"), current=False)

    def _reliance(self, found: Found) -> Reliance:
        """How far the read model's answer may be relied on. Behind, it does not know yet what was said last: a consent
        that was withdrawn is on its way. And whom it does not know at all may be on their way, too.
        """
        if not self.behind:
            return "current"
        return "unknown" if found.view is None else "recent"

    async def _read(self, person: Identifier) -> Found | None:
        """What the database says, if it says so in time. A late answer is not broken off, which would cost the
        connection: it finds its way into memory. While all connections wait for late answers, nobody waits for one.
        """
        if len(self.late) == self.at_once:
            return None
        deadline = asyncio.get_running_loop().time() + self.patience
        if not await self._turn(deadline):
            return None
        read = asyncio.create_task(self._find(person))
        read.add_done_callback(self._ended)
        done, _ = await asyncio.wait([read], timeout=deadline - asyncio.get_running_loop().time())
        if done:
            return read.result()
        self.late.add(read)
        return None

    async def _turn(self, deadline: float) -> bool:
        """Wait for a free connection; False where there was none by the `deadline`."""
        if not self.free.locked():
            return await self.free.acquire()
        try:
            async with asyncio.timeout_at(deadline):
                return await self.free.acquire()
        except TimeoutError:
            return False

    def _ended(self, read: asyncio.Task[Found | None]) -> None:
        self.free.release()
        self.late.discard(read)

    async def _find(self, person: Identifier) -> Found | None:
        try:
            async with reader(self.reads) as connection:
                found = await customers.find(connection, person, self.clock() - self.look_back)
        except Exception as error:
            if not is_away(error):
                raise
            return None
        self.recent[person] = Remembered(found, self.clock())
        self.recent.move_to_end(person)
        if len(self.recent) > self.remembered:
            self.recent.popitem(last=False)
        return found

    # --- kept from the topic -----------------------------------------------------------------------------------------

    async def keep(self, events: Sequence[Profiled], work: Work) -> None:
        """Take in views. Only higher versions count: an older one, or the same one again, changes nothing."""
        newest: dict[str, View] = {}
        for event in events:
            held = newest.get(event.data.profile_id)
            if held is None or held.version < event.data.version:
                newest[event.data.profile_id] = event.data
        newer = await customers.put(work, newest)
        metrics.VIEWS.inc(newer)
        now = self.clock()
        if now - max(event.time for event in events) > BEHIND:
            self.late_at = now

    @property
    def behind(self) -> bool:
        """Whether views come late, or are not read at all: a decision may rest on what was true a while ago.

        While Kafka is away nothing is read either, but nobody can say anything then: ingest takes no events.
        """
        if not self.follows():
            return True
        return self.late_at is not None and self.clock() - self.late_at < HEARD


def _known(found: Found, reliance: Reliance) -> Known:
    return Known(None if found.view is None else _view.decode(found.view), found.exposures, reliance)
