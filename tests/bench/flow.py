"""End to end: from accepted by ingest to visible in the profile, in the scores and in what decisions are made from."""

from __future__ import annotations

import asyncio
import time
from array import array

from tests.bench import limits
from tests.bench.backlog import Backlog
from tests.bench.events import batches
from tests.bench.load import Load, Outcome
from tests.bench.probes import Seen, probe
from tests.bench.rows import Row, microseconds, milliseconds, per_second, share
from tests.bench.run import Run
from tests.bench.stack import PROCESSES, BenchFailed

BATCH = 100
SMALL_BATCH = 10
CONNECTIONS = 8
TRIES = 6
UP, DOWN = 1.25, 0.75
"""How far the next rate to try is from the last."""

CALM = 2.0
"""Seconds in which everything must be visible after the last request, for a rate to count as sustained."""

WITHIN = 300.0
"""Seconds for a burst to be worked off."""

NUMBERS = iter(range(0, 9_000_000_000, 10_000_000))
"""Where each load begins to number its requests, so that no event is sent twice."""


async def sustained(run: Run) -> list[Row]:
    """The events a second that all services keep up with: a burst tells which rate to try, a stream confirms it."""
    rows_per_second = await limits.upserted(run.stack, run.seconds(4))
    async with Backlog.watch(run.stack) as backlog:
        before = run.stack.busy()
        burst_rate = await _burst(run, backlog)
        after = run.stack.busy()
        rate, late = await _highest(run, backlog, burst_rate)
    return [
        Row(
            "end to end, sustained",
            per_second(rate),
            per_second(rows_per_second),
            share(rate, rows_per_second),
            "5,000 /s",
            "bare unnest upsert, rows",
        ),
        Row("  all visible after the last request", f"{late:.1f} s", "", "", "no growing lag"),
        Row(f"  a burst of {_burst_size(run):,}, until all is visible", per_second(burst_rate)),
        *(_used(name, (after[name] - before[name]) / _burst_size(run)) for name in PROCESSES),
    ]


async def _highest(run: Run, backlog: Backlog, rate: float) -> tuple[float, float]:
    """The highest rate, from `rate` on up or down, that everybody kept up with, and how late they were with it."""
    best = None
    for _ in range(TRIES):
        late = await _steady(run, backlog, rate)
        if late <= CALM:
            best = rate, late
        elif best is not None:
            break
        rate *= UP if late <= CALM else DOWN
    if best is None:
        raise BenchFailed(f"no rate was sustained: at {rate / DOWN:,.0f} /s all was visible {late:.1f} s late")
    return best


def _used(name: str, seconds: float) -> Row:
    """What the burst cost a process: it tells more than a rate where other programs share the machine."""
    return Row(f"    processor time, {name}", f"{microseconds(seconds)} an event")


def _burst_size(run: Run) -> int:
    return 5_000 if run.quick else 20_000


async def _burst(run: Run, backlog: Backlog) -> float:
    """Events a second, from the first request of a burst until the last of its events is visible."""
    count = _burst_size(run)
    began = time.perf_counter()
    await run.drive(_load(run, BATCH, count=count // BATCH))
    return count / (await backlog.worked_off(WITHIN) - began)


async def _steady(run: Run, backlog: Backlog, rate: float) -> float:
    """Send `rate` events a second for a while. Gives how many seconds after the last request all was visible."""
    await run.drive(_load(run, BATCH, rate=rate / BATCH, seconds=run.seconds(20)))
    ended = time.perf_counter()
    return max(0.0, await backlog.worked_off(WITHIN) - ended)


async def latency(run: Run) -> list[Row]:
    """At 1,000 events a second: how soon after ingest's answer a touchpoint shows, everywhere it should."""
    seconds = run.seconds(30)
    busy = asyncio.create_task(run.drive(_load(run, SMALL_BATCH, rate=1_000 / SMALL_BATCH, seconds=seconds)))
    await asyncio.sleep(2)  # until the stream is under way
    try:
        seen = await probe(run.stack, seconds - 4)
    finally:
        await busy
    async with Backlog.watch(run.stack) as backlog:
        await backlog.worked_off(WITHIN)
    rows = [
        Row(f"  in {where}, p50 / p99", milliseconds(_outcome(seen, where)), "", "", "150 / 750 ms")
        for where in ("profile", "scores", "decision")
    ]
    return [Row(f"accepted to visible at 1,000 /s, {len(seen)} probes", ""), *rows]


def _outcome(seen: list[Seen], where: str) -> Outcome:
    latencies = array("d", [each[where] for each in seen])
    return Outcome(len(seen), len(seen), 0, 0.0, 0.0, latencies)


def _load(run: Run, size: int, *, seconds: float = 60.0, rate: float | None = None, count: int | None = None) -> Load:
    url, key = run.stack.url("ingest"), run.stack.told["TEMAS_WRITE_KEY"]
    return Load(url, batches(url, key, size, next(NUMBERS)), CONNECTIONS, seconds, rate=rate, count=count)
