"""The purchase history of 2,357 real customers, told to ingest as it would have been told at the time.

CDNOW's 1/10 sample: 6,919 orders, January 1997 to June 1998, whitespace separated: master id, id in the sample, day,
CDs, dollars. Message ids come from line numbers, so that however often it is told, everything counts once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.client import Temas
from deploy.demo.errors import DemoFailed
from deploy.demo.screen import Screen
from shared.clock import rfc3339
from shared.kafka import Position, parse_token, token

FILE = Path(__file__).resolve().parents[2] / "tests" / "data" / "CDNOW_sample.txt"

BATCH = 200
"""Touchpoints a request: about 70 KB, well under what a batch may have."""

CONNECTIONS = 8
"""Requests at a time: enough that some wait for Kafka together and share its acknowledgement."""

READERS = ("profile", "scoring")

DEALT_WITH = {f"temas_stream_{fate}_total" for fate in ("applied", "duplicates", "quarantined", "dead_letters")}
"""What becomes of what is in the log: new, seen before, or put aside."""

GLANCE = 0.1
PATIENCE = 120.0
"""Seconds for the services to take in what ingest has accepted."""


@dataclass(frozen=True)
class Order:
    """One line of the file. `customer` is the id in the sample, as text: 0001 to 2357."""

    line: int
    customer: str
    day: datetime
    discs: int
    dollars: float

    @property
    def person(self) -> str:
        """The customer, as profile and scoring know them."""
        return f"user_id:cdnow-{self.customer}"


@dataclass(frozen=True)
class Accepted:
    """What ingest answered with 200: how much, how fast, up to which position of the log."""

    touchpoints: int
    requests: int
    seconds: float
    position: str

    @property
    def rate(self) -> float:
        """Touchpoints a second."""
        return self.touchpoints / self.seconds


def read_orders(path: Path = FILE) -> list[Order]:
    """The orders, in the file's order. Raises DemoFailed where the file is missing or is another."""
    try:
        return [_order(number, line) for number, line in enumerate(path.read_text().splitlines(), 1) if line.strip()]
    except (OSError, ValueError) as error:
        raise DemoFailed(f"the purchase history can't be read ({error}): is the checkout complete?") from error


def _order(number: int, line: str) -> Order:
    _, customer, day, discs, dollars = line.split()
    # Noon: the same date in every time zone from UTC-11 to UTC+11.
    noon = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC) + timedelta(hours=12)
    return Order(number, customer, noon, int(discs), float(dollars))


def touchpoint(order: Order) -> Mapping[str, Any]:
    """`order` as a tracking call, as the shop's web pages would have sent it."""
    name = f"cdnow-{order.line}"
    return {
        "type": "track",
        "event": "Order Completed",
        "messageId": name,
        "userId": f"cdnow-{order.customer}",
        "timestamp": rfc3339(order.day),
        "context": {"channel": "web"},
        "properties": {
            "order_id": name,
            "total": order.dollars,
            "currency": "USD",
            "products": [{"product_id": "cd", "quantity": order.discs}],
        },
    }


async def tell(temas: Temas, screen: Screen) -> None:
    """Post everything, and wait until it has been taken in."""
    orders = read_orders()
    customers = len({order.customer for order in orders})
    screen.chapter(f"{customers:,} real customers and their {len(orders):,} orders")
    before = await taken_in(temas)
    accepted = await post(temas, orders, screen)
    screen.say(
        f"Accepted: {accepted.touchpoints:,} touchpoints in {accepted.requests} requests. Each is safely in Kafka."
    )
    screen.say(f"That is {accepted.rate:,.0f} touchpoints a second, on {CONNECTIONS} connections.")
    began = time.perf_counter()
    await absorbed(temas, accepted, before, screen)
    await temas.profile(orders[-1].person, after=accepted.position)
    screen.say(f"All of it counts, in profiles and in scores, {time.perf_counter() - began:.1f} s later.")


async def post(temas: Temas, orders: Sequence[Order], screen: Screen) -> Accepted:
    """Post `orders` as touchpoints, several requests at a time."""
    waiting = batches(orders)
    sent: list[Sequence[Order]] = []
    positions: list[str] = []
    began = time.perf_counter()
    with screen.progress("Posting touchpoints", len(orders)) as advance:

        async def work() -> None:
            for batch in waiting:  # shared: each worker takes the next one that nobody has taken
                positions.append(await temas.accept([touchpoint(order) for order in batch]))
                sent.append(batch)
                advance(sum(map(len, sent)))

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return Accepted(sum(map(len, sent)), len(sent), time.perf_counter() - began, furthest(positions))


def batches(orders: Sequence[Order]) -> Iterator[Sequence[Order]]:
    """`orders` in pieces that fit into a request."""
    return (orders[start : start + BATCH] for start in range(0, len(orders), BATCH))


def furthest(positions: Iterable[str]) -> str:
    """The `Temas-Position` after which everything at `positions` has been seen."""
    return token(Position(*pair) for position in positions for pair in parse_token(position).items())


async def absorbed(temas: Temas, accepted: Accepted, before: Mapping[str, float], screen: Screen) -> None:
    """Return once profile and scoring have dealt with all that was accepted. Raises DemoFailed when that takes long."""
    until = time.monotonic() + PATIENCE
    with screen.progress("Taken in by profile and scoring", accepted.touchpoints) as advance:
        done = 0
        while done < accepted.touchpoints:
            if time.monotonic() > until:
                raise DemoFailed(f"profile and scoring have not caught up in {PATIENCE:.0f} s: see `make logs`.")
            await asyncio.sleep(GLANCE)
            now = await taken_in(temas)
            done = min(int(now[service] - before[service]) for service in READERS)
            advance(done)


async def taken_in(temas: Temas) -> Mapping[str, float]:
    """How many touchpoints each of the readers has dealt with since it started. Raises DemoFailed if one gave up."""
    told = {service: await temas.metrics(service) for service in READERS}
    for service, metrics in told.items():
        if metric(metrics, {"temas_stream_stopped"}):
            raise DemoFailed(f"{service} has stopped taking in touchpoints: `make logs` says why.")
    return {service: metric(metrics, DEALT_WITH, topic="touchpoints") for service, metrics in told.items()}


def metric(metrics: str, names: Collection[str], **labels: str) -> float:
    """The sum of the samples of these names and labels in what a service tells Prometheus."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name in names and labels.items() <= sample.labels.items()
    )
