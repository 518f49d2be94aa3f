"""From the timeline in one table to the one in partitions, with rows in it: none is lost, and all show as before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from shared.clock import system_clock
from shared.db import Database, migrate
from shared.identifiers import Identifier
from shared.settings import DatabaseSettings
from tests.profile.service import Hands
from tests.profile.timelines import ALL, Archive
from tests.profile.versions import SCRIPTS, at_version
from tests.servers import Servers

PERSON = "0b6cf3a8-0000-5000-8000-000000000001"

ROWS = "SELECT {columns} FROM timeline ORDER BY kind, value, at, touchpoint_id, source"

COLUMNS = """kind, value, at, touchpoint_id, source, received_at, type, name, channel, properties::text,
    identifiers::text"""


@pytest.fixture
async def production(servers: Servers) -> AsyncIterator[DatabaseSettings]:
    """A database as the first migration left it."""
    async with at_version(servers, "0001") as settings:
        yield settings


async def test_every_row_is_kept_and_found(production: DatabaseSettings) -> None:
    now = system_clock()
    moments = _moments(now)
    async with Database.open(production) as database:
        shelf = Archive(database, Hands(now))
        await _fill(shelf, moments)
        before = await shelf.rows(ROWS.format(columns=COLUMNS))
        assert len(before) == 2 * len(moments)

        await asyncio.to_thread(migrate, production, SCRIPTS)
        assert await shelf.rows(ROWS.format(columns=COLUMNS)) == before
        names = await shelf.partitions()
        assert {"timeline_before_1970", "timeline_1997", "timeline_2019", "timeline_2020_01"} <= {*names}
        assert len(names) < 90
        rest = await shelf.rows("SELECT DISTINCT at FROM timeline_rest ORDER BY at")
        assert [row.at for row in rest] == sorted(at for at in moments if at > now + timedelta(days=62))
        found = await shelf.whole(Identifier("user_id", "u"), limit=400)
        assert found == sorted(((row.at, row.touchpoint_id, row.source) for row in before), reverse=True)

        await asyncio.to_thread(migrate, production, SCRIPTS)  # again, and nothing happens
        await shelf.keep()
        assert await shelf.rows(ROWS.format(columns=COLUMNS)) == before


async def test_a_migration_that_can_not_have_the_timeline_changes_nothing(production: DatabaseSettings) -> None:
    """Somebody reads it for long: the migration gives up, and production goes on as it was."""
    async with Database.open(production) as database:
        shelf = Archive(database, Hands(system_clock()))
        await _fill(shelf, [datetime(2026, 3, 1, tzinfo=UTC)])
        async with database.begin() as reader:
            await reader.exec_driver_sql("SELECT 1 FROM timeline")
            with pytest.raises(Exception, match="lock timeout"):
                await asyncio.to_thread(migrate, production, SCRIPTS)
        assert len(await shelf.rows("SELECT 1 FROM timeline")) == 2
        await asyncio.to_thread(migrate, production, SCRIPTS)
        assert len((await shelf.leaf(Identifier("user_id", "u"), ALL)).page.rows) == 2


def _moments(now: datetime) -> list[datetime]:
    """From the year 1 to the year 9999, the edges of years and months among them."""
    random = Random(3)
    odd = [(2, 1, 1), (1500, 6, 1), (1969, 12, 31), (1970, 1, 1), (1997, 5, 5), (2019, 12, 31), (2020, 1, 1)]
    found = [datetime(*day, tzinfo=UTC) for day in odd]
    found += [datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), now + timedelta(days=100)]
    return found + [
        datetime(2022, 1, 1, tzinfo=UTC) + timedelta(minutes=random.randrange(3 * 365 * 24 * 60)) for _ in range(1500)
    ]


async def _fill(shelf: Archive, moments: list[datetime]) -> None:
    """As version 0001 wrote it, for two identifiers of one person."""
    values = [
        (
            *(
                kind,
                value,
                f"{at.isoformat():0>25}",
                f"m-{number}",
                "web",
                "2026-03-01Z",
                "page" if number % 3 else "track",
            ),
            *(f"Name {number % 5}", "web", f'{{"number" : {number}}}', "[]"),
        )
        for number, at in enumerate(moments)
        for kind, value in (("user_id", "u"), ("anonymous_id", "a"))
    ]
    rows = ", ".join(str(row) for row in values).replace("'Name 0'", "NULL").replace(":", "\\:")
    await shelf.run(
        f"INSERT INTO profile (profile_id, version) VALUES ('{PERSON}', 1)",
        f"""INSERT INTO identifier (kind, value, profile_id)
            VALUES ('user_id', 'u', '{PERSON}'), ('anonymous_id', 'a', '{PERSON}')""",
        f"INSERT INTO timeline VALUES {rows}",
    )
