"""What most tests of profile stand on: an installation, a service or a database, one for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.db import Database
from tests.profile.database import emptied
from tests.profile.service import Service, make_topics, running, settings
from tests.servers import Installation, Servers


@pytest.fixture(scope="module")
async def installed(servers: Servers) -> AsyncIterator[Installation]:
    async with servers.installation() as installation:
        await make_topics(installation)
        yield installation


@pytest.fixture(scope="module")
async def service(installed: Installation) -> AsyncIterator[Service]:
    """Each test speaks of people of its own."""
    async with running(settings(installed)) as service:
        yield service


@pytest.fixture(scope="module")
async def shared_database(servers: Servers) -> AsyncIterator[Database]:
    async with servers.installation() as installation, Database.open(installation.database("profile")) as database:
        yield database


@pytest.fixture
async def database(shared_database: Database) -> Database:
    """With nothing in it."""
    await emptied(shared_database)
    return shared_database
