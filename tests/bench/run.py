"""One run of the bench: the stack, the load generator, and how long things take."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.bench.load import Generator, Load, Outcome
from tests.bench.stack import Stack


@dataclass
class Run:
    """What every measurement is given."""

    stack: Stack
    generator: Generator
    quick: bool
    # The generator's share of a core in each load, for the note under the table.
    busy: list[float] = field(default_factory=list)

    def seconds(self, usual: float) -> float:
        """How long to measure: a good deal less when in a hurry."""
        return usual / 3 if self.quick else usual

    async def drive(self, load: Load) -> Outcome:
        outcome = await self.generator.run(load)
        self.busy.append(outcome.busy)
        return outcome
