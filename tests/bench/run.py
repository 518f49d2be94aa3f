"""One run of the bench: the stack, the load generator, and how long things take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.bench.load import Generator, Load, Outcome
from tests.bench.stack import Stack, busy
from tests.bench.wrk import Driven


class Costed(NamedTuple):
    """What came back, and the seconds of a core that a request cost its server."""

    outcome: Outcome | Driven
    cost: float


@dataclass
class Run:
    """What every measurement is given."""

    stack: Stack
    generator: Generator
    quick: bool
    # Seconds until the stack served, the first time.
    first_start: float
    # The machine's load average before anything of ours ran.
    load_before: float
    # The generator's share of a core in each load, for the note under the table.
    busy: list[float] = field(default_factory=list)

    def seconds(self, usual: float) -> float:
        """How long to measure: a good deal less when in a hurry."""
        return usual / 3 if self.quick else usual

    async def drive(self, load: Load) -> Outcome:
        outcome = await self.generator.run(load)
        self.busy.append(outcome.busy)
        return outcome

    async def costed(self, load: Load, pid: int) -> Costed:
        """Drive `load` at the process `pid`. Its cost tells more than a rate where other programs share the machine."""
        before = busy(pid)
        outcome = await self.drive(load)
        return Costed(outcome, (busy(pid) - before) / max(outcome.sent, 1))
