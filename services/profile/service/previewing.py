"""Looking at whom a rule would hold for, before it is saved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar
from uuid import uuid4

from services.profile.domain.preview import Estimate, estimate, holds
from services.profile.domain.publication import Known
from services.profile.domain.segments import asked, require_seen
from services.profile.domain.segments import rule as compiled
from services.profile.service.defined import Definitions
from services.profile.service.publishing import TURN, usable
from services.profile.store import known, sampling, segments
from services.profile.store.known import Stored
from services.profile.store.sampling import FIRST, LAST
from shared.clock import Clock
from shared.db import Work

MOST = 5_000
"""Profiles looked at. A share of them is known to within 1.4 in 100, and they take some seconds."""

CHUNK = 200
"""Profiles read in one transaction."""

T = TypeVar("T")


class Run(Protocol):
    """Runs a use case in a transaction of its own."""

    def __call__(self, use: Callable[[Work], Awaitable[T]], /) -> Awaitable[T]: ...


@dataclass
class Preview:
    """What came of it. `unknown`: of those looked at, for how many it could not be known, which counts as no."""

    cost: int
    of: int = 0
    looked_at: int = 0
    held: int = 0
    unknown: int = 0
    sample: list[Known] = field(default_factory=list)

    @property
    def estimate(self) -> Estimate:
        return estimate(self.held, self.looked_at, self.of)


class Previewing:
    """Evaluates rules that are not saved, one after the other: people wait for these, and more people for the rest.

    Everybody is looked at where there are at most `most`; else as many, from a place that is drawn by chance.
    """

    def __init__(self, definitions: Definitions, clock: Clock, most: int = MOST) -> None:
        self.definitions = definitions
        self.clock = clock
        self.most = most
        self.turn = asyncio.Lock()

    async def preview(self, text: str, sample: int, run: Run) -> Preview:
        """Whom the rule `text` holds for now, with up to `sample` of them. Each step is a transaction of its own.

        Raises RuleRefused.
        """
        rule = compiled(text)
        async with self.turn:
            rules = usable(await run(segments.rules))
            require_seen(None, rule, rules)
            saved = asked(rules)
            preview = Preview(rule.cost, of=await run(sampling.total))
            at = self.clock()
            async for each in self._people(preview.of, run):
                answer = holds(each, rule, saved, at)
                preview.looked_at += 1
                preview.held += answer is True
                preview.unknown += answer is None
                if answer and len(preview.sample) < sample:
                    preview.sample.append(each)
            if preview.of <= self.most:  # everybody was looked at: so many there are
                preview.of = preview.looked_at
            return preview

    async def _people(self, of: int, run: Run) -> AsyncIterator[Known]:
        """What is known of each who is looked at. Lets others have their turn now and then."""
        async for ids in self._ids(of, run):
            people = await run(partial(self._known, ids))
            for index, each in enumerate(people):
                if index % TURN == 0:
                    await asyncio.sleep(0)
                yield each.known

    async def _known(self, ids: Sequence[str], work: Work) -> list[Stored]:
        """As a publication finds them."""
        defined = await self.definitions.current(work)
        return await known.known(work, ids, defined)

    async def _ids(self, of: int, run: Run) -> AsyncIterator[Sequence[str]]:
        """Everybody's ids; or `most` of them from anywhere on, and from the first after the last."""
        start = FIRST if of <= self.most else str(uuid4())
        left, after, until = self.most, start, LAST
        while left > 0:
            size = min(CHUNK, left)
            ids = await run(partial(sampling.run, after=after, until=until, limit=size))
            if ids:
                yield ids
            left -= len(ids)
            if len(ids) == size:
                after = ids[-1]
            elif until == LAST and start != FIRST:
                after, until = FIRST, start
            else:
                return
