"""Databases of profile as an earlier version left them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.local.settings import ROOT
from shared.settings import DatabaseSettings
from tests import versions
from tests.servers import Servers

SCRIPTS = ROOT / "services" / "profile" / "migrations"


@asynccontextmanager
async def at_version(servers: Servers, revision: str) -> AsyncIterator[DatabaseSettings]:
    """A database of its own that has the migrations up to `revision`; it is gone after the block."""
    async with versions.at_version(servers, "profile", revision) as settings:
        yield settings
