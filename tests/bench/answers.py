"""Answers at a fixed rate: a decision among 100 offers, and a profile. Latency counts from when a request was due."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.bench.backlog import Backlog
from tests.bench.client import Client
from tests.bench.events import basic, batches
from tests.bench.load import Load, Requests, get, post
from tests.bench.rows import Row, microseconds, milliseconds, per_second
from tests.bench.run import Costed, Run
from tests.bench.stack import BenchFailed, empty_handler

RATE = 500
CONNECTIONS = 64
KEPT_UP = 0.97
"""Of the rate. With less, requests pile up, and latencies only tell for how long it was measured."""

OFFERS = 100
PLACEMENT = "bench"
PATIENCE = 20.0
USERS = 6_400
"""Those of the batches that `events.batches` makes, each with an order or a few page views."""


async def decisions(run: Run) -> list[Row]:
    """One process, 100 offers, half of them with a rule."""
    await prepare_decisions(run)
    return await _rows(run, "personalize", _questions(run), f"a decision among {OFFERS} offers", "5 / 20 ms")


async def prepare_decisions(run: Run) -> None:
    """Make people and offers that are decided about."""
    await _fill(run)
    _put_offers(run)


async def ask(run: Run, rate: float, seconds: float) -> Costed:
    """Ask for `rate` decisions a second. Gives what came back, and the cost of a decision."""
    url, pid = run.stack.url("personalize"), run.stack.pid("personalize")
    return await run.costed(Load(url, _questions(run), CONNECTIONS, seconds, rate=rate, warm_up=1), pid)


def _questions(run: Run) -> Requests:
    url, key = run.stack.url("personalize"), basic(run.stack.told["TEMAS_SECRET_KEY"])
    return Requests(tuple(post(url, "/v1/decide", _question(user), key) for user in range(0, USERS, 10)))


async def profiles(run: Run) -> list[Row]:
    """The unified view, by user id."""
    await _fill(run)
    url, key = run.stack.url("profile"), basic(run.stack.told["TEMAS_SECRET_KEY"])
    requests = Requests(tuple(get(url, f"/v1/profiles/user_id:u-{user:05d}", key) for user in range(0, USERS, 10)))
    return await _rows(run, "profile", requests, "a profile read", "p99 < 15 ms")


async def _rows(run: Run, service: str, requests: Requests, what: str, budget: str) -> list[Row]:
    ours, cost = await _steady(run, run.stack.url(service), run.stack.pid(service), requests)
    with empty_handler(run.stack) as server:
        empty, least = await _steady(run, server.url, server.pid, requests)
    rows = [
        Row(f"{what}, {RATE} /s, p50 / p99", milliseconds(ours), milliseconds(empty), "", budget, "empty handler"),
        Row("  processor time", microseconds(cost), microseconds(least), "", "", "empty handler"),
    ]
    if ours.rate < KEPT_UP * RATE or ours.refused:
        rows.append(Row("  it did not keep up", per_second(ours.rate), "", f"{ours.refused:,} refused"))
    return rows


async def _steady(run: Run, url: str, pid: int, requests: Requests) -> Costed:
    return await run.costed(Load(url, requests, CONNECTIONS, run.seconds(15) + 3, rate=RATE, warm_up=3), pid)


async def _fill(run: Run) -> None:
    """Give every user a touchpoint. Again is harmless: the ids are the same."""
    url, key = run.stack.url("ingest"), run.stack.told["TEMAS_WRITE_KEY"]
    await run.drive(Load(url, batches(url, key, 100, first=9_999_000_000), 8, 60.0, count=USERS // 100))
    async with Backlog.watch(run.stack) as backlog:
        await backlog.worked_off(300.0)


def _question(user: int) -> bytes:
    asked = {"profile": f"user_id:u-{user:05d}", "placement": PLACEMENT, "channel": "web", "context": {}, "limit": 3}
    return json.dumps(asked).encode()


def _put_offers(run: Run) -> None:
    """Make the offers, and wait until decisions know them."""
    client = Client(run.stack)
    for number in range(OFFERS):
        client.call("personalize", "PUT", f"/v1/offers/bench-{number:03d}", _offer(number))
    until = time.monotonic() + PATIENCE
    while _candidates(client) < OFFERS:
        if time.monotonic() > until:
            raise BenchFailed(f"decisions do not know all of the {OFFERS} offers after {PATIENCE:.0f} s")
        time.sleep(0.1)
    client.close()


def _candidates(client: Client) -> int:
    """How many offers a decision looks at."""
    decision = client.call("personalize", "POST", "/v1/decide", _question(0)).body
    record = client.call("personalize", "GET", f"/v1/decisions/{decision['decision_id']}")
    return len(record.body["candidates"]) if record.status == 200 else 0


def _offer(number: int) -> dict[str, Any]:
    """Every other one is for everybody; the rest by rules that hold for some."""
    rules = (
        "computed.order_count >= 1",
        "scores.engagement > 20.0",
        "computed.order_value > 100.0",
        'traits.plan == "pro" || computed.order_count > 3',
    )
    return {
        "name": f"Offer {number}",
        "kind": ("discount", "reward", "content", "cross_sell", "upsell")[number % 5],
        "placements": [PLACEMENT],
        "channels": ["web"],
        "value": 1.0 + number % 10,
        "cost": 0.1 * (number % 3),
        "content": {"title": f"Offer {number}"},
    } | ({"eligibility": rules[number // 2 % len(rules)]} if number % 2 else {})
