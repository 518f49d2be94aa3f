"""Ingest by itself, with keys, a tracking plan in force and metrics: how many events it gets acknowledged, beside a
bare producer and an empty handler. wrk generates the load where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from tests.bench import limits, wrk
from tests.bench.client import Client
from tests.bench.events import NAMES, batches, singles
from tests.bench.load import Load, Outcome, Requests
from tests.bench.rows import Row, megabytes, microseconds, milliseconds, per_second, share
from tests.bench.run import Costed, Run
from tests.bench.stack import Server, busy, empty_handler, ingest_alone, resident

BATCH = 100
BATCH_CONNECTIONS = 32
SINGLE_CONNECTIONS = 256

WARM_UP = 2.0
"""Seconds: by then connections are open and code paths are warm."""

Make = Callable[[str, str], Requests]
"""Makes requests for an address, with a key."""


async def batched(run: Run) -> list[Row]:
    """Batches of 100."""
    plan(run)
    with ingest_alone(run.stack) as server:
        ours, cost = await flat_out(run, server, _batches, BATCH_CONNECTIONS)
        records = await limits.written_records(run.stack)
        memory = resident(server.pid)
    raw = await limits.produced(run.stack, records, run.seconds(8))
    with empty_handler(run.stack) as server:
        empty, least = await flat_out(run, server, _batches, BATCH_CONNECTIONS)
    events, at_most = BATCH * ours.rate, BATCH * empty.rate
    return [
        Row(
            "accepted, batches of 100",
            per_second(events),
            per_second(raw),
            share(events, raw),
            "60,000 /s",
            "bare producer",
        ),
        Row("", "", per_second(at_most), share(events, at_most), "", "empty handler"),
        _cost(cost / BATCH, least / BATCH, "an event"),
        Row("  its memory afterwards", megabytes(memory), "", "", "250 MB"),
        *_remarks(ours),
    ]


async def single(run: Run) -> list[Row]:
    """One event a request."""
    plan(run)
    with ingest_alone(run.stack) as server:
        ours, cost = await flat_out(run, server, singles, SINGLE_CONNECTIONS)
    with empty_handler(run.stack) as server:
        empty, least = await flat_out(run, server, singles, SINGLE_CONNECTIONS)
    return [
        Row(
            "accepted, one a request",
            per_second(ours.rate),
            per_second(empty.rate),
            share(ours.rate, empty.rate),
            "15,000 /s",
            "empty handler",
        ),
        Row(
            "  p50 / p99, 256 connections", milliseconds(ours), milliseconds(empty), "", "p99 < 50 ms", "empty handler"
        ),
        _cost(cost, least, "a request"),
        *_remarks(ours),
    ]


def _cost(ours: float, least: float, of: str) -> Row:
    return Row(f"  processor time {of}", microseconds(ours), microseconds(least), "", "", "empty handler")


def _batches(url: str, key: str) -> Requests:
    return batches(url, key, BATCH)


async def flat_out(run: Run, server: Server, requests: Make, connections: int, seconds: float = 12.0) -> Costed:
    """Send as much as `connections` get answered. Gives what came back, and the cost of a request."""
    load = Load(server.url, requests(server.url, run.stack.told["TEMAS_WRITE_KEY"]), connections, run.seconds(seconds))
    if not wrk.there():
        return await run.costed(replace(load, seconds=load.seconds + WARM_UP, warm_up=WARM_UP), server.pid)
    await wrk.driven(replace(load, seconds=WARM_UP))
    before = busy(server.pid)
    outcome = await wrk.driven(load)
    return Costed(outcome, (busy(server.pid) - before) / max(outcome.sent, 1))


def plan(run: Run) -> None:
    """Plan the events that the bench sends, as a company would that means it."""
    client = Client(run.stack)
    for name in sorted({*NAMES, "Order Completed"}):
        client.call("ingest", "PUT", f"/v1/plan/track/{quote(name)}", {"mode": "enforce", "schema": SCHEMA})


SCHEMA = {
    "type": "object",
    "required": ["product_id", "price", "currency"],
    "properties": {
        "product_id": {"type": "string", "minLength": 1},
        "price": {"type": "number", "minimum": 0},
        "currency": {"enum": ["EUR", "TRY", "USD"]},
        "total": {"type": "number", "minimum": 0},
        "products": {"type": "array", "items": {"type": "object", "required": ["product_id"]}},
    },
}


def _remarks(outcome: Outcome | wrk.Driven) -> list[Row]:
    refused = [Row("  not answered with 200", f"{outcome.refused:,} requests")] if outcome.refused else []
    return refused if wrk.there() else [*refused, Row(f"  {wrk.MISSING}", "")]
