"""`make bench-scale`: whether an event costs the same, however many people there are. Nothing is asserted.

The crowd is loaded in bulk; then the same traffic, of 10,000 people spread evenly over the crowd and some new ones, is
absorbed and published by the service's own code, and processor time is counted: profile's and PostgreSQL's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import median
from typing import Annotated, NamedTuple

import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from deploy.local import postgres
from shared.http import settle_down
from tests.bench.copies import load, model, sizes
from tests.bench.inside import BATCH, Inside, inside
from tests.bench.meter import Meter, Used
from tests.bench.people import PEOPLE, People, Whose, in_turn, mostly_known, person
from tests.bench.steps import BATCHES, NOTHING, PARTITIONS, yard
from tests.servers import started_servers

SIZES = "10000,100000,1000000"
YARD = 0.0033
"""Seconds of a core that the yardstick takes on the machine of the README: costs are told as if it always did."""


class Measured(NamedTuple):
    """At a size: what each table holds, and the microseconds of a core that an event costs."""

    size: int
    tables: dict[str, tuple[int, int]]
    cost: Used
    yard: float


async def curve(wanted: Sequence[int], console: Console) -> list[Measured]:
    """Load up to each size in turn, and measure there."""
    found: list[Measured] = []
    async with (
        started_servers(shared_buffers=postgres.buffers(psutil.virtual_memory().total)) as servers,
        inside(servers, PARTITIONS) as parts,
    ):
        await model(parts)
        loaded = 0
        for size in sorted(wanted):
            console.print(f"Loading {size:,} profiles ...")
            await load(parts.database, loaded, size)
            loaded = size
            found.append(await _measured(parts, size))
    return found


async def _measured(parts: Inside, size: int) -> Measured:
    async with parts.database.begin() as work:
        tables = await sizes(work)
    crowd = People(_spread(size, in_turn), seed=0)
    for _ in range(PEOPLE // BATCH):  # as a service that runs for a while has seen them: what is asked for is in memory
        await parts.absorb(crowd.records(BATCH))
        await parts.publish()
    people = People(_spread(size, mostly_known), seed=size)
    meter = Meter(await parts.server())
    costs, yards = [], []
    for _ in range(BATCHES):
        records = people.records(BATCH)
        meter.start()
        await parts.absorb(records)
        await parts.publish()
        costs.append(sum(meter.stop().values(), NOTHING))
        yards.append(yard())
    slow = median(yards) / YARD
    each = [1e6 * median(side) / BATCH / slow for side in zip(*costs, strict=True)]
    return Measured(size, tables, Used(*each), median(yards))


def _spread(size: int, draw: Whose) -> Whose:
    """As `draw`, but many others stand between any two who come back. `size`: how many all are."""
    step = max(1, size // PEOPLE)

    def whose(people: People) -> str:
        who = draw(people)
        returns = who.removeprefix("u-").isdecimal()
        return person(int(who.removeprefix("u-")) * step % size) if returns else who

    return whose


def shown(found: Sequence[Measured], console: Console) -> None:
    names = list(found[-1].tables)
    table = Table("", *(f"{each.size:,} profiles" for each in found), title="rows, bytes")
    for name in names:
        cells = [each.tables.get(name, (0, 0)) for each in found]
        table.add_row(name, *(f"{rows:,} / {count / 2**20:,.1f} MB" for rows, count in cells))
    whole = [sum(count for _, count in each.tables.values()) for each in found]
    table.add_row("all", *(f"{count / 2**20:,.0f} MB" for count in whole))
    table.add_row("bytes a profile", *(f"{count / each.size:,.0f}" for count, each in zip(whole, found, strict=True)))
    console.print(table)
    first = sum(found[0].cost)
    table = Table(
        "", *(f"{each.size:,} profiles" for each in found), title="processor time an event, publication included"
    )
    table.add_row("profile", *(f"{each.cost.ours:,.0f} µs" for each in found))
    table.add_row("PostgreSQL", *(f"{each.cost.theirs:,.0f} µs" for each in found))
    table.add_row("both", *(f"{sum(each.cost):,.0f} µs" for each in found))
    table.add_row("from flat (20 % at most)", *(f"{100 * (sum(each.cost) / first - 1):+.0f} %" for each in found))
    table.add_row("the machine beside that of the README", *(f"{each.yard / YARD:.2f}" for each in found))
    console.print(table)
    console.print(f"profile holds {psutil.Process().memory_full_info().uss / 2**20:,.0f} MB (300 MB at most)")


def main(
    sizes: Annotated[str, typer.Option(help="Numbers of profiles, separated by commas.")] = SIZES,
) -> None:
    """Load crowds of profiles and tell what an event costs among each."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120
    settle_down()  # as the service does
    shown(uvloop.run(curve([int(size) for size in sizes.split(",")], console)), console)


if __name__ == "__main__":
    typer.run(main)
