"""What the OpenAPI document says of every route, held against the service, with a customer and a model in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import requests

from services.scoring.app import build
from services.scoring.settings import Settings
from shared import topics
from shared.clock import system_clock
from shared.events import Identified, encode
from shared.health import Health
from shared.kafka import Kafka
from shared.paging import cursor
from shared.settings import DatabaseSettings, KafkaSettings
from tests.builders import ordered
from tests.contract import keeps_its_word, operations, process, shown, shows_what_is_there, told
from tests.scoring.office import SECRET, make_topics, membership
from tests.secrets import KEY_SIGNING_SECRET
from tests.servers import Servers
from tests.waiting import PATIENCE, until

NOWHERE = DatabaseSettings(url="postgresql://nobody@nowhere/none", db_schema="scoring")
OPERATIONS = operations(
    build(
        Settings(
            secret_key=SECRET,
            key_signing_secret=KEY_SIGNING_SECRET,
            kafka=KafkaSettings(bootstrap="nowhere:1"),
            database=NOWHERE,
        )
    ),
    SECRET,
)
NOW = system_clock()
KNOWN = {"identifier": "user_id:u-17"}
"""What is there, by the names that it has in addresses."""
NEEDS_A_MODEL = ("GET /v1/metrics/rfm", "GET /v1/metrics/value", "GET /v1/metrics/value/top")
"""They are 409 until there is one, which takes more customers than are here."""


@pytest.fixture(scope="module")
async def address(servers: Servers) -> AsyncIterator[str]:
    """Of the service in a process of its own: schemathesis waits for its answers."""
    async with servers.installation() as installation:
        await make_topics(installation)
        order = ordered(40, user="u-17", at=NOW, received_at=NOW)
        who = membership("user_id:u-17")
        known = Identified(id="u-17:1", source="profile", time=NOW, data=who)
        async with Kafka.open(installation.kafka, Health()) as kafka:
            await kafka.log(topics.IDENTITIES).append([(who.profile_id.encode(), encode(known))])
            await kafka.log(topics.TOUCHPOINTS).append([(b"u-17", encode(order))])
        async with (
            process("scoring", told(installation, "scoring", SECRET)) as (address, _),
            httpx.AsyncClient(base_url=address, auth=(SECRET, ""), timeout=PATIENCE) as client,
        ):

            async def scored() -> bool:
                return (await client.get("/v1/scores/user_id:u-17")).status_code == 200

            await until(scored)
            yield address


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("label", OPERATIONS)
def test_a_route_does_what_its_documentation_says(label: str, address: str, session: requests.Session) -> None:
    keeps_its_word(OPERATIONS[label], address, session, examples=15, known=KNOWN)


@pytest.mark.parametrize("label", [each for each in shown(OPERATIONS, KNOWN) if each not in NEEDS_A_MODEL])
def test_a_route_shows_what_is_there(label: str, address: str, session: requests.Session) -> None:
    shows_what_is_there(OPERATIONS[label], address, session, SECRET, KNOWN)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/scores/user_id:%00", 404),
        ("/v1/scores/user_id:u-17?model=%00", 422),
        ("/v1/models/%00", 422),
        (f"/v1/models?cursor={cursor(chr(0))}", 400),
    ],
)
def test_text_that_no_database_takes_is_refused(
    path: str, status: int, address: str, session: requests.Session
) -> None:
    assert session.get(address + path, auth=(SECRET, "")).status_code == status
