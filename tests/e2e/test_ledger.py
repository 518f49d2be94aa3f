"""Nothing lost, nothing twice, while thirty processes die under load and servers are away: the clients' ledger against
the databases."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from deploy.local.services import complaint
from deploy.local.settings import SERVICES
from shared.topics import PROFILES, TOUCHPOINTS, dead
from tests.e2e.faults import away
from tests.e2e.ledger import Client, Ledger, Person, Truth, Versions, attempt, truth
from tests.e2e.temas import CONSUMERS, Temas, connected, identifiers
from tests.servers import started_stack
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

KILLED = ("ingest", "profile", "scoring", "personalize", "kafka", "postgres")
KILLS = 30
SEED = 20261121
"""Which process is killed when follows from it; which request that hits does not."""

OUTAGES = {KILLS // 3: "kafka", 2 * KILLS // 3: "postgres"}
"""After so many kills a server is not only killed but stays away for a while, and only then are others killed again."""

AWAY = 40.0
"""Seconds."""

CLIENTS = 6
PEOPLE = 24


@dataclass(frozen=True)
class Aftermath:
    """The state of things once everybody is alive again and all is applied."""

    temas: Temas
    people: Sequence[Person]
    ledger: Ledger
    versions: Versions
    truth: Truth
    kills: Sequence[str]
    alive: bool


@pytest.fixture(scope="module")
async def after() -> AsyncIterator[Aftermath]:
    """The whole story: clients send, thirty processes are killed, everything comes back, everything settles."""
    chance = random.Random(SEED)
    with started_stack() as stack:
        async with connected(stack) as temas:
            people = [Person(f"person{number}") for number in range(PEOPLE)]
            ledger, versions, enough = Ledger(), Versions(), asyncio.Event()
            logins = [login for person in people for login in person.logins()]
            assert ledger.note(logins, await attempt(temas, logins))
            clients = [
                Client(f"c{number}", temas, people, ledger, random.Random(SEED + number)) for number in range(CLIENTS)
            ]
            running = [asyncio.create_task(client.run(enough)) for client in clients]
            watching = [
                asyncio.create_task(versions.watch("profile", temas.profile, people)),
                asyncio.create_task(versions.watch("scores", temas.scores, people)),
            ]
            kills = await _break(temas, chance)
            await until(lambda: _all_ready(temas))  # nobody has restarted anything by hand
            alive = await _all_alive(temas)
            await until(lambda: _enough_to_lose(ledger, versions))
            enough.set()
            await asyncio.gather(*running)
            await temas.settled()
            for task in watching:
                task.cancel()
            yield Aftermath(temas, people, ledger, versions, truth(await temas.log()), kills, alive)


async def _break(temas: Temas, chance: random.Random) -> list[str]:
    """SIGKILL to one process after the other: each as often, in any order; and two outages. Gives who died."""
    doomed = list(KILLED) * (KILLS // len(KILLED))
    chance.shuffle(doomed)
    for number, name in enumerate(doomed):
        if number in OUTAGES:
            await _outage(temas, OUTAGES[number])
        await asyncio.sleep(chance.uniform(0.5, 4.0))
        await until(lambda name=name: _killed(temas, name))  # type: ignore[misc]
    return doomed


async def _outage(temas: Temas, server: str) -> None:
    """Keep `server` away for a while, once it is up and every service is."""
    await until(lambda: _all_ready(temas))
    await until(lambda: temas.stack.process(server))
    with away(temas.stack, server):
        await asyncio.sleep(AWAY)
    await until(lambda: temas.stack.process(server))


async def _killed(temas: Temas, name: str) -> bool:
    temas.stack.signal(name, signal.SIGKILL)  # LookupError while it is down: then a moment later
    return True


def _enough_to_lose(ledger: Ledger, versions: Versions) -> bool:
    """Tell whether clients may stop. They go on until there is: how long that takes is the machine's affair."""
    return len(ledger.accepted) > 3_000 and len(ledger.refused) > 10 and versions.looks > 300


async def _all_ready(temas: Temas) -> bool:
    ports = [int(temas.stack.url(service).rpartition(":")[2]) for service in SERVICES]
    complaints = await asyncio.gather(
        *(asyncio.to_thread(complaint, port, temas.stack.environment["TEMAS_SECRET_KEY"]) for port in ports)
    )
    return complaints == [None] * len(ports)


async def _all_alive(temas: Temas) -> bool:
    answers = [await temas.http.get(f"{temas.stack.url(service)}/healthz") for service in SERVICES]
    return all(answer.status_code == 200 for answer in answers)


async def test_every_process_is_alive_and_ready_again_by_itself(after: Aftermath) -> None:
    assert after.alive


async def test_there_was_enough_to_lose(after: Aftermath) -> None:
    assert len(after.kills) == KILLS
    assert after.ledger.unknown  # some got no answer: else nothing was hit
    assert after.truth.repetitions > 0


async def test_nothing_is_lost_and_nothing_invented(after: Aftermath) -> None:
    ledger, log = after.ledger, after.truth.ids
    assert ledger.accepted - log == set()
    assert log - ledger.accepted - ledger.unknown == set()
    assert log & ledger.refused == set()


async def test_the_profile_of_everybody_is_what_the_log_says(after: Aftermath) -> None:
    for person in after.people:
        view = await after.temas.profile(f"user_id:{person.name}")
        assert view["touchpoints"]["count"] == after.truth.touchpoints[person.name]
        assert view["computed"]["order_count"] == after.truth.orders[person.name]
        assert view["computed"]["order_value"] == after.truth.cents[person.name] / 100
        assert identifiers(view) == {f"user_id:{person.name}", *(f"anonymous_id:{each}" for each in person.devices)}


async def test_the_scores_of_everybody_are_what_the_log_says(after: Aftermath) -> None:
    for person in after.people:
        purchases = (await after.temas.scores(f"user_id:{person.name}"))["purchases"]
        assert purchases["count"] == after.truth.orders[person.name]
        assert purchases["value"] == pytest.approx(after.truth.cents[person.name] / 100, abs=1e-6)


async def test_the_timeline_has_everything_once(after: Aftermath) -> None:
    rows = await after.temas.select("SELECT touchpoint_id FROM profile.timeline")
    assert sorted(row["touchpoint_id"] for row in rows) == sorted(after.truth.ids)


async def test_decisions_are_made_from_the_newest_profile(after: Aftermath) -> None:
    for person in after.people:
        view = await after.temas.profile(f"user_id:{person.name}")
        await until(lambda view=view, person=person: _decided_from(after.temas, person, view["version"]))  # type: ignore[misc]


async def _decided_from(temas: Temas, person: Person, version: int) -> bool:
    decision = await temas.decide(f"anonymous_id:{person.devices[0]}", "anywhere")
    return bool(decision["profile_version"] == version and not decision["degraded"])


@pytest.mark.parametrize("service", CONSUMERS)
async def test_every_record_of_the_log_is_accounted_for(after: Aftermath, service: str) -> None:
    """Log = applied + duplicates + put aside. (Metrics died with their processes: the tables tell.)"""
    applied = (await after.temas.select(f"SELECT count(*) FROM {service}.event_seen"))[0][0]
    put_aside = len(await after.temas.log(dead(service)))
    assert put_aside == 0
    assert applied == len(after.truth.ids)
    assert applied + after.truth.repetitions + put_aside == len(await after.temas.log(TOUCHPOINTS))


async def test_nobody_was_ever_shown_an_older_state_than_before(after: Aftermath) -> None:
    assert after.versions.went_back == []


async def test_the_last_word_of_the_topic_is_the_state_that_is_served(after: Aftermath) -> None:
    newest: dict[bytes, bytes] = {}
    for record in sorted(await after.temas.log(PROFILES), key=lambda record: (record.partition, record.offset)):
        newest[record.key] = record.value
    for person in after.people:
        view = await after.temas.profile(f"user_id:{person.name}")
        assert f'"version":{view["version"]}'.encode() in newest[view["profile_id"].encode()]
