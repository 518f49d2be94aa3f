"""Whom each route lets in."""

from __future__ import annotations

import pytest

from services.profile.app import build
from services.profile.settings import Settings
from shared.scopes import Scope
from shared.settings import DatabaseSettings, KafkaSettings
from tests.builders import identified
from tests.contract import Asked, guarded
from tests.profile.service import SECRET, Service
from tests.roles import SHOW_DEAD_LETTERS, Keys, lets_in_who_may, tell_keys
from tests.secrets import KEY_SIGNING_SECRET

NOWHERE = DatabaseSettings(url="postgresql://nobody@nowhere/none", db_schema="profile")
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
    ("POST", "/v1/segments/preview"): "read:people",
    **SHOW_DEAD_LETTERS,
    **{
        ("GET", f"/v1/{path}"): "read:people"
        for path in (
            "profiles/{person:path}", "profiles/{person:path}/timeline", "profiles/{person:path}/identity",
            "profiles/{person:path}/computed", "profiles/{person:path}/traits",
            "profiles/{person:path}/traits/{name:path}", "segments/{segment_id}/profiles",
            "groups/{group_id:path}/profiles", "identities/rulings", "identities/proposals",
            "identities/proposals/{proposal_id}", "audit",
        )
    },
}  # fmt: skip
"""What needs another scope than `read` to look and `admin` to change."""


@pytest.fixture(scope="module")
async def keys(service: Service) -> Keys:
    return await tell_keys(service.kafka, service.app, service.hands.now)


def test_there_are_routes_to_be_guarded() -> None:
    assert len(ROUTES) >= 10


@pytest.mark.parametrize("asked", ROUTES, ids=" ".join)
async def test_each_route_lets_in_who_may(service: Service, keys: Keys, asked: Asked) -> None:
    await lets_in_who_may(service.client, asked, keys, SPECIAL)


def test_every_route_that_shows_people_is_there() -> None:
    """A path that was moved would no longer be looked at."""
    assert SPECIAL.keys() <= set(ROUTES)


async def test_what_is_ruled_is_written_down_with_the_key_that_ruled_it(service: Service, keys: Keys) -> None:
    await service.shows("user_id:rl-u", identified("rl-u"))
    await service.shows("user_id:rl-v", identified("rl-v"))
    admin = {"authorization": f"Bearer {keys.by_scope['admin']}"}
    merge = {"identifier": "user_id:rl-u", "into": "user_id:rl-v", "why": "a test"}
    merged = await service.client.post("/v1/identities/merge", json=merge, headers=admin)
    unmerge = {"identifier": "user_id:rl-u", "from": "user_id:rl-v", "why": "taken back"}
    unmerged = await service.send("POST", "/v1/identities/unmerge", json=unmerge)
    assert merged.json()["ruling"]["who"] == f"shop:{keys.by_scope['admin'][3:11]}"
    assert unmerged.json()["ruling"]["who"] == "settings:secret"
