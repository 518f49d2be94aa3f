"""What most tests of ingest stand on: a place of their module's own, a door to it, and somebody nobody else knows."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from tests.ingest.door import Door, Place, opened, prepared
from tests.servers import Servers


@pytest.fixture(scope="module")
async def place(servers: Servers) -> AsyncIterator[Place]:
    async with servers.installation() as mine:
        yield await prepared(mine)


@pytest.fixture(scope="module")
async def door(place: Place) -> AsyncIterator[Door]:
    async with opened(place) as door:
        yield door


@pytest.fixture
def somebody() -> str:
    """A user id that no other test has."""
    return f"u-{uuid.uuid4()}"
