"""The OpenAPI document of every route, held against the service, with an offer and a decision in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import requests

from services.personalize.app import build
from services.personalize.settings import Settings
from shared.paging import cursor
from shared.settings import DatabaseSettings, KafkaSettings
from tests.contract import keeps_its_word, operations, process, shown, shows_what_is_there, told
from tests.personalize.desk import SECRET, TOKENS, make_topics
from tests.secrets import KEY_SIGNING_SECRET
from tests.servers import Servers
from tests.waiting import PATIENCE, until

OPERATIONS = operations(
    build(
        Settings(
            secret_key=SECRET,
            key_signing_secret=KEY_SIGNING_SECRET,
            user_token_secret=TOKENS,
            kafka=KafkaSettings(bootstrap="nowhere:1"),
            database=DatabaseSettings(url="postgresql://nobody@nowhere/none", db_schema="personalize"),
        )
    ),
    SECRET,
)
FOR_PEOPLE = "GET /v1/decide"
LETTER = "GET /v1/dead-letters/{id}"
"""There is none: what it shows of one, tests/scoring/test_dead_letters.py holds for all services."""
OFFER = {"name": "Tea", "kind": "content", "placements": ["home"], "value": 10.0}
QUESTION = {"profile": "anonymous_id:a-1", "placement": "home"}


@pytest.fixture(scope="module")
async def running(servers: Servers) -> AsyncIterator[tuple[str, str]]:
    """Its address, in a process of its own, as schemathesis waits for its answers; and the id of a decision."""
    async with servers.installation() as installation:
        await make_topics(installation)
        environment = told(installation, "personalize", SECRET, TEMAS_USER_TOKEN_SECRET=TOKENS)
        async with (
            process("personalize", environment) as (address, _),
            httpx.AsyncClient(base_url=address, auth=(SECRET, ""), timeout=PATIENCE) as client,
        ):
            assert (await client.put("/v1/offers/tea", json=OFFER)).status_code == 200
            decision = (await client.post("/v1/decide", json=QUESTION)).json()["decision_id"]

            async def recorded() -> bool:
                return (await client.get(f"/v1/decisions/{decision}")).status_code == 200

            await until(recorded)
            yield address, decision


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def known(label: str, decision: str) -> dict[str, str]:
    """Give what is there, by the name that it has in the address."""
    return {"id": decision if "/decisions/" in label else "tea"}


@pytest.mark.parametrize("label", [each for each in shown(OPERATIONS, {"id": ""}) if each not in (FOR_PEOPLE, LETTER)])
def test_a_route_shows_what_is_there(label: str, running: tuple[str, str], session: requests.Session) -> None:
    address, decision = running
    shows_what_is_there(OPERATIONS[label], address, session, SECRET, known(label, decision))


@pytest.mark.parametrize("label", OPERATIONS)
def test_a_route_does_what_its_documentation_says(
    label: str, running: tuple[str, str], session: requests.Session
) -> None:
    (address, decision), opened = running, label != FOR_PEOPLE
    keeps_its_word(OPERATIONS[label], address, session, examples=15, opened=opened, known=known(label, decision))


def test_text_that_no_database_takes_is_refused(running: tuple[str, str], session: requests.Session) -> None:
    address, _ = running
    answer = session.get(f"{address}/v1/offers?cursor={cursor(chr(0))}", auth=(SECRET, ""))
    assert answer.status_code == 400
    nobody = session.post(f"{address}/v1/decide", json={**QUESTION, "profile": "user_id:\0"}, auth=(SECRET, ""))
    assert nobody.status_code in (200, 400, 422)
