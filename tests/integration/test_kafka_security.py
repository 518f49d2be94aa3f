"""On a Kafka that asks who one is, each service does its work with the rights that it needs, and with no others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from fastapi import FastAPI

from deploy.kafka.acls import READS, grants, user
from deploy.local.settings import ROOT, SERVICES
from services.ingest import app as ingest
from services.ingest.settings import Settings as IngestSettings
from services.personalize import app as personalize
from services.personalize.settings import Settings as PersonalizeSettings
from services.profile import app as profile
from services.profile.settings import Settings as ProfileSettings
from services.scoring import app as scoring
from services.scoring.settings import Settings as ScoringSettings
from shared import topics
from shared.kafka import admin, answers, connection
from shared.settings import KafkaSettings
from tests.builders import batch, identify, track
from tests.integration.secure_kafka import SecureKafka, secure_kafka
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY, USER_TOKEN_SECRET, WRITE_KEY, secret
from tests.servers import Installation, Servers
from tests.waiting import until

KEY = {"authorization": f"Bearer {SECRET_KEY}"}


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_of_rights_has_what_each_service_requires_at_its_start_and_nothing_else() -> None:
    for service, app in {"ingest": ingest, "profile": profile, "scoring": scoring, "personalize": personalize}.items():
        needed = names(app.NEEDED) - names(topics.given_by(service))
        assert names(READS[service]) == needed
    assert READS.keys() == set(SERVICES)


def test_only_ingest_writes_keys_and_every_topic_has_one_writer() -> None:
    writers: dict[str, list[str]] = {}
    for grant in grants():
        if "Write" in grant.operations:
            for topic in grant.topics:
                writers.setdefault(topic, []).append(grant.user)
    assert writers == {topic.name: [user(topic.giver)] for topic in topics.TOPICS}
    assert writers["keys"] == ["temas-ingest"]


def test_the_commands_for_kafkas_own_tool_are_printed() -> None:
    argv = [sys.executable, "-m", "deploy.kafka", "acls", "--servers", "k1:9093", "--prefix", "eu."]
    lines = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    told = "kafka-acls.sh --bootstrap-server k1:9093 --command-config admin.properties --add --allow-principal"
    reads = "--operation Read --topic eu.touchpoints --topic eu.scores --topic eu.keys --group eu.profile"
    assert f"{told} User:temas-profile {reads}" in lines
    assert len(lines) == len(list(grants()))


# --- at work ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Services:
    """All four, each with its own user."""

    kafka: SecureKafka
    clients: dict[str, httpx.AsyncClient]
    apps: dict[str, FastAPI]

    async def get(self, service: str, path: str, **headers: str) -> httpx.Response:
        return await self.clients[service].get(path, headers=KEY | headers)


def applications(kafka: SecureKafka, installation: Installation) -> dict[str, FastAPI]:
    def told(service: str, **rest: Any) -> dict[str, Any]:
        secrets = {"secret_key": SECRET_KEY, "key_signing_secret": KEY_SIGNING_SECRET}
        return {"kafka": kafka.of(service), "database": installation.database(service), "drain": 3.0, **secrets, **rest}

    return {
        "ingest": ingest.build(IngestSettings(**told("ingest", write_key=WRITE_KEY))),
        "profile": profile.build(ProfileSettings(**told("profile"))),
        "scoring": scoring.build(ScoringSettings(**told("scoring"))),
        "personalize": personalize.build(
            PersonalizeSettings(**told("personalize", user_token_secret=USER_TOKEN_SECRET, holdout=0.0))
        ),
    }


@pytest.fixture(scope="module")
async def kafka() -> AsyncIterator[SecureKafka]:
    """With its topics, each created by the service that gives it, as `migrate` does."""
    async with secure_kafka() as kafka:
        for service in SERVICES:
            async with admin(kafka.of(service)) as client:
                await topics.create(client, topics.given_by(service), prefix=kafka.prefix, replication=1)
        yield kafka


@pytest.fixture(scope="module")
async def services(servers: Servers, kafka: SecureKafka) -> AsyncIterator[Services]:
    async with servers.installation() as installation, AsyncExitStack() as open_ones:
        apps = applications(kafka, installation)
        clients = {}
        for service, app in apps.items():
            await open_ones.enter_async_context(app.router.lifespan_context(app))
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{service}")
            clients[service] = await open_ones.enter_async_context(client)
        yield Services(kafka, clients, apps)


async def test_an_event_goes_the_whole_way_with_each_services_own_user(services: Services) -> None:
    call = batch(
        identify("ayse", traits={"plan": "pro"}),
        track("Order Completed", user="ayse", properties={"order_id": "o-1", "total": 40}),
    )

    async def taken() -> bool:
        return (await services.clients["ingest"].post("/v1/batch", json=call, auth=(WRITE_KEY, ""))).status_code == 200

    await until(taken)
    offer = {"name": "x", "kind": "discount", "placements": ["p"], "channels": ["web"], "content": {}}
    await services.clients["personalize"].put("/v1/offers/x", json=offer, headers=KEY)

    async def shows(service: str, path: str) -> bool:
        return (await services.get(service, path)).status_code == 200

    await until(lambda: shows("profile", "/v1/profiles/user_id:ayse"))
    await until(lambda: shows("scoring", "/v1/scores/user_id:ayse"))

    async def scored() -> bool:
        view = (await services.get("profile", "/v1/profiles/user_id:ayse")).json()
        return view.get("scores") is not None

    await until(scored)  # scoring gave it, profile read it
    question = {"profile": "user_id:ayse", "placement": "p", "channel": "web"}

    async def known() -> bool:
        answer = await services.clients["personalize"].post("/v1/decide", json=question, headers=KEY)
        record = await services.get("personalize", f"/v1/decisions/{answer.json()['decision_id']}")
        return record.status_code == 200 and bool(record.json().get("profile_id"))

    await until(known)  # profile gave it, personalize read it and gave its record


async def test_a_key_that_ingest_makes_opens_the_others(services: Services) -> None:
    client = services.clients["ingest"]

    async def made() -> bool:
        return (await client.put("/v1/sources/shop", json={}, headers=KEY)).status_code == 200

    await until(made)
    key = (await client.post("/v1/sources/shop/keys", json={"scopes": ["read"]}, headers=KEY)).json()["key"]
    paths = {"profile": "/v1/segments", "scoring": "/v1/models", "personalize": "/v1/offers"}
    for service, path in paths.items():

        async def opens(service: str = service, path: str = path) -> bool:
            answer = await services.clients[service].get(path, headers={"authorization": f"Bearer {key}"})
            return answer.status_code == 200

        await until(opens)


# --- refused ---------------------------------------------------------------------------------------------------------


async def writes(settings: KafkaSettings, topic: str) -> bool:
    async with AIOKafkaProducer(**connection(settings), enable_idempotence=False) as producer:
        try:
            await producer.send_and_wait(settings.prefix + topic, b"{}", key=b"attack")
        except TopicAuthorizationFailedError:
            return False
        return True


async def sees(settings: KafkaSettings, topic: str) -> bool:
    """Whether it may so much as know of the topic: whoever may not read it may not."""
    async with admin(settings) as client:
        [found] = await client.describe_topics([settings.prefix + topic])
    assert found["error_code"] in (0, TopicAuthorizationFailedError.errno)
    return bool(found["error_code"] == 0)


def names(some: Sequence[topics.Topic]) -> set[str]:
    return {topic.name for topic in some}


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_writes_its_own_topics_and_is_refused_at_all_others(kafka: SecureKafka, service: str) -> None:
    """`keys` above all: whoever has taken over profile makes themselves no keys."""
    own = names(topics.given_by(service))
    for topic in ("keys", "touchpoints", "profiles", "scores", "decisions", f"{service}.dead"):
        assert await writes(kafka.of(service), topic) == (topic in own), topic


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_what_it_needs_and_nothing_else(kafka: SecureKafka, service: str) -> None:
    allowed = names(topics.given_by(service)) | names(READS[service])
    for topic in ("keys", "touchpoints", "profiles", "decisions", "touchpoints.rejected"):
        assert await sees(kafka.of(service), topic) == (topic in allowed), topic


async def test_whoever_has_no_password_or_not_the_right_authority_gets_nowhere(kafka: SecureKafka) -> None:
    assert await answers(kafka.of("profile"))
    assert not await answers(kafka.settings(user("profile"), password=secret("a guess")))
    assert not await answers(kafka.settings("somebody"))
    assert not await answers(KafkaSettings(bootstrap=kafka.address))
    unknown = kafka.of("profile").model_copy(update={"ca_file": None})
    assert not await answers(unknown)
