"""Learning from what has been seen: a schema to start from, what the plan does not know, and what a schema would do.

All of it looks at the newest touchpoints of the log, tens of thousands at most, for some seconds at most, and
calculates in a thread of its own: clients don't wait for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from services.ingest.domain.departures import faults
from services.ingest.domain.inference import ENOUGH, Proposal, proposed
from services.ingest.domain.plan import ALL, UNNAMED, Where, root
from services.ingest.domain.shapes import Shape, compile_schema
from services.ingest.service.looking import Tail
from shared.events import Reason, Touchpoint

MOST_NAMES = 1_000
"""Told apart where it is asked what has been seen."""

SAMPLE_BYTES = 8_000_000
"""Of JSON, kept of the calls of one event: of ten thousand usual ones."""

CHECK_SECONDS = 5.0
"""That a trial may take."""


class Seen(NamedTuple):
    """How often an event was seen in the tail of the log, and when last."""

    where: Where
    calls: int
    last_at: datetime


class Sample:
    """The newest calls of one event, as JSON of what they held; and the other names of its type, with their calls.

    Never more of them than asked for, nor than SAMPLE_BYTES.
    """

    def __init__(self, where: Where, events: int) -> None:
        self.where = where
        self.events = events
        self.texts: deque[bytes] = deque()
        self.size = 0
        self.names: Counter[str] = Counter()
        self.looked_at = 0

    def look(self, touchpoint: Touchpoint) -> None:
        type, name, source = touchpoint.data.type, _name(touchpoint), touchpoint.source
        if type != self.where.type or self.where.source not in (ALL, source):
            return
        if name == self.where.name:
            self._keep(_held(touchpoint))
        elif name in self.names or len(self.names) < MOST_NAMES:
            self.names[name] += 1

    def _keep(self, text: bytes) -> None:
        self.texts.append(text)
        self.size += len(text)
        while len(self.texts) > self.events or self.size > SAMPLE_BYTES:
            self.size -= len(self.texts.popleft())

    def held(self) -> Iterator[Mapping[str, Any]]:
        """What each of the calls held, oldest first."""
        return map(_object.decode, self.texts)


class Trial(NamedTuple):
    """What a schema would have said to `checked` calls: how many depart from it, and how often where, with a reason."""

    checked: int
    would_violate: int
    places: Sequence[tuple[str, int, Reason]]


class Inferring:
    """What can be learned from the log about events of a plan that is still to be made."""

    def __init__(self, tail: Tail) -> None:
        self.tail = tail

    async def propose(self, where: Where, events: int) -> tuple[Proposal, Sample]:
        """A schema that the newest calls of an event have, so many at most; those of all sources for `*`.

        Raises LogUnavailable.
        """
        sample = await self._sample(where, events)
        return await asyncio.to_thread(proposed, sample.held(), root(where.type)), sample

    async def attempt(self, where: Where, schema: Any, events: int) -> Trial:
        """What `schema` would have said to the newest calls of an event. Raises SchemaRefused and LogUnavailable."""
        shape = compile_schema(schema)
        sample = await self._sample(where, events)
        return await asyncio.to_thread(_tried, shape, sample.held(), root(where.type))

    @staticmethod
    def note(events: int) -> str | None:
        """What to mind about a schema that was made from so many events; None where they are enough."""
        if not events:
            return "none was seen: this schema asks for nothing"
        few = f"made from {events} only: what all of them had may be missing in the next one"
        return few if events < ENOUGH else None

    async def seen(self) -> tuple[list[Seen], int]:
        """The events in the tail of the log, the most frequent first, and how many touchpoints those were.

        Raises LogUnavailable.
        """
        calls: Counter[Where] = Counter()
        last: dict[Where, datetime] = {}

        def look(touchpoint: Touchpoint) -> None:
            where = Where(touchpoint.source, touchpoint.data.type, _name(touchpoint))
            if where in calls or len(calls) < MOST_NAMES:
                calls[where] += 1
                last[where] = max(touchpoint.data.received_at, last.get(where, touchpoint.data.received_at))

        looked_at = await self.tail.each(look)
        return [Seen(where, count, last[where]) for where, count in calls.most_common()], looked_at

    async def _sample(self, where: Where, events: int) -> Sample:
        sample = Sample(where, events)
        sample.looked_at = await self.tail.each(sample.look)
        return sample


_object = msgspec.json.Decoder(dict[str, Any])


def _name(touchpoint: Touchpoint) -> str:
    return "" if touchpoint.data.type in UNNAMED else touchpoint.data.name or ""


def _held(touchpoint: Touchpoint) -> bytes:
    """What the plan looks at in the call. Of a group call, what describes the group stands in its properties.

    A copy: what is kept of a record must not keep all of it.
    """
    data = touchpoint.data
    return msgspec.json.encode(data.traits) if data.type == "identify" else bytes(data.properties)


def _tried(shape: Shape, held: Iterable[Mapping[str, Any]], where: str) -> Trial:
    until = monotonic() + CHECK_SECONDS
    places: Counter[str] = Counter()
    reasons: dict[str, Reason] = {}
    checked = departed = 0
    for each in held:
        if monotonic() > until:
            break
        checked += 1
        if not shape.is_valid(each):
            departed += 1
            found = {fault.place: fault.reason for fault in faults(shape, each, where)}
            places.update(found.keys())
            reasons = {**found, **reasons}
    return Trial(checked, departed, [(place, calls, reasons[place]) for place, calls in places.most_common(100)])
