"""Ingest by itself: how many events it gets acknowledged, beside a bare producer and an empty handler."""

from __future__ import annotations

from tests.bench import limits
from tests.bench.events import batches, singles
from tests.bench.load import Load, Outcome, Requests
from tests.bench.rows import Row, milliseconds, per_second, share
from tests.bench.run import Run
from tests.bench.stack import empty_handler, ingest_alone

BATCH = 100
BATCH_CONNECTIONS = 32
SINGLE_CONNECTIONS = 256


async def batched(run: Run) -> list[Row]:
    """Batches of 100."""
    key = run.stack.told["TEMAS_WRITE_KEY"]
    with ingest_alone(run.stack) as server:
        ours = await _flat_out(run, server.url, batches(server.url, key, BATCH), BATCH_CONNECTIONS)
        records = await limits.written_records(run.stack)
        memory = resident(server.pid)
    raw = await limits.produced(run.stack, records, run.seconds(8))
    with empty_handler(run.stack) as server:
        empty = await _flat_out(run, server.url, batches(server.url, key, BATCH), BATCH_CONNECTIONS)
    events, at_most = BATCH * ours.rate, BATCH * empty.rate
    what = "accepted, batches of 100"
    return [
        Row(what, per_second(events), f"{per_second(raw)}, bare producer", share(events, raw), "60,000 /s"),
        Row("", refused(ours), f"{per_second(at_most)}, empty handler", share(events, at_most)),
    ]


async def single(run: Run) -> list[Row]:
    """One event a request."""
    key = run.stack.told["TEMAS_WRITE_KEY"]
    with ingest_alone(run.stack) as server:
        ours = await _flat_out(run, server.url, singles(server.url, key), SINGLE_CONNECTIONS)
    with empty_handler(run.stack) as server:
        empty = await _flat_out(run, server.url, singles(server.url, key), SINGLE_CONNECTIONS)
    what = "accepted, one a request, 256 connections"
    latency, at_best = ((outcome.percentile(50), outcome.percentile(99)) for outcome in (ours, empty))
    return [
        Row(
            what,
            per_second(ours.rate),
            f"{per_second(empty.rate)}, empty handler",
            share(ours.rate, empty.rate),
            "15,000 /s",
        ),
        Row("  latency p50 / p99", milliseconds(*latency), milliseconds(*at_best), "", "p99 < 50 ms"),
    ]


async def _flat_out(run: Run, address: str, requests: Requests, connections: int) -> Outcome:
    return await run.drive(Load(address, requests, connections, run.seconds(8) + 2, warm_up=2))


def refused(outcome: Outcome) -> str:
    """What was not answered with 200, where there was any."""
    return f"{outcome.refused:,} refused" if outcome.refused else ""
