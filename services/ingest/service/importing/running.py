"""One file from its first row to its last: chunks of rows are read and judged, and several are on their way to Kafka.

A row is done with when all before it are: the mark moves over acknowledged chunks only, in the file's order. Whatever
kills the process, the next run sends again at most what was on its way, with the same ids.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from msgspec.structs import replace

from services.ingest.domain.judgement import Refused
from services.ingest.errors import Unfinished
from services.ingest.service.importing.bar import Bar
from services.ingest.service.importing.delivering import Delivery
from services.ingest.service.importing.judging import BREATH, Judged, Judging, Numbered
from services.ingest.service.importing.progress import Mark
from services.ingest.service.importing.reading import Table

CHUNK_ROWS = 2_000
CHUNK_BYTES = 4_000_000
"""What goes to Kafka at once. Rows of the largest size would fill a chunk of that many after some hundreds."""

UNDER_WAY = 4
"""Chunks that Kafka has not acknowledged yet: enough for it never to wait for us."""

SHOWN = 10
"""Rejected rows that are shown."""


@dataclass
class Tally:
    """What became of the rows of this run."""

    rows: int = 0
    earlier: int = 0
    cut: int = 0
    undated: int = 0
    departures: int = 0
    first: list[tuple[int, Refused]] = field(default_factory=list)
    began: float = field(default_factory=monotonic)

    @property
    def seconds(self) -> float:
        return monotonic() - self.began

    def add(self, chunk: Judged) -> None:
        self.rows += chunk.rows
        self.earlier += chunk.earlier
        self.cut += chunk.cut
        self.undated += chunk.undated
        self.departures += len(chunk.departures)


class Run:
    """The import of one file, from `mark` on.

    Without `delivery` it is a rehearsal. `keep` is told every new mark; `limit` rows may be rejected, all in all;
    `stop` is set when somebody wants it to end.
    """

    def __init__(
        self,
        table: Table,
        judging: Judging,
        delivery: Delivery | None,
        mark: Mark,
        *,
        keep: Callable[[Mark], None],
        limit: int | None,
        bar: Bar,
        stop: asyncio.Event,
    ) -> None:
        self.table = table
        self.judging = judging
        self.delivery = delivery
        self.mark = mark
        self.keep = keep
        self.limit = limit
        self.bar = bar
        self.stop = stop
        self.tally = Tally()
        self.rejected = mark.rejected  # with those that are still under way
        self.under_way: deque[tuple[Judged, asyncio.Task[None]]] = deque()

    async def run(self) -> None:
        """Return when all rows are done with. Raises Unfinished; what is done with by then is in `mark`."""
        try:
            async for rows, ids in self._chunks():
                chunk = await self.judging.judged(rows, ids)
                self._admit(chunk)
                if not self.under_way:
                    self.keep(self.mark)  # before anything is sent for the first time
                self.under_way.append((chunk, asyncio.create_task(self._delivered(chunk))))
                while len(self.under_way) >= UNDER_WAY or (self.under_way and self.under_way[0][1].done()):
                    await self._settle()
        finally:
            await self._end()
        if self.stop.is_set():
            raise Unfinished("stopped")
        self._move(replace(self.mark, done=True))

    async def _chunks(self) -> AsyncIterator[tuple[list[Numbered], list[str]]]:
        """What is not done with yet, with its ids. What is done with is read all the same: ids depend on it."""
        done = self.mark.rows
        while not self.stop.is_set() and (rows := await self._read()):
            ids = self.judging.ids(rows)
            if done < len(rows):
                yield rows[done:], ids[done:]
            done = max(0, done - len(rows))

    async def _read(self) -> list[Numbered]:
        rows: list[Numbered] = []
        size = 0
        while len(rows) < CHUNK_ROWS and size < CHUNK_BYTES and (part := await self._part()):
            rows += part
            size += sum(len(row.text) for _, row in part)
            await asyncio.sleep(0)
        return rows

    async def _part(self) -> list[Numbered]:
        """Some of the next rows; none at the file's end. Kafka does not wait for whoever feeds a pipe."""
        if self.table.total is None:
            return await asyncio.to_thread(_some, self.table.rows)
        return _some(self.table.rows)

    def _admit(self, chunk: Judged) -> None:
        """Raises Unfinished where too much is rejected: then nothing of this chunk is written."""
        room = SHOWN - len(self.tally.first)
        self.tally.first += chunk.refusals[: max(0, room)]
        self.rejected += len(chunk.rejected)
        if self.limit is not None and self.rejected > self.limit:
            raise Unfinished(
                f"{self.rejected:,} rows would be rejected, more than --max-rejected {self.limit:,} allows: mend the "
                "mapping (and --restart), or allow more"
            )

    async def _delivered(self, chunk: Judged) -> None:
        if self.delivery is not None:
            await self.delivery.deliver(chunk)

    async def _settle(self) -> None:
        """The oldest chunk under way is acknowledged, and so are all rows up to its end."""
        chunk, delivery = self.under_way[0]
        await delivery
        self.under_way.popleft()
        self.tally.add(chunk)
        self._move(
            replace(
                self.mark,
                rows=self.mark.rows + chunk.rows,
                taken=self.mark.taken + len(chunk.touchpoints),
                rejected=self.mark.rejected + len(chunk.rejected),
            )
        )

    async def _end(self) -> None:
        """Whatever is under way is waited for. Raises the first failure; what came after it is sent again next time."""
        await asyncio.gather(*(delivery for _, delivery in self.under_way), return_exceptions=True)
        while self.under_way:
            await self._settle()

    def _move(self, mark: Mark) -> None:
        self.mark = mark
        self.keep(mark)
        self.bar.moved(self.table.read(), mark.rows, self.tally.rows / max(self.tally.seconds, 0.001))


def _some(rows: Iterator[Numbered]) -> list[Numbered]:
    some: list[Numbered] = []
    size = 0
    for number, row in rows:
        some.append((number, row))
        size += len(row.text)
        if len(some) == BREATH or size > CHUNK_BYTES:
            break
    return some
