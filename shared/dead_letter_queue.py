"""The queue of a service's dead letters: what its consumer could not process, until somebody has done something.

The consumer puts such a record into the topic `<service>.dead` and goes on. It reads that topic, too, into a table of
the service's, where letters are listed, mended, applied once more or discarded. To replay a letter is to order it: the
running service applies it, by the handler that could not apply it before, in a transaction that also says so, so that
nothing is applied twice (`shared/dead_letter_replays.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row

from shared import dead_letter_store as store
from shared import topics
from shared.audit import Audit
from shared.clock import Clock, rfc3339
from shared.db import Database, Work
from shared.dead_letter_store import Mark, Place, Selection, Status
from shared.errors import NotFound
from shared.events import DeadLetter, Reason
from shared.fixes import Fix, fixed

MENDED_BYTES = 1_000_000
"""That a letter may have once it is mended: as many as a record of a topic."""

LOOK_EVERY = 0.1
"""Seconds between two looks whether what was ordered has been applied."""

UNREPLAYABLE = {
    topics.KEYS.name: "keys are not applied from here: ingest tells all of them anew when it is started again",
}
"""Topics that no consumer reads with a handler, each with the way out."""


async def keep(letters: Sequence[DeadLetter], work: Work) -> None:
    """Let what came through the topic `<service>.dead` wait, inside the consumer's transaction."""
    await store.add(work, letters)


class DeadLetterNotFound(NotFound):
    """There is no dead letter with this id."""

    code = "dead_letter_not_found"

    def __init__(self, letter_id: str) -> None:
        super().__init__(f"there is no dead letter {letter_id!r}: see GET /v1/dead-letters")


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order to do something to the oldest `limit` of some letters. `told` is the order as the audit has it."""

    which: Selection
    limit: int
    actor: str
    told: Any
    fix: Fix | None = None


class Tried(NamedTuple):
    """A letter and its value once mended; or the reasons why it can't be applied."""

    id: str
    value: bytes | None
    mended: bytes | tuple[Reason, ...]


class DeadLetterQueue:
    """The dead letters of one service, to be listed, replayed and discarded.

    `prefix` is that of the installation's topics. `ordered` is called when something is to be applied.
    """

    def __init__(
        self, database: Database, *, prefix: str, clock: Clock, ordered: Callable[[], None] = lambda: None
    ) -> None:
        self.database = database
        self.prefix = prefix
        self.clock = clock
        self.audit = Audit(clock)
        self.ordered = ordered

    async def page(self, which: Selection, before: Place | None, limit: int) -> Sequence[Row[Any]]:
        """Give those of `which` before that place, newest first."""
        return await self.database.retrying(lambda work: store.page(work, which, before, limit))

    async def get(self, letter_id: str) -> Row[Any]:
        """Give all of one letter. Raises DeadLetterNotFound."""
        found = await self.database.retrying(lambda work: store.find(work, letter_id))
        if found is None:
            raise DeadLetterNotFound(letter_id)
        return found

    async def count(self, which: Selection) -> int:
        """Give how many letters `which` means."""
        return await self.database.retrying(lambda work: store.count(work, which))

    # --- replaying ---------------------------------------------------------------------------------------------------

    async def try_out(self, order: Order) -> list[Tried]:
        """Give the letters as a replay would have them applied, and change nothing.

        A handler may refuse one all the same: that is only seen when it is applied.
        """
        rows = await self.database.retrying(lambda work: store.oldest(work, _waiting(order.which), order.limit))
        return self._tried(rows, order.fix)

    async def order(self, order: Order) -> list[Tried]:
        """Order that the letters of `order` which wait are applied once more; give them, and those that can't be."""

        async def ordering(work: Work) -> list[Tried]:
            rows = await store.oldest(work, _waiting(order.which), order.limit)
            tried = self._tried(rows, order.fix)
            entry = {"at": rfc3339(self.clock()), "by": order.actor}
            await store.mark(work, [self._mark(each, entry) for each in tried])
            if tried:
                after = {**order.told, "ordered": sum(isinstance(each.mended, bytes) for each in tried)}
                await self.audit.note(work, order.actor, "replayed", "dead-letters", after=after)
            return tried

        tried = await self.database.retrying(ordering)
        self.ordered()
        return tried

    async def settled(self, ids: Sequence[str], within: float) -> Mapping[str, Status]:
        """Wait `within` seconds at most until all of these have been applied or not; give the status of each."""
        for _ in range(int(within / LOOK_EVERY)):
            found = await self.database.retrying(lambda work: store.statuses(work, ids))
            if "ordered" not in found.values():
                return found
            await asyncio.sleep(LOOK_EVERY)
        return await self.database.retrying(lambda work: store.statuses(work, ids))

    def _tried(self, rows: Sequence[Row[Any]], fix: Fix | None) -> list[Tried]:
        return [Tried(row.id, row.value, self._mended(row, fix)) for row in rows]

    def _mended(self, row: Row[Any], fix: Fix | None) -> bytes | tuple[Reason, ...]:
        """The value of a letter once mended, as an event of its topic; or why it is none."""
        name = row.topic.removeprefix(self.prefix)
        if name in UNREPLAYABLE:
            return (Reason("$", "not_replayable", UNREPLAYABLE[name]),)
        topic = next((topic for topic in topics.TOPICS if topic.name == name), None)
        if topic is None or row.value is None:
            return (Reason("$", "not_replayable", f"nothing here reads records of {row.topic} like this one"),)
        mended = fixed(row.value, fix, most=MENDED_BYTES)
        if not isinstance(mended, bytes):
            return mended
        if len(mended) > MENDED_BYTES:
            return (Reason("$", "too_large", f"it has more than {MENDED_BYTES} bytes once it is mended"),)
        return _event(mended, topic) or _same(row.value, mended) or mended

    def _mark(self, tried: Tried, entry: Mapping[str, Any]) -> Mark:
        if isinstance(tried.mended, bytes):
            return Mark(tried.id, "ordered", tried.mended, {**entry, "outcome": "ordered"})
        return Mark(tried.id, "waiting", None, {**entry, "outcome": "failed", "reasons": tried.mended})

    # --- discarding --------------------------------------------------------------------------------------------------

    async def discard(self, order: Order) -> int:
        """Set aside those that wait and that nobody will replay; give how many. They stay until they are too old."""

        async def discarding(work: Work) -> int:
            rows = await store.oldest(work, _waiting(order.which), order.limit)
            entry = {"at": rfc3339(self.clock()), "by": order.actor, "outcome": "discarded"}
            await store.mark(work, [Mark(row.id, "discarded", None, entry) for row in rows])
            if rows:
                after = {**order.told, "discarded": len(rows)}
                await self.audit.note(work, order.actor, "discarded", "dead-letters", after=after)
            return len(rows)

        return await self.database.retrying(discarding)


def _waiting(which: Selection) -> Selection:
    return which._replace(status="waiting")


def _event(value: bytes, topic: topics.Topic) -> tuple[Reason, ...]:
    """Tell why `value` is no event of `topic`; empty where it is one."""
    try:
        msgspec.json.decode(value, type=topic.event)
    except (msgspec.DecodeError, RecursionError) as error:
        return (Reason("$", "not_an_event", f"it is no event of the topic {topic.name}: {error}"),)
    return ()


class _Named(msgspec.Struct):
    source: str
    id: str


def _same(before: bytes, after: bytes) -> tuple[Reason, ...]:
    """Tell why `after` may not take the place of `before`: by source and id consumers know what they have applied."""
    try:
        known = msgspec.json.decode(before, type=_Named)
    except (msgspec.DecodeError, RecursionError):
        return ()  # what can't be read had no name
    if known == msgspec.json.decode(after, type=_Named):
        return ()
    return (Reason("$.id", "other_id", "a fix may not change source and id, by which duplicates are known"),)
