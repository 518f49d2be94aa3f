"""Where profile's time goes, step by step: microseconds of a core for each event absorbed, each profile published."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from services.profile import publisher
from services.profile.domain import fragment, identity, linking
from services.profile.publisher import ProfilePublisher
from services.profile.service import absorbing, publishing
from services.profile.store import (
    components,
    counts,
    fragments,
    groups,
    identities,
    known,
    parts,
    profiles,
    rulings,
    segments,
    timeline,
)
from shared import ledger
from shared.http import settle_down
from shared.stream import Stream
from tests.bench.definitions import define
from tests.bench.inside import BATCH, Inside, inside
from tests.bench.meter import REST, Meter, Used
from tests.bench.people import PEOPLE, TRAFFIC, People, Whose, in_turn
from tests.bench.rows import Row
from tests.bench.run import Run
from tests.servers import started_servers

ABSORBING = (
    ("decode", Stream, "_events"),
    ("ledger", Stream, "_unseen"),
    ("ledger", ledger, "move"),
    ("fold", fragment, "absorbed"),
    ("fragments", fragments, "add"),
    ("computed traits", absorbing, "counted"),
    ("computed traits", parts, "add"),
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
    ("segments, signals", counts, "add"),
    ("segments, signals", segments, "put_signals"),
    ("segments, signals", segments, "signals"),
    ("segments, signals", segments, "drop_signals"),
    ("groups", groups, "change"),
    ("encode", publisher, "_identified"),
    ("encode", publisher, "_profiled"),
    ("Kafka", ProfilePublisher, "_send"),
    ("confirm", profiles, "clear"),
)
DEFINED = "50 segments, 20 computed traits"
BATCHES = 16
WARMING = 6
PARTITIONS = 8
NOTHING = Used(0.0, 0.0)


async def _measured(parts: Inside, meter: Meter, people: People, batches: int) -> list[Row]:
    """Absorb and publish by turns; what both used."""
    absorbed, published, yards, counts = [], [], [], []
    for _ in range(batches):
        records = people.records(BATCH)
        meter.start()
        await parts.absorb(records)
        absorbed.append(_each(meter.stop(), BATCH))
        meter.start()
        counts.append(await parts.publish())
        published.append(_each(meter.stop(), counts[-1]))
        yards.append(yard())
    return [
        *_rows("absorbing, an event", absorbed, [name for name, _, _ in ABSORBING]),
        *_rows("publishing, a profile", published, [name for name, _, _ in PUBLISHING]),
        Row("  profiles published for 1,000 events", f"{median(counts):,.0f}"),
        Row("  a loop of 100,000 turns, to compare runs by", f"{1e3 * median(yards):.1f} ms"),
    ]


def yard() -> float:
    """Seconds of a core that always the same takes: more where others slow this machine down."""
    began = time.process_time()
    sum(number * number for number in range(100_000))
    return time.process_time() - began


def _each(used: Mapping[str, Used], count: int) -> dict[str, Used]:
    """Microseconds for each of `count`."""
    return {name: Used(1e6 * each.ours / count, 1e6 * each.theirs / count) for name, each in used.items()}


def _rows(title: str, batches: Sequence[Mapping[str, Used]], names: Iterable[str]) -> list[Row]:
    """Medians over all batches: what others did to a few of them does not show."""
    there = [name for name in (*dict.fromkeys(names), REST) if any(name in each for each in batches)]
    middle = {name: _median([each.get(name, NOTHING) for each in batches]) for name in there}
    total = _median([sum(each.values(), NOTHING) for each in batches])
    return [Row(title, *_shown(total)), *(Row(f"  {name}", *_shown(middle[name])) for name in there)]


def _median(many: Sequence[Used]) -> Used:
    return Used(median(each.ours for each in many), median(each.theirs for each in many))


def _shown(used: Used) -> tuple[str]:
    return (f"{used.ours:,.1f} + {used.theirs:,.1f} µs",)


async def steps(run: Run) -> list[Row]:
    """What profile's work costs its own processor and, after the plus, PostgreSQL's: servers of its own, by hand."""
    return await inside_out(int(run.seconds(BATCHES)))


async def inside_out(batches: int, traffic: Mapping[str, Whose] = TRAFFIC) -> list[Row]:
    """Each traffic with nothing defined, and the first with 50 segments and 20 computed traits."""
    settle_down()  # as the service does
    rows: list[Row] = []
    for name, whose in traffic.items():
        rows += await _traffic(name, whose, batches, defined=False)
    name, whose = next(iter(traffic.items()))
    return rows + await _traffic(f"{name}; {DEFINED}", whose, batches, defined=True)


async def _traffic(name: str, whose: Whose, batches: int, *, defined: bool) -> list[Row]:
    """What this traffic costs, once everybody who comes back has been there."""
    async with started_servers() as servers, inside(servers, PARTITIONS) as parts:
        if defined:
            await define(parts)
        crowd = People(in_turn, seed=0)
        for _ in range(PEOPLE // BATCH):
            await parts.absorb(crowd.records(BATCH))
            await parts.publish()
        people = People(whose, seed=1)
        meter = Meter(await parts.server())
        with meter.watching((*ABSORBING, *PUBLISHING)):
            title = Row(f"profile, inside: {name}", "own + PostgreSQL's")
            return [title, *await _measured(parts, meter, people, batches)]
