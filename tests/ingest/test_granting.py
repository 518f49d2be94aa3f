"""Public keys in the hands of people who mean harm, before the service itself; and grants as an operator gives them."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from deploy.local.settings import ROOT
from services.ingest.domain.grants import GRANTS, USUAL
from services.ingest.store import sources
from shared import db, topics
from shared.db import Database
from shared.events import Touchpoint
from tests.builders import Json, alias, batch, call, identify, order, page, track
from tests.ingest.desk import ask, becomes, everything, make_key, make_source, send, told
from tests.ingest.door import SECRET_KEY, Door, read
from tests.ingest.rejects import replay
from tests.servers import Servers
from tests.versions import at_version
from tests.waiting import until

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
SCRIPTS: Path = ROOT / "services" / "ingest" / "migrations"


@pytest.fixture
def name() -> str:
    """A source's name that no other test has."""
    return f"g-{uuid.uuid4().hex[:12]}"


async def public_key(door: Door, name: str, **standing: Any) -> str:
    """The key of a source `name`, once it holds; it may do nothing but send."""
    await make_source(door, name, **standing)
    key: str = (await make_key(door, name))["key"]
    await becomes(door, key, 200)
    return key


async def posted(door: Door, key: str, *calls: Json) -> httpx.Response:
    return await ask(door, "POST", "batch", batch(*calls), key=key)


async def stands(door: Door, name: str) -> list[Touchpoint]:
    """Give what the log has of a source, but for the pages that showed that its key holds."""
    found = await read(door.kafka, topics.TOUCHPOINTS, Touchpoint)
    return [each for each in found if each.source == name and each.data.user_id != "u-desk"]


async def waits(door: Door, name: str, count: int) -> list[Json]:
    """The rejected events of a source, once there are so many."""

    async def look() -> list[Json] | None:
        items = await everything(door, "rejected", "rejected", limit=500, source=name)
        return items if len(items) >= count else None

    items = await until(look)
    assert len(items) == count
    return items


# --- the attacks -----------------------------------------------------------------------------------------------------


async def test_a_public_key_joins_no_users(door: Door, name: str) -> None:
    key = await public_key(door, name)
    chain = [alias(f"{name}-{number}", f"{name}-{number + 1}") for number in range(400)]
    assert (await posted(door, key, *chain)).status_code == 400
    rejected = await waits(door, name, 400)
    assert {(each["code"], each["path"]) for each in rejected} == {("not_granted", "$.previousId")}
    assert await stands(door, name) == []


async def test_a_public_key_names_nobody_by_ids_of_other_systems(door: Door, name: str) -> None:
    key = await public_key(door, name)
    crm = {"externalIds": [{"type": "crm_id", "id": "victim"}]}
    backdated = identify("attacker", context=crm, timestamp=LONG_AGO)
    visitor = page(anonymous="attacker", context=crm, timestamp=LONG_AGO)
    answer = await posted(door, key, backdated, visitor)
    assert answer.status_code == 400
    assert {each["path"] for each in answer.json()["details"]} == {
        "$.batch[0].context.externalIds", "$.batch[1].context.externalIds",
    }  # fmt: skip
    by_batch = await ask(door, "POST", "batch", batch(page(anonymous="attacker"), context=crm), key=key)
    assert by_batch.status_code == 400
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "page", "anonymousid": "attacker"}
    by_subject = await door.client.post(
        "/events",
        json={**event, "subject": "email:victim@example.com"},
        auth=(key, ""),
        headers={"content-type": "application/cloudevents+json"},
    )
    assert by_subject.status_code == 400
    assert await stands(door, name) == []


async def test_a_public_key_gives_no_points(door: Door, name: str) -> None:
    key = await public_key(door, name)
    assert (await posted(door, key, track("Points Earned", {"points": 10**6}, user="attacker"))).status_code == 400
    assert await stands(door, name) == []


async def test_what_a_public_key_says_of_somebody_says_that_a_client_said_it(door: Door, name: str) -> None:
    key = await public_key(door, name)
    taken_over = identify("attacker", {"email": "victim@example.com"}, anonymous="victims", timestamp=LONG_AGO)
    assert (await posted(door, key, taken_over, identify("victim", {"plan": "none"}))).status_code == 200
    assert [each.data.trust for each in await stands(door, name)] == ["client", "client"]


@pytest.mark.parametrize(
    "said",
    [
        identify("attacker", {"email": "victim@example.com"}, timestamp=LONG_AGO),
        identify("attacker", anonymous="victims", timestamp=LONG_AGO),
        identify("victim", {"plan": "none"}),
        page(anonymous="attacker", context={"traits": {"email": "victim@example.com"}}),
        call("group", anonymous="attacker", groupId="acme", traits={"name": "Another name"}),
        track("Product Viewed", user="victim"),
    ],
)
async def test_a_source_that_may_not_identify_takes_nobody_over(door: Door, name: str, said: Json) -> None:
    await make_source(door, name, may=["orders", "feedback"])
    key = (await make_key(door, name))["key"]
    await becomes(door, key, 400)  # what asks whether the key holds is a user's
    answer = await posted(door, key, said, page(anonymous="a"))
    assert (answer.status_code, answer.headers["temas-rejected"]) == (200, "1")
    assert [each.data.name for each in await stands(door, name)] == ["Home"]


async def test_what_shops_pages_send_is_taken(door: Door, name: str) -> None:
    key = await public_key(door, name)
    usual = [
        page(anonymous="a"),
        identify("u", {"email": "u@example.com"}, anonymous="a"),
        alias("a", "u", anonymous="a"),
        order(40, id="o-1", user="u"),
        track("Consent Changed", {"purpose": "news", "granted": True}, user="u"),
        track("Offer Clicked", {"offer_id": "o"}, user="u"),
    ]
    answer = await posted(door, key, *usual)
    assert (answer.status_code, "temas-rejected" in answer.headers) == (200, False)
    assert len(await stands(door, name)) == len(usual)


# --- giving and taking -----------------------------------------------------------------------------------------------


async def test_a_grant_is_given_and_what_waited_for_it_is_replayed(door: Door, name: str) -> None:
    key = await public_key(door, name)
    assert (await posted(door, key, alias("u-old", "u-new"))).status_code == 400
    await waits(door, name, 1)
    assert (await replay(door, {"source": name}, None))["rejected"] == 1

    given = await make_source(door, name, may=["alias", "identify"])
    assert given["may"] == ["alias", "identify"]

    async def replayed() -> bool:
        return bool((await replay(door, {"source": name}, None))["accepted"])

    await until(replayed)
    assert [(each.data.previous_id, each.data.trust) for each in await stands(door, name)] == [("u-old", "client")]


async def test_a_grant_that_is_taken_away_is_missed_within_moments(door: Door, name: str) -> None:
    key = await public_key(door, name)
    await make_source(door, name, may=[])

    async def missed() -> bool:
        answer = await send(door, key)
        return answer.status_code == 400 and answer.json()["details"][0]["code"] == "not_granted"

    await until(missed)


async def test_a_server_may_state_all(door: Door, name: str) -> None:
    made = await make_source(door, name, trust="server")
    assert (made["trust"], made["may"]) == ("server", sorted(GRANTS))
    key = (await make_key(door, name))["key"]
    await becomes(door, key, 200)
    crm = {"externalIds": [{"type": "crm_id", "id": "7"}]}
    said = [alias("u-old", "u-new"), track("Points Earned", user="u-new"), identify("u-new", context=crm)]
    assert (await posted(door, key, *said)).status_code == 200
    assert [each.data.trust for each in await stands(door, name)] == ["server"] * 3


async def test_the_settings_secret_key_is_a_servers_and_their_write_key_a_clients(door: Door, somebody: str) -> None:
    shown = {each: await told(door, "GET", f"sources/{each}") for each in ("web", "server")}
    assert {each: (found["trust"], found["may"]) for each, found in shown.items()} == {
        "web": ("client", sorted(USUAL["client"])), "server": ("server", sorted(GRANTS)),
    }  # fmt: skip
    assert (await door.post("/v1/alias", alias("u-old", somebody))).status_code == 400
    assert (await ask(door, "POST", "alias", alias("u-old", somebody), key=SECRET_KEY)).status_code == 200


async def test_whoever_says_nothing_of_trust_changes_nothing_of_it(door: Door, name: str) -> None:
    made = await make_source(door, name, trust="server", may=["orders"])
    again = await make_source(door, name, quota=10)
    assert (again["trust"], again["may"], again["quota"]) == (made["trust"], ["orders"], 10)


async def test_the_audit_shows_what_a_source_could_state_before_and_after(door: Door, name: str) -> None:
    await make_source(door, name)
    await make_source(door, name, trust="server")
    changed, _ = await everything(door, "audit", "changes", object=f"sources/{name}")
    assert (changed["before"]["trust"], changed["before"]["may"]) == ("client", sorted(USUAL["client"]))
    assert (changed["after"]["trust"], changed["after"]["may"]) == ("server", sorted(GRANTS))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"trust": "everybody"}, "body.trust"),
        ({"may": ["identify", "everything"]}, "body.may"),
        ({"identity_proof": "maybe"}, "body.identity_proof"),
    ],
)
async def test_a_standing_that_there_is_not_is_refused_by_field(door: Door, name: str, body: Json, field: str) -> None:
    answer = await ask(door, "PUT", f"sources/{name}", body)
    assert answer.status_code == 422
    assert answer.json()["details"][0]["path"].startswith(field)


async def test_not_granted_is_counted_by_source(door: Door, name: str) -> None:
    key = await public_key(door, name)
    await posted(door, key, alias("u-old", "u-new"))
    counted = (await door.client.get("/metrics", auth=(SECRET_KEY, ""))).text
    assert f'temas_ingest_rejected_total{{reason="not_granted",source="{name}"}} 1.0' in counted


# --- databases of before ---------------------------------------------------------------------------------------------


async def test_sources_of_before_keep_working_and_those_with_public_keys_are_clients(servers: Servers) -> None:
    keys = {
        "web": [["write"], ["admin"]],  # its write key stands in pages, whatever else there is
        "page": [["write"]],
        "backend": [["write"], ["write", "read"]],
        "ended": [["admin"]],
        "files": [],
    }
    async with at_version(servers, "ingest", "0002") as settings:
        async with Database.open(settings) as database, database.begin() as work:
            await work.execute(
                text("""
                    INSERT INTO source (name, usual, origins, unplanned, made_at)
                    SELECT name, 'unknown', '{}', 'allow', now() FROM unnest(CAST(:names AS text[])) AS name
                    ON CONFLICT DO NOTHING
                """),
                {"names": list(keys)},
            )
            for name, scopes in ((name, each) for name, made in keys.items() for each in made):
                id = uuid.uuid4().hex
                ends_at = LONG_AGO if name == "ended" else None
                await work.execute(
                    text("""
                        INSERT INTO source_key (id, source, digest, hint, scopes, made_at, ends_at)
                        VALUES (:id, :source, :digest, 'sk_', CAST(:scopes AS text[]), now(), :ends_at)
                    """),
                    {"id": id, "source": name, "digest": id.encode(), "scopes": scopes, "ends_at": ends_at},
                )

        await asyncio.to_thread(db.migrate, settings, SCRIPTS)

        async with Database.open(settings) as database, database.begin() as work:
            trust = {each.name: each.trust for each in await sources.sources(work)}
            may = {each.name: each.may for each in await sources.sources(work)}
    assert trust == {
        "server": "server", "backend": "server", "ended": "server",
        "web": "client", "page": "client", "files": "client",
    }  # fmt: skip
    assert may == {name: USUAL[trust[name]] for name in trust}
