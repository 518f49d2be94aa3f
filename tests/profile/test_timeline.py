"""Timelines at length: each page is what a plain list says, and none costs more because the timeline is long."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import TextClause, text

from services.profile.domain.identity import NAMED, profile_id
from services.profile.service import history
from services.profile.service.history import NOW, Effort
from services.profile.service.reading import EVER, Filter
from services.profile.store.timeline import Asked, Place
from shared.db import Work
from shared.events import Touchpoint
from shared.identifiers import Identifier
from tests.builders import identified, touchpoint
from tests.profile.timelines import ALL, READING, Archive, archive, plain
from tests.servers import Servers

USER = Identifier("user_id", "long")

Mark = tuple[datetime, str, str]


@pytest.fixture(scope="module")
async def shelf(servers: Servers) -> AsyncIterator[Archive]:
    async with archive(servers) as shelf:
        yield shelf


# --- exactness -------------------------------------------------------------------------------------------------------


def long_life() -> list[Touchpoint]:
    """20,000 touchpoints over 40 months and 200 devices of one person; many at the same moment, some things rare."""
    random, start = Random(5), datetime(2022, 12, 3, tzinfo=UTC)
    names = ("Product Viewed", "Product Added", "Search", "Home")
    life = [
        identified("long", f"device-{number:03}", at=start + timedelta(minutes=number), id=f"login-{number:03}")
        for number in range(200)
    ]
    for number in range(19_800):
        rare = number % 2500 == 7
        life.append(
            touchpoint(
                "Order Completed" if rare else random.choice(names),
                kind=random.choice(("track", "page")),
                anonymous=f"device-{int(200 * random.random() ** 2):03}",
                at=start + timedelta(hours=random.randrange(40 * 730)),
                id=f"m-{random.randrange(10**9):09}-{number}",
                source=random.choice(("web", "shop")),
                channel="store" if number % 1900 == 11 else random.choice(("web", "mobile")),
            )
        )
    return life


@pytest.fixture(scope="module")
async def life(shelf: Archive) -> list[Touchpoint]:
    found = long_life()
    shuffled = list(found)
    Random(6).shuffle(shuffled)
    for start in range(0, len(shuffled), 1000):
        await shelf.absorb(shuffled[start : start + 1000])
    return found


FILTERS = [
    Filter(since, channel, name, type)
    for since, channel, name, type in itertools.product(
        (EVER, datetime(2024, 2, 29, 12, tzinfo=UTC)),
        (None, "web", "store", "never"),
        (None, "Search", "Order Completed", "Never"),
        (None, "page"),
    )
]


async def test_every_filter_pages_through_a_long_life_as_a_plain_list_does(
    shelf: Archive, life: list[Touchpoint]
) -> None:
    for number, asked in enumerate(FILTERS):
        until = datetime(2025, 6, 30, 12, tzinfo=UTC) if number % 3 == 0 else None
        before = NOW if until is None else Place(until, "", "")
        assert await shelf.whole(USER, asked, before=before, limit=500) == plain(life, asked, until), asked
    assert await shelf.whole(USER, Filter(name="Order Completed"), limit=3) == plain(
        life, Filter(name="Order Completed")
    )
    assert len(await shelf.partitions()) == 42, "a partition a month, of these only; and the rest"


@st.composite
def worlds(draw: st.DrawFn) -> list[Touchpoint]:
    """Few devices, months, names: everything ties."""
    moments = st.builds(
        lambda month, day, hour: datetime(2025 + month // 12, month % 12 + 1, day, hour, tzinfo=UTC),
        st.sampled_from((0, 1, 1, 14)),
        st.sampled_from((1, 2, 3, 28)),
        st.sampled_from((0, 23)),
    )
    return [
        touchpoint(
            draw(st.sampled_from(("A", "B", None))),
            kind=draw(st.sampled_from(("track", "page"))),
            anonymous=draw(st.sampled_from(("one", "two", "three"))),
            at=draw(moments),
            id=f"m-{number}",
            source=draw(st.sampled_from(("web", "shop"))),
            channel=draw(st.sampled_from(("web", "web", "store"))),
        )
        for number in range(draw(st.integers(0, 25)))
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    world=worlds(),
    channel=st.sampled_from((None, "web", "store")),
    name=st.sampled_from((None, "A")),
    type=st.sampled_from((None, "page")),
    since=st.sampled_from((EVER, datetime(2025, 6, 2, tzinfo=UTC))),
    limit=st.integers(1, 4),
    effort=st.builds(Effort, scan=st.integers(1, 6), rounds=st.lists(st.integers(1, 3), min_size=1, max_size=2)),
)
async def test_pages_that_stop_early_lose_and_repeat_nothing(
    shelf: Archive,
    world: list[Touchpoint],
    channel: str | None,
    name: str | None,
    type: str | None,
    since: datetime,
    limit: int,
    effort: Effort,
) -> None:
    await shelf.run(*(f"DELETE FROM {table} WHERE value LIKE 'tiny %'" for table in ("timeline", "presence")))
    logins = [
        identified("tiny", f"tiny {device}", at=datetime(2025, 1, 1, tzinfo=UTC), id=f"l-{device}")
        for device in ("one", "two", "three")
    ]
    await shelf.absorb([*logins, *(_renamed(each) for each in world)])
    asked = Filter(since, channel, name, type)

    found: list[Mark] = []
    place: Place | None = NOW
    while place is not None:
        rows, following = await _page(shelf, asked, place, limit, effort)
        assert len(rows) <= limit
        assert following is None or following < place, "every page gets on"
        found, place = [*found, *rows], following
    assert found == plain([*logins, *world], asked)


def _renamed(each: Touchpoint) -> Touchpoint:
    call = each.data
    return touchpoint(
        call.name,
        kind=call.type,
        anonymous=f"tiny {call.anonymous_id}",
        at=each.at,
        id=each.id,
        source=each.source,
        channel=call.channel,
    )


async def _page(
    shelf: Archive, asked: Filter, before: Place, limit: int, effort: Effort
) -> tuple[list[Mark], Place | None]:
    person = profile_id(Identifier("user_id", "tiny"))
    wanted = Asked(person, NAMED, asked.since, asked.channel, asked.name, asked.type)
    async with shelf.database.begin() as work:
        page = await history.page(work, wanted, before=before, limit=limit, effort=effort)
    return [(row.at, row.touchpoint_id, row.source) for row in page.rows], page.next


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_where_one_device_is_cut_nothing_older_of_another_is_shown_yet(shelf: Archive, limit: int) -> None:
    """One is busy in the web, and what is asked for is far down; the other's lies between."""
    await shelf.run(*(f"DELETE FROM {table} WHERE value LIKE 'tiny %'" for table in ("timeline", "presence")))
    start = datetime(2025, 3, 1, tzinfo=UTC)
    world = [
        touchpoint(
            anonymous="tiny two" if number in (18, 2) else "tiny one",
            at=start + timedelta(hours=number),
            id=f"m-{number:02}",
            channel="store" if number in (18, 4, 2, 1) else "web",
        )
        for number in range(20)
    ]
    logins = [identified("tiny", f"tiny {name}", at=start, id=f"l-{name}") for name in ("one", "two")]
    await shelf.absorb([*logins, *world])
    asked = Filter(channel="store")
    found: list[Mark] = []
    place: Place | None = NOW
    while place is not None:
        rows, place = await _page(shelf, asked, place, limit, Effort(scan=4))
        found += rows
    assert found == plain(world, asked)


async def test_the_same_touchpoint_again_in_another_batch_stays_one_row(shelf: Archive) -> None:
    twice = [touchpoint("Twice", anonymous="twice", id=f"tw-{number}") for number in range(3)]
    await shelf.absorb(twice)
    first = await shelf.rows("SELECT * FROM timeline WHERE value = 'twice' ORDER BY touchpoint_id")
    await shelf.absorb(twice[1:], [touchpoint("Other", anonymous="twice", id="tw-0", channel="store")])
    rows = await shelf.rows("SELECT * FROM timeline WHERE value = 'twice' ORDER BY touchpoint_id")
    assert rows == first
    assert len(rows) == 3


# --- cost ------------------------------------------------------------------------------------------------------------


class Explaining:
    """A transaction that counts the buffers that each statement of ours touches, as it runs it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.buffers = 0
        self.statements = 0

    async def execute(self, statement: TextClause, given: Mapping[str, Any] | None = None) -> Any:
        explain = text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.text)
        ((plan,),) = (await self.work.execute(explain, dict(given or {}))).scalars().all()
        self.buffers += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        self.statements += 1
        return await self.work.execute(statement, dict(given or {}))


async def cost(shelf: Archive, name: str, asked: Filter = ALL, before: Place = NOW, limit: int = 10) -> int:
    """Buffers that a page takes, all of its statements together."""
    async with shelf.database.begin() as work:
        explaining = Explaining(work)
        await READING.timeline(Identifier("user_id", name), asked, cast(Work, explaining), before=before, limit=limit)
    assert explaining.statements >= 4
    return explaining.buffers


INSERT = """
    INSERT INTO timeline (kind, value, at, touchpoint_id, source, received_at, type, name, channel, properties,
        identifiers)
    SELECT 'user_id', '{value}', timestamptz '2022-12-01' + number * interval '1216 days' / {count}, 'm-' || number,
        'web', now(), CASE WHEN number % 40000 = 13 THEN 'screen' ELSE 'track' END,
        CASE WHEN number % 20000 = 17 THEN 'Order Completed' ELSE 'Product Viewed' END,
        CASE WHEN number % 50000 = 19 THEN 'store' ELSE 'web' END,
        '{{"product_id": "p-1", "url": "https://shop.example.com/products/p-1", "price": 10.5}}', '[]'
    FROM generate_series(0, {count} - 1) AS number
"""


@pytest.fixture(scope="module")
async def crowd(shelf: Archive, life: list[Touchpoint]) -> Archive:
    """Beside the long life: somebody with ten touchpoints, somebody with 100,000, and thousands of visitors."""
    await shelf.absorb([identified("short", id="s"), identified("endless", id="e")])
    await shelf.run(
        INSERT.format(value="short", count=10),
        INSERT.format(value="endless", count=100_000),
        *(INSERT.format(value=f"visitor-{number}", count=20) for number in range(200)),
    )
    return shelf


@pytest.mark.parametrize("known", [False, True], ids=["before statistics", "with statistics"])
async def test_a_page_of_a_hundred_thousand_costs_what_a_page_of_ten_costs(crowd: Archive, known: bool) -> None:
    if known:
        await crowd.run("ANALYZE timeline", "ANALYZE presence", "ANALYZE identifier")
    short = await cost(crowd, "short")
    middle = Place(datetime(2024, 6, 15, tzinfo=UTC), "", "")
    for asked, before, times in (
        (Filter(), NOW, 2),
        (Filter(), middle, 2),
        (Filter(name="Product Viewed", channel="web", type="track"), middle, 2),
        (Filter(name="Order Completed"), NOW, 4),  # five in forty months, each of which it has to ask
        (Filter(name="Never"), NOW, 4),
        (Filter(channel="never"), NOW, 1),
        (Filter(since=datetime(2024, 6, 10, tzinfo=UTC)), middle, 2),
    ):
        assert await cost(crowd, "endless", asked, before) <= times * short, asked


async def test_what_is_rare_by_channel_or_type_is_found_in_its_months_only(crowd: Archive) -> None:
    """2,500 rows a month: two months are walked, not forty; and by name there is nothing to walk."""
    whole = (await crowd.rows("SELECT sum(relpages) AS pages FROM pg_class WHERE relname LIKE 'timeline_2%'"))[0].pages
    assert whole > 3000
    for asked in (Filter(channel="store"), Filter(type="screen")):
        assert len(await crowd.whole(Identifier("user_id", "endless"), asked)) == len(range(13, 100_000, 50_000)) + (
            asked.type == "screen"
        )
        assert await cost(crowd, "endless", asked) < 600, asked


async def test_a_page_over_two_hundred_devices_costs_a_little_for_each(crowd: Archive) -> None:
    assert await cost(crowd, "long", limit=50) < 200 * 20
