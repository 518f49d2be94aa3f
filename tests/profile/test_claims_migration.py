"""From statements without trust to statements with it: what was stated before counts as a server's."""

from __future__ import annotations

import asyncio
from datetime import UTC

from sqlalchemy import text

from services.profile.domain.graph import Limits
from services.profile.domain.identity import Edge, owned
from services.profile.domain.precedence import Precedence
from services.profile.service.absorbing import Profiles
from services.profile.store import evidence, identities
from shared.db import Database, migrate
from shared.identifiers import Identifier
from tests.builders import after, identified
from tests.profile.versions import SCRIPTS, at_version
from tests.servers import Servers

USER, EMAIL = Identifier("user_id", "u"), Identifier("email", "u@example.com")

BEFORE = (
    "INSERT INTO identifier (kind, value, seen_at, seen_id, profile_id) VALUES ('user_id', 'u', :at, 'm', :id)",
    """
    INSERT INTO identifier (kind, value, owner_kind, owner_value, claimed_at, claimed_id, profile_id)
    VALUES ('email', 'u@example.com', 'user_id', 'u', :at, 'm', :id)
    """,
    "INSERT INTO edge VALUES ('email', 'u@example.com', 'user_id', 'u', 'claim', :at, 'm')",
    "INSERT INTO profile (profile_id, version) VALUES (:id, 1)",
    """
    INSERT INTO timeline VALUES ('user_id', 'u', :at, 'm', 'web', :at, 'identify', NULL, 'web', '{}', '[]', NULL, 0)
    """,
)
"""As the version before writes: it knows no other columns."""


async def test_what_was_stated_before_counts_as_a_servers(servers: Servers) -> None:
    async with at_version(servers, "0011") as settings, Database.open(settings) as database:
        when = Precedence(0, after(0), after(0), "m")
        async with database.begin() as work:
            for statement in BEFORE:
                values = {"at": after(0), "id": "a30c877f-5eca-5ecc-9f41-530cf45bdc2b"}
                await work.execute(text(statement), {name: values[name] for name in values if f":{name}" in statement})
        await asyncio.to_thread(migrate, settings, SCRIPTS)

        async with database.begin() as work:
            found = await identities.find(work, [USER, EMAIL])
            assert found[USER].standing.seen == when
            claim = found[EMAIL].standing.claim
            assert claim is not None
            assert claim.when == when
            assert (await work.execute(text("SELECT trust FROM timeline"))).scalars().all() == ["server"]
            (said,) = await evidence.page(work, "a30c877f-5eca-5ecc-9f41-530cf45bdc2b", evidence.Place(), 10)
            assert said == (Edge("claim", EMAIL, USER), when)

        profiles = Profiles(limits=Limits({}, 5), zone=UTC, clock=lambda: after(60))
        stolen = identified(
            "thief", at=after(-60), received_at=after(60), traits={"email": "u@example.com"}, trust="client"
        )
        assert owned(stolen).owner == Identifier("user_id", "thief")
        async with database.begin() as work:
            await profiles.absorb([stolen], work)
        async with database.begin() as work:
            found = await identities.find(work, [USER, EMAIL])
            assert found[EMAIL].profile_id == found[USER].profile_id
