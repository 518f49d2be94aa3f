"""What the OpenAPI document says of every route, held against the service, with an offer and a decision in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from services.personalize.app import build
from services.personalize.settings import Settings
from shared.settings import DatabaseSettings, KafkaSettings
from tests.contract import operations, process, told
from tests.personalize.desk import SECRET, TOKENS, make_topics
from tests.servers import Servers
from tests.waiting import until

OPERATIONS = operations(
    build(
        Settings(
            secret_key=SECRET,
            user_token_secret=TOKENS,
            kafka=KafkaSettings(bootstrap="nowhere:1"),
            database=DatabaseSettings(url="postgresql://nobody@nowhere/none", db_schema="personalize"),
        )
    ),
    SECRET,
)
FOR_PEOPLE = "GET /v1/decide"
OFFER = {"name": "Tea", "kind": "content", "placements": ["home"], "value": 10.0}
QUESTION = {"profile": "anonymous_id:a-1", "placement": "home"}


@pytest.fixture(scope="module")
async def address(servers: Servers, known: dict[str, str]) -> AsyncIterator[str]:
    """Of the service in a process of its own: schemathesis waits for its answers."""
    async with servers.installation() as installation:
        await make_topics(installation)
        environment = told(installation, "personalize", SECRET, TEMAS_USER_TOKEN_SECRET=TOKENS)
        async with (
            process("personalize", environment) as (address, _),
            httpx.AsyncClient(base_url=address, auth=(SECRET, "")) as client,
        ):
            assert (await client.put("/v1/offers/tea", json=OFFER)).status_code == 200
            decided = await client.post("/v1/decide", json=QUESTION)
            known.update(id=decided.json()["decision_id"])

            async def recorded() -> bool:
                return (await client.get(f"/v1/decisions/{known['id']}")).status_code == 200

            await until(recorded)
            yield address
