"""A chunk of rows, judged: what goes into the log, what into the queue of rejected events, and what to say of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.ingest.domain.judgement import Accepted, Arrival, Refused, rejection
from services.ingest.domain.plan import Departure, Plan
from services.ingest.domain.rows import Row, digest, judged, located, row_id
from services.ingest.domain.sources import Source
from services.ingest.service.importing.occurrences import Occurrences
from services.ingest.service.importing.reading import Table
from shared.clock import Clock
from shared.events import encode
from shared.kafka import Record

BREATH = 200
"""Rows after which Kafka has its turn: a few milliseconds."""

Numbered = tuple[int, Row]


@dataclass
class Judged:
    """`refusals` are the rejected rows with their numbers, `departures` where rows and the tracking plan differ.

    Of touchpoints, `earlier` were left out, being from before what is wanted; `cut` claimed to come from the future;
    `undated` say no time and count as of now.
    """

    rows: int
    touchpoints: list[Record] = field(default_factory=list)
    rejected: list[Record] = field(default_factory=list)
    refusals: list[tuple[int, Refused]] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    earlier: int = 0
    cut: int = 0
    undated: int = 0


class Judging:
    """The judgement over one file's rows, chunk after chunk, in the file's order."""

    def __init__(
        self, name: str, table: Table, *, source: Source, plan: Plan, earliest: datetime | None, clock: Clock
    ) -> None:
        self.name = name
        self.table = table
        self.source = source
        self.plan = plan
        self.earliest = earliest
        self.clock = clock
        self.columns = table.mapping.columns
        self.occurrences = Occurrences()

    def ids(self, rows: Sequence[Numbered]) -> list[str]:
        """The ids of rows that have none of their own, and nothing for the others. For each row once, in order."""
        said = [b"" if row.own_id else digest(row.text) for _, row in rows]
        before = iter(self.occurrences.before([each for each in said if each]))
        return [row_id(each, next(before)) if each else "" for each in said]

    async def judged(self, rows: Sequence[Numbered], ids: Sequence[str]) -> Judged:
        arrival = Arrival(source=self.source, received_at=self.clock(), plan=self.plan)
        chunk = Judged(len(rows))
        for place, ((number, row), id) in enumerate(zip(rows, ids, strict=True)):
            if place % BREATH == 0:
                await asyncio.sleep(0)
            verdict = judged(row, arrival, id)
            if isinstance(verdict, Accepted):
                if self.earliest is not None and verdict.touchpoint.time < self.earliest:
                    chunk.earlier += 1
                    continue
                _accept(chunk, verdict, arrival)
            else:
                self._refuse(chunk, verdict, arrival, number, id or row_id(digest(row.text), 0))
            if verdict.departure is not None:
                chunk.departures.append(verdict.departure)
        return chunk

    def _refuse(self, chunk: Judged, verdict: Refused, arrival: Arrival, number: int, id: str) -> None:
        """The id is the row's: should somebody mend and replay it, it is the row that the file still has."""
        found = located(verdict, self.columns, f"{self.table.unit} {number} of {self.name}")
        chunk.refusals.append((number, found))
        chunk.rejected.append((self.source.name.encode(), encode(rejection(found, arrival, id))))


def _accept(chunk: Judged, verdict: Accepted, arrival: Arrival) -> None:
    chunk.touchpoints.append((verdict.key, encode(verdict.touchpoint)))
    chunk.cut += verdict.cut
    chunk.undated += verdict.touchpoint.time == arrival.received_at
