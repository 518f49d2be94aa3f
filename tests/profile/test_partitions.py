"""The timeline's partitions on a real PostgreSQL: whoever makes and drops them, and whoever writes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from services.profile import metrics
from services.profile.domain.fragment import fold
from services.profile.service.reading import Filter
from services.profile.store.fragments import decoded
from shared.events import Touchpoint
from shared.identifiers import Identifier
from tests.builders import touchpoint
from tests.profile.service import NOON
from tests.profile.timelines import ALL, Archive, archive, plain
from tests.servers import Servers
from tests.waiting import PATIENCE

USER = Identifier("user_id", "u")


@pytest.fixture(scope="module")
async def shelf(servers: Servers) -> AsyncIterator[Archive]:
    async with archive(servers) as shelf:
        yield shelf


@pytest.fixture
async def fresh(shelf: Archive) -> Archive:
    """Empty, without partitions, at noon of 2 March 2026."""
    await shelf.run(*(f"DROP TABLE {name}" for name in await shelf.partitions() if name != "timeline_rest"))
    await shelf.emptied()
    shelf.hands.now = NOON
    return shelf.another()


def at(year: int, month: int = 1, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def seen(moment: datetime) -> Touchpoint:
    return touchpoint(user="u", at=moment, received_at=NOON, id=f"m-{moment.isoformat()}")


def monthly(first: int, last: int) -> list[Touchpoint]:
    """One on the fifth of every month of these years."""
    return [seen(at(year, month, 5)) for year in range(first, last + 1) for month in range(1, 13)]


async def counted(shelf: Archive) -> int:
    """How many touchpoints the fragments add up to."""
    return fold(decoded(row.state) for row in await shelf.rows("SELECT state::text FROM fragment")).count


# --- making ----------------------------------------------------------------------------------------------------------


async def test_times_that_a_client_makes_up_have_their_place_and_few_partitions(fresh: Archive) -> None:
    """The first and the last moment there is among them."""
    odd = [datetime.min, datetime(1, 1, 15), datetime(1, 2, 1), datetime(999, 7, 1), datetime(1969, 12, 31, 23, 59)]
    odd += [datetime(9999, 12, 31, 23, 59, 59, 999_000), datetime(9998, 12, 5), datetime(1997, 3, 1)]
    life = [seen(moment.replace(tzinfo=UTC)) for moment in odd] + monthly(1960, 1972) + monthly(2018, 2028)
    for start in range(0, len(life), 50):
        await fresh.absorb(life[start : start + 50])

    names = [f"timeline_{each}" for each in ("1970", "1971", "1972", "1997", "2018", "2019", "before_1970", "rest")]
    months = [f"timeline_{year}_{month:02}" for year in range(2020, 2027) for month in range(1, 13)]
    assert await fresh.partitions() == sorted(names + months[: 6 * 12 + 4])
    assert [tuple(row) for row in await fresh.rows("SELECT min(at), count(*) FROM timeline_rest")] == [
        (at(2026, 5, 5), 8 + 24 + 2)
    ]
    for limit in (7, 500):
        assert await fresh.whole(USER, limit=limit) == plain(life, ALL)
    for since in (at(1), at(1, 1, 2), at(1970), at(2026, 5, 6), at(9999, 12, 31)):
        assert await fresh.whole(USER, Filter(since)) == plain(life, Filter(since))


async def test_what_waited_in_the_rest_moves_into_its_month_when_that_is_near(fresh: Archive) -> None:
    life = [seen(at(2026, 6, 1)), seen(at(2026, 6, 30)), seen(at(2026, 7, 1)), seen(at(2026, 3, 1))]
    await fresh.absorb(life)
    assert await fresh.partitions() == ["timeline_2026_03", "timeline_rest"]

    fresh.hands.now = at(2026, 5, 20)
    await fresh.keep()
    assert await fresh.partitions() == ["timeline_2026_03", "timeline_2026_05", "timeline_2026_06", "timeline_rest"]
    assert len(await fresh.rows("SELECT 1 FROM timeline_2026_06")) == 2
    await fresh.absorb(life)
    assert await fresh.whole(USER) == plain(life, ALL), "and they stay the same ones"


async def test_processes_that_make_the_same_partitions_at_once_all_succeed(fresh: Archive) -> None:
    processes = [fresh.another() for _ in range(2)]
    lives = [
        [touchpoint(user=f"p{number}", at=each.at, received_at=NOON, id=each.id) for each in monthly(2010, 2025)]
        for number in range(len(processes))
    ]
    for each, life in zip(processes, lives, strict=True):
        Random(id(each)).shuffle(life)
    await asyncio.gather(
        *(each.absorb(life[::2], life[1::2]) for each, life in zip(processes, lives, strict=True)),
        *(each.keep() for each in processes),
    )
    await fresh.keep()  # what one could not make while the other did
    assert len(await fresh.partitions()) == 10 + 6 * 12 + 2 + 1
    assert await fresh.rows("SELECT 1 FROM timeline_rest") == []
    for number, life in enumerate(lives):
        assert await fresh.whole(Identifier("user_id", f"p{number}"), limit=500) == plain(life, ALL)


async def test_making_partitions_waits_for_nobody_in_another(fresh: Archive) -> None:
    await fresh.absorb([seen(at(2025, 1, 1))])
    async with fresh.database.begin() as work, asyncio.timeout(PATIENCE):
        await work.exec_driver_sql("SELECT 1 FROM timeline_2025_01")
        await work.exec_driver_sql("LOCK TABLE timeline IN ROW EXCLUSIVE MODE")  # as a batch that has written
        await fresh.absorb([seen(at(2025, 2, 1))], [seen(at(2025, 3, 1))])
    assert len(await fresh.whole(USER)) == 3


async def test_a_backup_that_reads_for_long_holds_no_batch_up(fresh: Archive) -> None:
    """No partition can be made meanwhile: touchpoints wait in the rest, and are moved afterwards."""
    life = monthly(2023, 2024)
    async with fresh.database.begin() as backup:
        await backup.exec_driver_sql("LOCK TABLE timeline, timeline_rest IN ACCESS SHARE MODE")
        async with asyncio.timeout(PATIENCE):
            await fresh.absorb(life[:12])
            await fresh.absorb(life[12:])
            await fresh.keep()
        assert await fresh.partitions() == ["timeline_rest"]
        assert await fresh.whole(USER, limit=5) == plain(life, ALL)
    await fresh.keep()
    assert len(await fresh.partitions()) == 24 + 2 + 1
    assert await fresh.rows("SELECT 1 FROM timeline_rest") == []
    assert await fresh.whole(USER, limit=5) == plain(life, ALL)


async def test_whoever_writes_without_making_partitions_loses_nothing(fresh: Archive) -> None:
    """As the version before does while a new one is rolled out: its rows wait in the rest, and show."""
    life = monthly(2024, 2025)
    await fresh.database.retrying(lambda work: fresh.profiles.absorb(life, work))
    assert await fresh.partitions() == ["timeline_rest"]
    assert await fresh.whole(USER, limit=5) == plain(life, ALL)
    await fresh.absorb([seen(at(2024, 7, 9))])
    assert len(await fresh.rows("SELECT 1 FROM timeline_2024_07")) == 2
    assert await fresh.whole(USER, limit=5) == plain([*life, seen(at(2024, 7, 9))], ALL)


# --- retention -------------------------------------------------------------------------------------------------------


async def test_retention_drops_whole_partitions_and_the_profile_still_counts_them(fresh: Archive) -> None:
    keeping = fresh.another(months=12)
    life = [*monthly(1996, 1996), *monthly(2023, 2025)]
    await keeping.absorb(life)
    assert (await keeping.leaf(USER)).removed_before is None

    await keeping.keep()
    kept = [each for each in life if each.at >= at(2025, 3)]
    assert await keeping.whole(USER, limit=3) == plain(kept, ALL)
    assert await keeping.partitions() == [f"timeline_2025_{month:02}" for month in range(3, 13)] + [
        "timeline_2026_03",
        "timeline_2026_04",
        "timeline_rest",
    ]
    assert await counted(keeping) == len(life)
    assert [row.month for row in await keeping.rows("SELECT min(month) AS month FROM presence")] == [2025 * 12 + 2]


async def test_what_comes_late_for_a_removed_month_counts_and_does_not_bring_it_back(fresh: Archive) -> None:
    keeping, other = fresh.another(months=12), fresh.another()
    await asyncio.gather(keeping.absorb(monthly(2024, 2024)), other.absorb(monthly(2025, 2025)))
    await keeping.keep()
    before, late = await keeping.partitions(), metrics.TIMELINE_LATE._value.get()

    for each, day in ((keeping, 6), (other, 7), (fresh.another(), 8)):  # one knows of those months, one never heard
        await each.absorb([seen(at(2024, 8, day)), seen(at(2025, 8, day))])
    assert await keeping.partitions() == before
    assert await counted(keeping) == 24 + 6
    assert len(await keeping.whole(USER)) == 10 + 3
    assert metrics.TIMELINE_LATE._value.get() - late == 3
    assert await keeping.rows("SELECT 1 FROM presence WHERE month < 2025 * 12 + 2") == []


async def test_a_longer_retention_brings_nothing_back_and_none_removes_no_more(fresh: Archive) -> None:
    await fresh.absorb(monthly(2023, 2025))
    await fresh.another(months=12).keep()
    for months in (24, None):
        await fresh.another(months).keep()
        assert (await fresh.rows("SELECT removed_before FROM retention"))[0].removed_before == at(2025, 3)
    fresh.hands.now = at(2027, 1)
    await fresh.another(months=14).keep()
    assert (await fresh.rows("SELECT removed_before FROM retention"))[0].removed_before == at(2025, 11)
    assert len(await fresh.whole(USER)) == 2


async def test_a_page_goes_on_after_partitions_were_dropped_before_it(fresh: Archive) -> None:
    life = monthly(2023, 2025)
    await fresh.absorb(life)
    first = (await fresh.leaf(USER, limit=8)).page
    assert first.next is not None
    await fresh.another(months=12).keep()
    rest = await fresh.whole(USER, before=first.next, limit=8)
    assert [each.at for each in first.rows] + [moment for moment, *_ in rest] == [
        each.at for each in reversed(life) if each.at >= at(2025, 3)
    ]
    behind = (await fresh.leaf(USER, before=first.next._replace(at=at(2024, 5)), limit=8)).page
    assert behind == ([], None), "of a cursor that points into what is gone"


async def test_a_reader_that_takes_long_puts_off_the_drop_and_writers_go_on(fresh: Archive) -> None:
    keeping = fresh.another(months=12)
    await keeping.absorb(monthly(2024, 2025))
    busy = metrics.TIMELINE_BUSY._value.get()
    async with fresh.database.begin() as reader:
        await reader.exec_driver_sql("SELECT count(*) FROM timeline")
        trying = asyncio.create_task(keeping.keep())
        slowest = timedelta()
        while not trying.done():
            slowest = max(slowest, await _timed(fresh, at(2026, 3, 1) + slowest))
        await trying
        assert metrics.TIMELINE_BUSY._value.get() > busy
        assert "timeline_2024_01" in await fresh.partitions()
        assert slowest < timedelta(seconds=2)
        assert (await fresh.whole(USER, limit=500))[-1][0] == at(2025, 3, 5), (
            "it is gone for whoever asks, all the same"
        )
    await keeping.keep()
    assert "timeline_2024_01" not in await fresh.partitions()


async def test_writers_go_on_while_partitions_are_dropped(fresh: Archive) -> None:
    keepers = [fresh.another(months=3) for _ in range(2)]
    await fresh.absorb(monthly(2020, 2025))
    written: list[Touchpoint] = []
    dropped = asyncio.gather(*(each.keep() for each in keepers))
    while not dropped.done():
        written.append(seen(at(2026, 2, 1) + timedelta(seconds=len(written))))
        await fresh.absorb([written[-1], seen(at(2021, 1, 7) + timedelta(seconds=len(written)))])
    await dropped
    assert len(written) > 3
    assert len(await fresh.partitions()) <= 1 + 3 + 2
    assert await fresh.rows("SELECT 1 FROM timeline_rest") == []
    december = [each for each in monthly(2025, 2025) if each.at >= at(2025, 12)]
    assert await fresh.whole(USER, limit=100) == plain([*written, *december], ALL)
    assert await counted(fresh) == 72 + 2 * len(written)


async def _timed(shelf: Archive, moment: datetime) -> timedelta:
    time = asyncio.get_running_loop().time
    began = time()
    await shelf.absorb([seen(moment)])
    return timedelta(seconds=time() - began)


# --- how large it is -------------------------------------------------------------------------------------------------


async def test_how_large_the_timeline_is_comes_from_statistics(fresh: Archive) -> None:
    await fresh.absorb(monthly(2024, 2025))
    await fresh.run("ANALYZE timeline")
    await fresh.keep()
    assert metrics.TIMELINE_PARTITIONS._value.get() == 24 + 2 + 1
    assert metrics.TIMELINE_ROWS._value.get() == 24
    assert metrics.TIMELINE_BYTES._value.get() >= 24 * 3 * 8192
