"""`make bench`: how fast Temas is here, beside what this machine gives at all. Nothing is asserted.

It starts a stack of its own, in a temporary folder and on other ports, and ends it at the end.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Annotated

import asyncpg
import psutil
import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from tests.bench import answers, flow, ingest, steps, wrk
from tests.bench.load import Generator
from tests.bench.rows import Row, megabytes, show
from tests.bench.run import Run
from tests.bench.stack import PROCESSES, SERVICES, BenchFailed, own_stack

FAULTS = (BenchFailed, OSError, HTTPException, psutil.Error, asyncpg.PostgresError, KafkaError)
"""What a stack that is pressed hard may answer with."""

PLAIN_WIDTH = 150
"""Columns without a terminal."""

Measurement = Callable[[Run], Awaitable[list[Row]]]


async def start(run: Run) -> list[Row]:
    """Stop, and start again: by now everything that is downloaded or made once is there."""
    run.stack.down()
    return [
        Row("start of the stack, everything cached", f"{run.stack.up():.1f} s", "", "", "< 20 s"),
        Row("  in a new state folder", f"{run.first_start:.1f} s"),
    ]


async def memory(run: Run) -> list[Row]:
    """Resident memory, after everything before."""
    return [Row("memory after all this", "")] + [
        Row(f"  {name}", megabytes(run.stack.resident(name)), "", "", "250 MB" if name in SERVICES else "")
        for name in PROCESSES
    ]


# In this order: what is measured by itself before what fills the databases.
MEASUREMENTS: Mapping[str, Measurement] = {
    "start": start,
    "batch": ingest.batched,
    "single": ingest.single,
    "inside": steps.steps,
    "flow": flow.sustained,
    "latency": flow.latency,
    "decide": answers.decisions,
    "profile": answers.profiles,
    "memory": memory,
}


async def measure(names: Sequence[str], *, quick: bool, generators: int, console: Console) -> None:
    """Start a stack, take the measurements named, and print the table of what could be measured."""
    rows: list[Row] = []
    with own_stack() as stack:
        console.print("Starting a stack of the bench's own ...")
        load = os.getloadavg()[0]
        run = Run(stack, Generator(generators), quick, first_start=stack.up(), load_before=load)
        try:
            for name in names:
                console.print(f"Measuring: {name} ...")
                rows += await _tried(name, run)
        finally:
            run.generator.close()
            show(console, rows, _note(run))


async def _tried(name: str, run: Run) -> list[Row]:
    """A measurement that fails leaves a line that says so, and the others go on."""
    try:
        return await MEASUREMENTS[name](run)
    except FAULTS as error:
        return [Row(name, f"not measured: {error or type(error).__name__}")]


def _note(run: Run) -> str:
    busiest = max(run.busy, default=0.0)
    return (
        f"Load generators: {'wrk for ingest by itself, else ' if wrk.there() else ''}tests/bench/load.py, "
        f"{run.generator.processes} process(es), at most {busiest:.2f} of a core. "
        f"They share {os.cpu_count()} cores with Kafka, PostgreSQL, the services, and whatever else runs: "
        f"the load average was {run.load_before:.1f} before the start."
    )


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(MEASUREMENTS)}; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option(help="Measure for a third of the time: less exact.")] = False,
    generators: Annotated[int, typer.Option(min=1, help="Processes that generate load.")] = 1,
) -> None:
    """Measure Temas on this machine."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    if unknown := set(only or ()) - set(MEASUREMENTS):
        console.print(f"There is no measurement {', '.join(sorted(unknown))}: there are {', '.join(MEASUREMENTS)}.")
        sys.exit(2)
    names = [name for name in MEASUREMENTS if not only or name in only]
    try:
        asyncio.run(measure(names, quick=quick, generators=generators, console=console))
    except BenchFailed as error:
        console.print(str(error), style="red")
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
