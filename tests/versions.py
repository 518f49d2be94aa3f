"""Databases of a service as an earlier version left them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alembic import command
from alembic.config import Config

from deploy.local.roles import grant
from deploy.local.settings import ROOT
from shared.settings import DatabaseSettings
from tests.servers import PASSWORD, Servers


@asynccontextmanager
async def at_version(servers: Servers, service: str, revision: str) -> AsyncIterator[DatabaseSettings]:
    """A database of its own that has the migrations of `service` up to `revision`; it is gone after the block."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await grant(servers.local.url, name, {service: PASSWORD})
    address = servers.local.url.rpartition("@")[2].partition("/")[0]
    settings = DatabaseSettings(url=f"postgresql://{service}:{PASSWORD}@{address}/{name}", db_schema=service)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "services" / service / "migrations"))
    config.attributes["settings"] = settings
    try:
        await asyncio.to_thread(command.upgrade, config, revision)
        yield settings
    finally:
        await servers._run(f"DROP DATABASE {name} WITH (FORCE)")
