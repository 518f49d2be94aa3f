"""Fixtures that any test may ask for. The servers start when the first test needs them, and never for the others."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import Installation, Servers, Stack, started_servers, started_stack

MARKED_BY = {
    "servers": {"servers", "breakable_servers"},
    "e2e": {"stack"},
}
"""A test has the marker where it uses one of the fixtures, by whatever way."""

EXPLORE = "TEMAS_EXPLORE"
KEPT = ("TEMAS_CACHE", EXPLORE)


# How long an example takes says how busy the machine is, not whether the code is right. And the examples are the same
# in every run, so that what fails fails because of a change; TEMAS_EXPLORE=1 tries new ones each time.
settings.register_profile(
    "temas", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not os.environ.get(EXPLORE)
)
settings.load_profile("temas")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "servers: needs a real PostgreSQL and Kafka, which the fixtures start")
    config.addinivalue_line("markers", "e2e: needs a whole stack, which the fixtures start")
    for name in [name for name in os.environ if name.startswith("TEMAS_") and name not in KEPT]:
        del os.environ[name]  # the settings of a stack that the person has running are not the tests'


def pytest_xdist_auto_num_workers() -> int:
    """Give one worker more than there are cores, as each mostly waits for its servers; four are enough anywhere."""
    return min(4, (os.cpu_count() or 1) + 1)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, fixtures in MARKED_BY.items():
            if fixtures.intersection(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Servers]:
    """The PostgreSQL and the Kafka that tests share. Nobody stops or breaks these: see `breakable_servers`."""
    async with started_servers() as shared:
        yield shared


@pytest.fixture
async def installation(servers: Servers) -> AsyncIterator[Installation]:
    """A database and topics for this test alone. A module that shares one: `async with servers.installation()`."""
    async with servers.installation() as mine:
        yield mine


@pytest.fixture
async def breakable_servers() -> AsyncIterator[Servers]:
    """A PostgreSQL and a Kafka for this test alone, to stop, kill and pause; they take five seconds to start."""
    async with started_servers() as own:
        yield own


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole stack, as `make up` starts it, on ports and in a folder of its own."""
    with started_stack() as up:
        yield up
