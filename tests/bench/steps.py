"""Where profile's time goes, step by step: microseconds of a core for each event absorbed, each profile published."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from rich.console import Console

from services.profile import publisher
from services.profile.domain import fragment, identity, linking
from services.profile.publisher import ProfilePublisher
from services.profile.service import publishing
from services.profile.store import components, fragments, identities, known, profiles, rulings, segments, timeline
from shared import ledger
from shared.stream import Stream
from tests.bench.inside import BATCH, Inside, inside
from tests.bench.meter import REST, Meter, Used
from tests.bench.people import TRAFFIC, People, Whose
from tests.bench.rows import Row, show
from tests.servers import started_servers

ABSORBING = (
    ("decode", Stream, "_events"),
    ("ledger", Stream, "_unseen"),
    ("ledger", ledger, "move"),
    ("fold", fragment, "absorbed"),
    ("fragments", fragments, "add"),
    ("timeline", timeline, "add"),
    ("identities, known", identity, "said"),
    ("identities, known", identities, "find"),
    ("identities, known", linking, "sift"),
    ("identities, new", identities, "add"),
    ("identities, new", identities, "put_edges"),
    ("identities, new", rulings, "ruled"),
    ("identities, new", components, "component"),
    ("identities, new", identities, "move"),
    ("marking", identities, "profiles_of"),
    ("marking", profiles, "mark"),
    ("marking", profiles, "create"),
    ("marking", profiles, "settle"),
)
PUBLISHING = (
    ("claim", profiles, "claim"),
    ("known", known, "known"),
    ("rules and view", publishing, "published"),
    ("write", profiles, "write"),
    ("segments, signals", segments, "rules"),
    ("segments, signals", segments, "change"),
    ("segments, signals", segments, "put_signals"),
    ("segments, signals", segments, "signals"),
    ("segments, signals", segments, "drop_signals"),
    ("encode", publisher, "_identified"),
    ("encode", publisher, "_profiled"),
    ("Kafka", ProfilePublisher, "_send"),
    ("confirm", profiles, "clear"),
)
BATCHES = 20


async def measured(parts: Inside, meter: Meter, people: People, batches: int) -> list[Row]:
    """Absorb and publish by turns; what both used."""
    absorbed, published, count = {}, {}, 0
    for _ in range(batches):
        records = people.records(BATCH)
        meter.start()
        await parts.absorb(records)
        absorbed = _added(absorbed, meter.stop())
        meter.start()
        count += await parts.publish()
        published = _added(published, meter.stop())
    return [
        *_rows("absorbing, an event", absorbed, [name for name, _, _ in ABSORBING], batches * BATCH),
        *_rows("publishing, a profile", published, [name for name, _, _ in PUBLISHING], count),
        Row(f"  profiles published for {batches * BATCH:,} events", f"{count:,}"),
    ]


def _added(one: Mapping[str, Used], other: Mapping[str, Used]) -> dict[str, Used]:
    nothing = Used(0.0, 0.0)
    return {name: one.get(name, nothing) + other.get(name, nothing) for name in {**one, **other}}


def _rows(title: str, used: Mapping[str, Used], names: list[str], count: int) -> list[Row]:
    total = sum(used.values(), Used(0.0, 0.0))
    steps = [Row(f"  {name}", *_per(used[name], count)) for name in (*dict.fromkeys(names), REST) if name in used]
    return [Row(title, *_per(total, count)), *steps]


def _per(used: Used, count: int) -> tuple[str, str]:
    return f"{1e6 * used.ours / count:,.1f}", f"{1e6 * used.theirs / count:,.1f}"


async def traffic(whose: Whose, batches: int, partitions: int) -> list[Row]:
    """What this traffic costs, once everybody who comes back has been there."""
    async with started_servers() as servers, inside(servers, partitions) as parts:
        people = People(whose, seed=1)
        for _ in range(6):
            await parts.absorb(people.records(BATCH))
            await parts.publish()
        meter = Meter(await parts.server())
        with meter.watching((*ABSORBING, *PUBLISHING)):
            return await measured(parts, meter, people, batches)


def main() -> None:
    partitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for name, whose in TRAFFIC.items():
        rows = asyncio.run(traffic(whose, BATCHES, partitions))
        console = Console(highlight=False, width=150)
        console.print(name)
        show(console, rows, "measured: profile's; limit: PostgreSQL's")


if __name__ == "__main__":
    main()
