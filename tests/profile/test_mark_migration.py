"""From marks on the profile to marks by themselves, while processes of the version before go on: none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from shared.db import Database, Work, migrate
from shared.settings import DatabaseSettings
from tests.profile.versions import SCRIPTS, at_version
from tests.servers import Servers
from tests.waiting import until

MARKED, CALM, LATE, NEW = (f"0b6cf3a8-0000-5000-8000-00000000000{number}" for number in range(4))
MARK = text("UPDATE profile SET version = version + 1, marked_at = least(marked_at, now()) WHERE profile_id = :id")
"""As the version before marks."""

WAITS = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST('profile' AS regclass)")


@pytest.fixture
async def before(servers: Servers) -> AsyncIterator[DatabaseSettings]:
    """A database as version 0010 left it."""
    async with at_version(servers, "0010") as settings:
        yield settings


async def test_what_is_marked_before_during_and_after_is_marked(before: DatabaseSettings) -> None:
    async with Database.open(before) as database:
        async with database.begin() as work:
            for each in (MARKED, CALM, LATE):
                await work.execute(text("INSERT INTO profile (profile_id, version) VALUES (:id, 1)"), {"id": each})
            await work.execute(MARK, {"id": MARKED})
        async with database.begin() as consumer:
            await consumer.execute(MARK, {"id": LATE})  # and commits only once the migration is under way
            migrating = asyncio.create_task(asyncio.to_thread(migrate, before, SCRIPTS))
            await until(lambda: _waits(database))
        await migrating
        async with database.begin() as work:
            await work.execute(
                text("INSERT INTO profile (profile_id, version, marked_at) VALUES (:id, 1, now())"), {"id": NEW}
            )
        async with database.begin() as work:
            assert await _marked(work) == {MARKED, LATE, NEW}


async def _waits(database: Database) -> bool:
    async with database.begin() as work:
        return bool((await work.execute(WAITS)).scalar_one())


async def _marked(work: Work) -> set[str]:
    return {str(id) for id in (await work.execute(text("SELECT profile_id FROM mark"))).scalars()}
