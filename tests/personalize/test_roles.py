"""Whom each route lets in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.personalize.app import build
from services.personalize.settings import Settings
from shared.clock import system_clock
from shared.scopes import Scope
from shared.settings import DatabaseSettings, KafkaSettings
from tests.contract import Asked, guarded
from tests.personalize.desk import SECRET, TOKENS, Desk, make_topics, open_desk, settings
from tests.roles import SHOW_DEAD_LETTERS, Keys, lets_in_who_may, looks_at_the_key_first, tell_keys
from tests.secrets import KEY_SIGNING_SECRET
from tests.servers import Servers

app = build(
    Settings(
        secret_key=SECRET,
        key_signing_secret=KEY_SIGNING_SECRET,
        user_token_secret=TOKENS,
        kafka=KafkaSettings(bootstrap="nowhere:1"),
        database=DatabaseSettings(url="postgresql://nobody@nowhere/none", db_schema="personalize"),
    )
)
FOR_PEOPLE = ("GET", "/v1/decide")
"""It takes a user token, and no key."""
ROUTES = guarded(app, {FOR_PEOPLE})

SPECIAL: dict[Asked, Scope] = {
    ("POST", "/v1/decide"): "decide",
    ("GET", "/v1/decisions/{id}"): "read:people",
    **SHOW_DEAD_LETTERS,
}
"""What needs another scope than `read` to look and `admin` to change."""


@pytest.fixture(scope="module")
async def desk(servers: Servers) -> AsyncIterator[Desk]:
    async with servers.installation() as installation:
        await make_topics(installation)
        async with open_desk(settings(installation)) as desk:
            yield desk


@pytest.fixture(scope="module")
async def keys(desk: Desk) -> Keys:
    return await tell_keys(desk.kafka, desk.app, system_clock())


def test_there_are_routes_to_be_guarded() -> None:
    assert len(ROUTES) >= 7


@pytest.mark.parametrize("asked", ROUTES, ids=" ".join)
async def test_each_route_lets_in_who_may(desk: Desk, keys: Keys, asked: Asked) -> None:
    await lets_in_who_may(desk.client, asked, keys, SPECIAL)


async def test_a_user_token_is_looked_at_before_anything_else(desk: Desk, keys: Keys) -> None:
    for refused in (None, SECRET, "a.b.c", keys.by_scope["admin"]):
        await looks_at_the_key_first(desk.client, FOR_PEOPLE, {refused: 401})


async def test_a_route_for_people_asks_for_a_token_and_not_for_a_password(desk: Desk) -> None:
    answer = await desk.client.get("/v1/decide")
    assert answer.headers["www-authenticate"] == 'Bearer realm="temas"'


async def test_no_key_takes_the_place_of_a_user_token(desk: Desk, keys: Keys) -> None:
    method, path = FOR_PEOPLE
    for key in (None, SECRET, keys.revoked, *keys.by_scope.values()):
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        answer = await desk.client.request(method, path, params={"placement": "home"}, headers=headers)
        assert answer.status_code == 401
