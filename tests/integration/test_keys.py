"""Keys that ingest makes, in the other services: soon, with their scopes only, and whatever servers are away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr
from sqlalchemy import text

from services.ingest.publisher import KeyPublisher
from shared import topics
from shared.clock import system_clock
from shared.db import Database
from shared.errors import Forbidden, Unavailable
from shared.events import Keyed, NamedKey, encode
from shared.health import Health
from shared.kafka import Kafka
from shared.key_records import KeySignatures
from shared.keys import KeyReader, Keyring
from shared.metrics import KEYS_UNSIGNED
from shared.scopes import SCOPES, digest
from shared.settings import KafkaSettings
from tests.builders import Json
from tests.ingest.desk import ask, make_key, make_source, told
from tests.ingest.door import Door, opened, prepared
from tests.profile.service import Hands, Service, running, settings
from tests.roles import tell_key
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY, secret
from tests.servers import Installation, Servers
from tests.waiting import until

SECRET = SECRET_KEY
SIGNATURES = KeySignatures([KEY_SIGNING_SECRET])


class OnTheWall(Hands):
    """Keys end by the clock of who ends them."""

    def __call__(self) -> datetime:
        return system_clock()


@pytest.fixture(scope="module")
async def place(servers: Servers) -> AsyncIterator[Installation]:
    async with servers.installation() as installation:
        await installation.create()
        yield installation


@pytest.fixture(scope="module")
async def door(place: Installation) -> AsyncIterator[Door]:
    async with opened(await prepared(place)) as door:
        yield door


@pytest.fixture(scope="module")
async def profile(place: Installation) -> AsyncIterator[Service]:
    async with running(settings(place), OnTheWall()) as service:
        yield service


@pytest.fixture
async def source(door: Door) -> str:
    name = f"s-{uuid.uuid4().hex[:12]}"
    await make_source(door, name)
    return name


async def asked(profile: Service, key: str, method: str = "GET") -> int:
    """What profile answers to whoever lists segments, or makes one, with this key."""
    path, body = ("/v1/segments", None) if method == "GET" else ("/v1/segments/keys", {"name": "k", "rule": "true"})
    headers = {"authorization": f"Bearer {key}"}
    return (await profile.client.request(method, path, json=body, headers=headers)).status_code


async def becomes(profile: Service, key: str, status: int, method: str = "GET") -> None:
    async def so() -> bool:
        return await asked(profile, key, method) == status

    await until(so)


# --- made, rotated, revoked ------------------------------------------------------------------------------------------


async def test_a_key_opens_profile_by_itself_and_with_its_scope_only(door: Door, profile: Service, source: str) -> None:
    read, admin = await make_key(door, source, "read"), await make_key(door, source, "admin")
    others = [await make_key(door, source, scope) for scope in ("write", "decide")]
    await becomes(profile, read["key"], 200)
    await becomes(profile, admin["key"], 200, "PUT")
    assert await asked(profile, admin["key"]) == 200
    assert await asked(profile, read["key"], "PUT") == 403
    for each in others:
        await until(lambda key=each["key"]: knows(profile.app.state.keyring, key))  # type: ignore[misc]
        assert (await asked(profile, each["key"]), await asked(profile, each["key"], "PUT")) == (403, 403)


async def test_a_key_for_another_service_opens_nothing_in_profile_and_is_told_so(
    door: Door, profile: Service, source: str
) -> None:
    async def made(**narrowed: object) -> str:
        body = {"scopes": ["admin"], **narrowed}
        return str((await told(door, "POST", f"sources/{source}/keys", body))["key"])

    for key, status in (
        (await made(services=["scoring"]), 403),
        (await made(sources=[source]), 403),
        (await made(services=["profile", "scoring"]), 200),
    ):
        await until(lambda key=key: knows(profile.app.state.keyring, key))  # type: ignore[misc]
        assert (await asked(profile, key), await asked(profile, key, "PUT")) == (status, status)


async def test_people_are_shown_to_keys_that_may_read_people_only(door: Door, profile: Service, source: str) -> None:
    for scope, status in (("read", 403), ("read:people", 404), ("admin", 404)):
        key = (await make_key(door, source, scope))["key"]
        await until(lambda key=key: knows(profile.app.state.keyring, key))  # type: ignore[misc]
        answer = await profile.client.get("/v1/profiles/user_id:nobody", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == status
        assert await asked(profile, key) == 200


async def test_a_rotated_key_and_its_successor_both_hold_until_the_overlap_ends(
    door: Door, profile: Service, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await make_key(door, source, "read")
    await becomes(profile, old["key"], 200)
    new = await told(door, "POST", f"sources/{source}/keys/{old['id']}/rotate", {"overlap_seconds": 3600})
    await becomes(profile, new["key"], 200)
    assert await asked(profile, old["key"]) == 200
    ends_at = datetime.fromisoformat(new["replaces"]["ends_at"])
    monkeypatch.setattr(profile.app.state.keyring, "clock", lambda: ends_at)
    assert await asked(profile, old["key"]) == 403
    assert await asked(profile, new["key"]) == 200


async def test_a_revoked_key_soon_opens_nothing(door: Door, profile: Service, source: str) -> None:
    made = await make_key(door, source, "read")
    await becomes(profile, made["key"], 200)
    await revoke(door, source, made)
    await becomes(profile, made["key"], 403)


async def test_a_key_is_told_without_its_text(door: Door, profile: Service, source: str) -> None:
    made = await make_key(door, source, "read")
    await becomes(profile, made["key"], 200)
    [key] = [each for each in profile.app.state.keyring.made.values() if each.id == made["id"]]
    assert (key.source, key.scopes, key.ends_at) == (source, ("read",), None)
    assert made["key"] not in str(key)


async def test_what_a_process_of_the_version_before_does_to_keys_is_told_as_well(
    door: Door, profile: Service, source: str
) -> None:
    """It knows nothing of telling: during a rolling deployment, and for the keys from before."""
    key = f"sk_{uuid.uuid4().hex}"
    await run(
        door,
        "INSERT INTO source_key (id, source, digest, hint, scopes, made_at)"
        " VALUES (:id, :source, :digest, 'sk_', ARRAY['read'], now())",
        id=f"{source}:old",
        source=source,
        digest=digest(key),
    )
    await becomes(profile, key, 200)
    await run(door, "UPDATE source_key SET ends_at = now() WHERE id = :id", id=f"{source}:old")
    await becomes(profile, key, 403)


async def revoke(door: Door, source: str, key: Json) -> None:
    assert (await ask(door, "DELETE", f"sources/{source}/keys/{key['id']}")).status_code == 204


async def run(door: Door, statement: str, **parameters: object) -> None:
    async with door.app.state.desk.database.begin() as work:
        await work.execute(text(statement), parameters)


# --- many, again, and after a loss -----------------------------------------------------------------------------------


async def test_when_the_topic_was_lost_a_start_of_ingest_tells_everything_anew(installation: Installation) -> None:
    await installation.create()
    place = await prepared(installation)
    async with opened(place) as door:
        await make_source(door, "shop")
        held, ended = await make_key(door, "shop", "read"), await make_key(door, "shop", "read")
        await revoke(door, "shop", ended)
        await until(lambda: all_told(installation))
    await make_anew(installation)
    async with opened(place), reading(installation.kafka) as keyring:
        await until(lambda: knows(keyring, held["key"]))
        await until(lambda: knows(keyring, ended["key"]))
        with pytest.raises(Forbidden):
            keyring.caller(ended["key"], "read")


# --- written by somebody else ----------------------------------------------------------------------------------------


def record(key: NamedKey, signature: str) -> tuple[bytes, bytes]:
    event = Keyed(id="e", source="ingest", time=system_clock(), subject=key.id, data=key, signature=signature)
    return key.id.encode(), encode(event)


def unsigned() -> float:
    return float(KEYS_UNSIGNED.labels("test")._value.get())


async def test_a_key_that_somebody_else_writes_into_the_topic_opens_nothing_and_is_reported(
    installation: Installation,
) -> None:
    await installation.create()
    mine = f"sk_{uuid.uuid4().hex}"
    key = NamedKey(id="shop:mine", source="shop", digest=digest(mine).hex(), scopes=SCOPES)
    forged = KeySignatures([secret("of somebody else")]).sign(key)
    before = unsigned()
    async with Kafka.open(installation.kafka, Health()) as kafka, reading(installation.kafka) as keyring:
        for each in (record(key, ""), record(key, forged)):
            await kafka.log(topics.KEYS).append([each])
            ours = await tell_key(kafka, "read")
            await until(lambda key=ours: knows(keyring, key))  # type: ignore[misc]
            with pytest.raises(Forbidden):
                keyring.caller(mine, "read")
        await until(lambda: unsigned() == before + 2)


async def test_a_revoked_key_is_not_brought_back_by_a_record_of_ours_that_somebody_has_kept(
    installation: Installation,
) -> None:
    """Compaction then takes the revocation, and a process that starts later would not see it: it is told anew."""
    await installation.create()
    place = await prepared(installation)
    async with opened(place) as door, Kafka.open(installation.kafka, Health()) as kafka:
        async with reading(installation.kafka) as keyring:
            await make_source(door, "shop")
            made = await make_key(door, "shop", "read")
            await until(lambda: knows(keyring, made["key"]))
            told_then = keyring.made[digest(made["key"]).hex()]
            kept = record(told_then, SIGNATURES.sign(told_then))
            await revoke(door, "shop", made)
            await until(lambda: all_told(installation))
            await kafka.log(topics.KEYS).append([kept])
            after = await tell_key(kafka, "read")
            await until(lambda: knows(keyring, after))
            with pytest.raises(Forbidden):
                keyring.caller(made["key"], "read")

        await make_anew(installation)  # nothing is left of it but what was kept: the worst that compaction can do
        await kafka.log(topics.KEYS).append([kept])
        publisher = KeyPublisher(
            database=door.app.state.desk.database, kafka=kafka, signatures=SIGNATURES, clock=system_clock, all_every=0.1
        )
        async with reading(installation.kafka) as keyring:
            await until(lambda: knows(keyring, made["key"]))
            await publisher.publish()
            await asyncio.sleep(0.2)
            await publisher.publish()  # as it is done every few minutes

            async def revoked() -> bool:
                return not keyring.made[digest(made["key"]).hex()].holds(system_clock())

            await until(revoked)


async def test_a_topic_of_before_signatures_is_signed_by_the_first_start_and_nothing_is_reported(
    installation: Installation,
) -> None:
    await installation.create()
    place = await prepared(installation)
    async with opened(place) as door:
        await make_source(door, "shop")
        made = await make_key(door, "shop", "read")
        await until(lambda: all_told(installation))
    await make_anew(installation)
    before = unsigned()
    async with Kafka.open(installation.kafka, Health()) as kafka:
        old = NamedKey(id=made["id"], source="shop", digest=digest(made["key"]).hex(), scopes=("read",))
        await kafka.log(topics.KEYS).append([record(old, "")])
    async with opened(place), reading(installation.kafka) as keyring:
        await until(lambda: knows(keyring, made["key"]))
    async with reading(installation.kafka) as keyring:
        await until(lambda: knows(keyring, made["key"]))
        await asyncio.sleep(1.5)
    assert unsigned() <= before + 1  # by the reader that was there before ingest had told, if at all


async def test_the_signing_secret_is_exchanged_without_shutting_anybody_out(installation: Installation) -> None:
    await installation.create()
    place, old, new = await prepared(installation), secret("the old one"), secret("the new one")
    async with opened(place, key_signing_secret=old) as door, reading(installation.kafka, new, old) as during:
        await make_source(door, "shop")
        held, ended = await make_key(door, "shop", "read"), await make_key(door, "shop", "read")
        await revoke(door, "shop", ended)
        await until(lambda: knows(during, held["key"]))
    async with opened(place, key_signing_secret=f"{new},{old}"), reading(installation.kafka, new) as after:
        await until(lambda: knows(after, held["key"]))
        await until(lambda: knows(after, ended["key"]))
        assert after.caller(held["key"], "read").id == held["id"]
        with pytest.raises(Forbidden):
            after.caller(ended["key"], "read")


async def all_told(installation: Installation) -> bool:
    async with Database.open(installation.database("ingest")) as database, database.begin() as work:
        untold = "SELECT count(*) FROM source_key WHERE told_end IS DISTINCT FROM coalesce(ends_at, 'infinity')"
        return bool((await work.execute(text(untold))).scalar_one() == 0)


async def make_anew(installation: Installation) -> None:
    name = installation.kafka.prefix + topics.KEYS.name
    admin = AIOKafkaAdminClient(bootstrap_servers=installation.kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([name])

        async def gone() -> bool:
            return name not in await admin.list_topics()

        await until(gone)
    finally:
        await admin.close()
    await installation.create(topics.KEYS)


# --- servers that are away -------------------------------------------------------------------------------------------


@asynccontextmanager
async def reading(kafka: KafkaSettings, *secrets: str, health: Health | None = None) -> AsyncIterator[Keyring]:
    """A keyring that is being filled with what is signed with one of `secrets`, that of the tests where none is."""
    keyring = Keyring(SecretStr(SECRET), system_clock, "profile")
    signatures = KeySignatures(secrets) if secrets else SIGNATURES
    health = health or Health()
    reader = KeyReader(service="test", settings=kafka, signatures=signatures, keyring=keyring, health=health)
    task = asyncio.create_task(reader.run())
    try:
        yield keyring
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def knows(keyring: Keyring, key: str) -> bool:
    return digest(key).hex() in keyring.made


async def test_an_absent_kafka_keeps_nobody_out_who_was_let_in_and_delays_only_what_is_new(
    breakable_servers: Servers,
) -> None:
    async with breakable_servers.installation() as installation:
        await installation.create()
        async with opened(await prepared(installation)) as door, reading(installation.kafka) as before:
            await make_source(door, "shop")
            old = await make_key(door, "shop", "read")
            await until(lambda: knows(before, old["key"]))

            await breakable_servers.kafka.kill()
            new = await make_key(door, "shop", "read")
            async with reading(installation.kafka) as during:
                assert before.caller(old["key"], "read").id == old["id"]
                assert during.caller(SECRET, "admin").id == "settings:secret"
                with pytest.raises(Forbidden):
                    before.caller(new["key"], "read")
                with pytest.raises(Unavailable):
                    during.caller(new["key"], "read")

                await breakable_servers.kafka.start()
                await until(lambda: all_told(installation))
                await until(lambda: knows(before, new["key"]))
                await until(lambda: knows(during, new["key"]))
                assert during.caller(old["key"], "read").id == old["id"]
                assert during.complete


async def test_a_kafka_that_is_away_for_longer_than_the_readers_patience_ends_no_reader(
    breakable_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that ends lets out the cancellation of a task of its own: it is not to be taken for the reader's."""
    monkeypatch.setattr("shared.keys.PATIENCE", 1.0)
    async with breakable_servers.installation() as installation:
        await installation.create()
        health = Health()
        async with (
            Kafka.open(installation.kafka, Health()) as kafka,
            reading(installation.kafka, health=health) as keyring,
        ):
            old = await tell_key(kafka, "read")
            await until(lambda: knows(keyring, old))
            for break_, mend in (
                (breakable_servers.kafka.kill, breakable_servers.kafka.start),
                (_done(breakable_servers.kafka.pause), _done(breakable_servers.kafka.resume)),
            ):
                await break_()
                await asyncio.sleep(8)  # which is eight times its patience
                assert keyring.caller(old, "read")
                assert health.complaints(vital_only=True) == {}
                await mend()
                await until(lambda: _well(kafka))
                new = await tell_key(kafka, "read")
                await until(lambda new=new: knows(keyring, new))  # type: ignore[misc]


def _done(act: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def act_at_once() -> None:
        act()

    return act_at_once


async def _well(kafka: Kafka) -> bool:
    return kafka.part.complaint is None


async def test_what_nobody_can_read_hides_no_other_key(installation: Installation) -> None:
    await installation.create()
    async with Kafka.open(installation.kafka, Health()) as kafka, reading(installation.kafka) as keyring:
        await kafka.log(topics.KEYS).append([(b"k", b"no event"), (b"k", b'{"type": "temas.key.v1"}')])
        key = await tell_key(kafka, "read")
        await until(lambda: knows(keyring, key))
