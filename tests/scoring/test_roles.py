"""Whom each route lets in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.scoring.app import build
from services.scoring.settings import Settings
from shared.clock import system_clock
from shared.scopes import Scope
from shared.settings import DatabaseSettings, KafkaSettings
from tests.contract import Asked, guarded
from tests.roles import SHOW_DEAD_LETTERS, Keys, lets_in_who_may, tell_keys
from tests.scoring.office import SECRET, Office, make_topics, open_office, settings
from tests.secrets import KEY_SIGNING_SECRET
from tests.servers import Servers

NOWHERE = DatabaseSettings(url="postgresql://nobody@nowhere/none", db_schema="scoring")
app = build(
    Settings(
        secret_key=SECRET,
        key_signing_secret=KEY_SIGNING_SECRET,
        kafka=KafkaSettings(bootstrap="nowhere:1"),
        database=NOWHERE,
    )
)
ROUTES = guarded(app)

SPECIAL: dict[Asked, Scope] = {
    ("GET", "/v1/scores/{identifier:path}"): "read:people",
    ("GET", "/v1/metrics/value/top"): "read:people",
    **SHOW_DEAD_LETTERS,
}
"""What needs another scope than `read` to look and `admin` to change."""


@pytest.fixture(scope="module")
async def office(servers: Servers) -> AsyncIterator[Office]:
    async with servers.installation() as installation:
        await make_topics(installation)
        async with open_office(settings(installation)) as office:
            yield office


@pytest.fixture(scope="module")
async def keys(office: Office) -> Keys:
    return await tell_keys(office.kafka, office.app, system_clock())


def test_there_are_routes_to_be_guarded() -> None:
    assert len(ROUTES) >= 8


@pytest.mark.parametrize("asked", ROUTES, ids=" ".join)
async def test_each_route_lets_in_who_may(office: Office, keys: Keys, asked: Asked) -> None:
    await lets_in_who_may(office.client, asked, keys, SPECIAL)
