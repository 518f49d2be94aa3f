"""Keys from before looking at people was a scope of its own: nobody who reads people today is shut out by an update."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from deploy.local.settings import ROOT
from services.ingest.domain.sources import EVERYTHING
from services.ingest.store import sources, telling
from shared.clock import system_clock
from shared.db import Database, migrate
from shared.scopes import digest
from tests.servers import Servers
from tests.versions import at_version

BEFORE = "0002"
SOURCE = text("""
    INSERT INTO source (name, usual, origins, unplanned, made_at) VALUES ('s', 'web', '{}', 'allow', now())
""")
KEYS = {"reader": ["read"], "both": ["read", "write"], "writer": ["write"], "keeper": ["admin"]}


async def test_a_key_that_could_read_reads_people_after_the_update_and_is_told_anew(servers: Servers) -> None:
    async with at_version(servers, "ingest", BEFORE) as settings:
        async with Database.open(settings) as database, database.begin() as work:
            await work.execute(SOURCE)
            for id, scopes in KEYS.items():
                row = {"id": id, "digest": digest(id), "scopes": scopes}
                await work.execute(
                    text(
                        "INSERT INTO source_key (id, source, digest, hint, scopes, made_at, told_end)"
                        " VALUES (:id, 's', :digest, 'sk_', :scopes, now(), 'infinity')"
                    ),
                    row,
                )
        await asyncio.to_thread(migrate, settings, ROOT / "services" / "ingest" / "migrations")
        async with Database.open(settings) as database, database.begin() as work:
            known = {source.name: source for source in await sources.sources(work)}
            held = {key.id: key for key in (await sources.keys(work, known, system_clock())).values()}
            assert {id: sorted(key.scopes) for id, key in held.items()} == {
                "reader": ["read", "read:people"],
                "both": ["read", "read:people", "write"],
                "writer": ["write"],
                "keeper": ["admin"],
            }
            assert {key.narrowing for key in held.values()} == {EVERYTHING}
            assert {key.id for key in await telling.untold(work, 10)} == {"reader", "both"}
