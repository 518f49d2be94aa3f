"""`make bench-against commit=...`: this checkout and another commit, by turns in one run. Nothing is asserted.

The speed of a machine moves, by three times where others share it, so a figure by itself says little. Here both
versions run side by side, each with a Kafka and a PostgreSQL of its own; each round takes each measurement of both, one
right after the other, the first to go changing from round to round; and what is told is the ratio within a round.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from tests.bench import wrk
from tests.bench.answers import ask, prepare_decisions
from tests.bench.backlog import Backlog
from tests.bench.events import batches, singles
from tests.bench.flow import NUMBERS
from tests.bench.ingest import BATCH, BATCH_CONNECTIONS, SINGLE_CONNECTIONS, flat_out, plan
from tests.bench.load import Generator, Load, Requests
from tests.bench.run import Run
from tests.bench.stack import PROCESSES, ROOT, BenchFailed, Server, ingest_alone, own_stack
from tests.bench.steps import yard

BURST = 4_000
"""Events of a burst on the whole way."""

NEW = 20
"""One event in so many is of somebody new."""

PATIENCE = 600.0
"""Seconds for a burst to be worked off."""

YARDS = 20
"""Loops that tell how fast the machine is during a turn; the fastest counts."""


class Figure(NamedTuple):
    """A kind of figure, as the table names it. `unit` is what one of it is."""

    name: str
    unit: str


@dataclass(frozen=True)
class Side:
    """One of the two versions, at work: its stack, and an ingest of its code that nobody reads from."""

    run: Run
    alone: Server

    @property
    def key(self) -> str:
        return self.run.stack.told["TEMAS_WRITE_KEY"]


Figures = Mapping[Figure, float]
Measure = Callable[[Side], Awaitable[Figures]]


# --- what is measured ------------------------------------------------------------------------------------------------


async def batched(side: Side) -> Figures:
    """Batches of 100 at ingest by itself, as many as it takes."""
    ours, cost = await flat_out(side.run, side.alone, _hundreds, BATCH_CONNECTIONS, 6.0)
    return {
        Figure("batches of 100: accepted", "events/s"): BATCH * ours.rate,
        Figure("batches of 100: ingest", "µs an event"): 1e6 * cost / BATCH,
    }


async def single(side: Side) -> Figures:
    """One event a request, as many as it takes."""
    ours, cost = await flat_out(side.run, side.alone, singles, SINGLE_CONNECTIONS, 6.0)
    return {
        Figure("one a request: accepted", "events/s"): ours.rate,
        Figure("one a request: p99", "ms"): 1e3 * ours.percentile(99),
        Figure("one a request: ingest", "µs an event"): 1e6 * cost,
    }


async def whole_way(side: Side) -> Figures:
    """A burst, until it shows everywhere: what an event costs each process."""
    run, stack = side.run, side.run.stack
    requests = batches(stack.url("ingest"), side.key, BATCH, next(NUMBERS), NEW)
    async with Backlog.watch(stack) as backlog:
        before = stack.busy()
        await run.drive(Load(stack.url("ingest"), requests, 8, PATIENCE, count=BURST // BATCH))
        await backlog.worked_off(PATIENCE)
        after = stack.busy()
    costs = {name: 1e6 * (after[name] - before[name]) / BURST for name in PROCESSES}
    return {
        Figure("the whole way: all processes", "µs an event"): sum(costs.values()),
        **{Figure(f"  {name}", "µs an event"): cost for name, cost in costs.items()},
    }


async def decided(side: Side) -> Figures:
    """Decisions among 100 offers, at a fixed rate."""
    ours, cost = await ask(side.run, 100, 6.0)
    return {
        Figure("a decision among 100 offers: personalize", "µs"): 1e6 * cost,
        Figure("a decision among 100 offers: p50", "ms"): 1e3 * ours.percentile(50),
        Figure("a decision among 100 offers: p99", "ms"): 1e3 * ours.percentile(99),
    }


MEASURES: Mapping[str, Measure] = {"batch": batched, "single": single, "way": whole_way, "decide": decided}
YARD = Figure("a loop of 100,000 turns", "ms")


async def turn(side: Side, name: str) -> Figures:
    """One measurement of one side, with the machine's speed before and after it."""
    yards = [yard() for _ in range(YARDS)]
    found = await MEASURES[name](side)
    yards += [yard() for _ in range(YARDS)]
    return {**found, YARD: 1e3 * min(yards)}


def _hundreds(url: str, key: str) -> Requests:
    return batches(url, key, BATCH)


# --- by turns --------------------------------------------------------------------------------------------------------


class Round(NamedTuple):
    """The figures of both, taken one right after the other."""

    ours: Figures
    theirs: Figures


class Compared(NamedTuple):
    """A figure over all rounds: the medians of both, and the ratio of ours to theirs within a round."""

    ours: float
    theirs: float
    ratio: float
    least: float
    most: float


def compared(rounds: Sequence[Round]) -> dict[Figure, Compared]:
    """Each figure, compared. A ratio is taken within a round, where the machine was about as fast for both."""
    found = {}
    for figure in rounds[0].ours:
        pairs = [(each.ours[figure], each.theirs[figure]) for each in rounds]
        ratios = [ours / theirs for ours, theirs in pairs if theirs]
        if ratios:
            ours, theirs = (median(side) for side in zip(*pairs, strict=True))
            found[figure] = Compared(ours, theirs, median(ratios), min(ratios), max(ratios))
    return found


async def by_turns(ours: Side, theirs: Side, rounds: int, names: Sequence[str], console: Console) -> list[Round]:
    """Measure both in each round, one right after the other. One round before is not counted: it warms up."""
    taken = []
    for number in range(rounds + 1):
        console.print(f"Round {number} of {rounds}{'' if number else ', to warm up'} ...")
        one: dict[Figure, float] = {}
        other: dict[Figure, float] = {}
        for name in names:
            for side, found in ((ours, one), (theirs, other))[:: 1 if number % 2 else -1]:
                found.update(await turn(side, name))
        taken.append(Round(one, other))
    return taken[1:]


# --- the two ---------------------------------------------------------------------------------------------------------


@contextmanager
def checked_out(commit: str, repository: Path = ROOT) -> Iterator[Path]:
    """A folder with the files of `commit`. Raises BenchFailed where there is no such commit."""
    with tempfile.TemporaryDirectory(prefix="temas-against-") as folder:
        archive = Path(folder) / "files.tar"
        done = subprocess.run(
            ["git", "archive", f"--output={archive}", commit],
            cwd=repository, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchFailed(f"there is no commit {commit!r} here: {done.stderr.strip()}")
        files = Path(folder) / "files"
        with tarfile.open(archive) as packed:
            packed.extractall(files, filter="data")
        yield files


def python_of(files: Path) -> str:
    """The Python that has what the commit in `files` needs: ours where that is the same, else one of its own."""
    if (files / "requirements.lock").read_bytes() == (ROOT / "requirements.lock").read_bytes():
        return sys.executable
    subprocess.run(["make", ".venv/.ready"], cwd=files, check=True)
    return str(files / ".venv" / "bin" / "python")


@asynccontextmanager
async def both(commit: str, console: Console) -> AsyncIterator[tuple[Side, Side]]:
    """Our side and that of `commit`, both up."""
    with ExitStack() as closing:
        files = closing.enter_context(checked_out(commit))
        generator = Generator()
        closing.callback(generator.close)
        console.print(f"Starting two stacks: this checkout, and {commit} ...")
        sides = []
        for root, python in ((ROOT, sys.executable), (files, python_of(files))):
            stack = closing.enter_context(own_stack(root, python))
            run = Run(stack, generator, quick=False, first_start=stack.up(), load_before=0.0)
            plan(run)
            await prepare_decisions(run)
            sides.append(Side(run, closing.enter_context(ingest_alone(stack))))
        yield sides[0], sides[1]


def show(console: Console, found: Mapping[Figure, Compared], commit: str, rounds: int) -> None:
    """Print the table."""
    caption = (
        f"{rounds} rounds; a ratio is this checkout's figure by that of {commit}, in one round: of costs and times "
        f"less than 1 is better, of what is accepted more. Load: {'wrk' if wrk.there() else wrk.MISSING}."
    )
    table = Table(caption=caption, caption_justify="left")
    for name in ("what", "this checkout", commit, "ratio", "least", "most"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for figure, each in found.items():
        shown = [f"{value:,.1f} {figure.unit}" for value in (each.ours, each.theirs)]
        table.add_row(figure.name, *shown, f"{each.ratio:.3f}", f"{each.least:.3f}", f"{each.most:.3f}")
    console.print(table)


async def measure(commit: str, rounds: int, names: Sequence[str], console: Console) -> None:
    async with both(commit, console) as (ours, theirs):
        taken = await by_turns(ours, theirs, rounds, names, console)
    show(console, compared(taken), commit, rounds)


def main(
    commit: Annotated[str, typer.Argument(help="What to compare with: a commit, a branch or a tag.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often both are measured.")] = 5,
    only: Annotated[str, typer.Option(help=f"Of {', '.join(MEASURES)}; with commas between.")] = ",".join(MEASURES),
) -> None:
    """Compare this checkout with another commit on this machine."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 150
    names = only.split(",")
    if unknown := set(names) - set(MEASURES):
        console.print(f"There is no measurement {', '.join(sorted(unknown))}: there are {', '.join(MEASURES)}.")
        sys.exit(2)
    try:
        asyncio.run(measure(commit, rounds, names, console))
    except BenchFailed as error:
        console.print(str(error), style="red")
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
