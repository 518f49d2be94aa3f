"""What the OpenAPI document says of every route, held against the service, with real people in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

import httpx
import pytest
import requests

from services.profile.app import build
from services.profile.settings import Settings
from shared import topics
from shared.clock import system_clock
from shared.events import encode
from shared.health import Health
from shared.kafka import Kafka
from shared.settings import DatabaseSettings, KafkaSettings
from tests.builders import identified, joined, ordered, viewed
from tests.contract import keeps_its_word, operations, process, shown, shows_what_is_there, told
from tests.profile.service import SECRET
from tests.secrets import KEY_SIGNING_SECRET
from tests.servers import Installation
from tests.waiting import PATIENCE, until

NOWHERE = DatabaseSettings(url="postgresql://nobody@nowhere/none", db_schema="profile")
app = build(
    Settings(
        secret_key=SECRET,
        key_signing_secret=KEY_SIGNING_SECRET,
        kafka=KafkaSettings(bootstrap="nowhere:1"),
        database=NOWHERE,
    )
)
OPERATIONS = operations(app, SECRET)

KNOWN = {
    "person": "user_id:u-17",
    "segment_id": "buyers",
    "trait_id": "spent",
    "group_id": "acme",
    "name": "plan",
    "persona_id": "big-spenders",
}
"""What is there, by the names that it has in addresses."""

SPARED = KNOWN | {"segment_id": "customers", "trait_id": "orders"}
"""What nobody deletes: for those are all routes tried."""


def ago(minutes: int) -> datetime:
    """The service has the clock on the wall, by which what is as old as the lives in other tests is put aside."""
    return system_clock() - timedelta(minutes=minutes)


PEOPLE = (
    identified("u-17", "a-3", at=ago(9), traits={"email": "ayse@example.com", "plan": "pro", "nested": {"a": [1]}}),
    viewed(anonymous="a-3", at=ago(8)),
    ordered(40, order="o-1", user="u-17", at=ago(7)),
    identified("u-18", "a-3", at=ago(6)),
    joined("acme", user="u-17", at=ago(5), properties={"seats": 10}),
)
BUYERS = {"name": "Buyers", "rule": "computed.order_count >= 1"}
SPENT = {"name": "Spent", "event": "Order Completed", "aggregate": "sum", "property": "total"}
RULED = {"identifier": "anonymous_id:a-3", "from": "user_id:u-17", "why": "a tablet in the shop"}

# `person` may hold slashes, so that what would be another path is a person; and of those, whoever can be nobody's name
# is 404.
TAKES_EVERYTHING = ("allow_header_conformance",)


@pytest.fixture(scope="module")
async def address(installed: Installation) -> AsyncIterator[str]:
    """Of the service in a process of its own: schemathesis waits for its answers."""
    async with Kafka.open(installed.kafka, Health()) as kafka:
        await kafka.log(topics.TOUCHPOINTS).append([(each.owner.value.encode(), encode(each)) for each in PEOPLE])
    async with (
        process("profile", told(installed, "profile", SECRET, TEMAS_PROFILE_PATIENCE="0.2")) as (address, _),
        httpx.AsyncClient(base_url=address, auth=(SECRET, ""), timeout=PATIENCE) as client,
    ):
        for segment in (KNOWN["segment_id"], SPARED["segment_id"]):
            assert (await client.put(f"/v1/segments/{segment}", json=BUYERS)).status_code == 200
        for trait in (KNOWN["trait_id"], SPARED["trait_id"]):
            assert (await client.put(f"/v1/computed/{trait}", json=SPENT)).status_code == 200

        async def in_the_segment() -> bool:
            view = (await client.get("/v1/profiles/user_id:u-17")).json()
            return len(view["segments"]) == len(view["groups"]) + 1 == 2 and "spent" in view["computed"]

        await until(in_the_segment)
        assert (await client.post("/v1/identities/unmerge", json=RULED)).status_code == 200
        yield address


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("label", OPERATIONS)
def test_a_route_does_what_its_documentation_says(label: str, address: str, session: requests.Session) -> None:
    keeps_its_word(OPERATIONS[label], address, session, examples=20, known=KNOWN, without=TAKES_EVERYTHING)


@pytest.mark.parametrize("label", shown(OPERATIONS, SPARED))
def test_a_route_shows_what_is_there(label: str, address: str, session: requests.Session) -> None:
    shows_what_is_there(OPERATIONS[label], address, session, SECRET, SPARED)
