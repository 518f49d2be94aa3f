"""Kafka away for a minute under load, PostgreSQL or both for forty seconds, or hanging, or slow: nobody has to restart
anything.

Each process lives through it: none even ends. It says what it can't do now, does what it can, and afterwards all is
exact. Meanwhile the clocks of some clients are a year off.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import pytest

from deploy.local.report import read
from deploy.local.settings import SERVICES
from shared.clock import Clock, system_clock
from tests.builders import page
from tests.e2e.faults import away, hanging, slow
from tests.e2e.ledger import Client, Ledger, Person, Truth, attempt, truth
from tests.e2e.temas import CONSUMERS, Temas, connected, unique
from tests.servers import Stack, started_stack
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

PEOPLE = 12

SLACK = timedelta(hours=6)
"""Nothing beside a year, and far more than the slowest machine needs for all of it."""

MEGABYTES = 500
"""That a service may take after all of it: it takes about 150 when nothing has happened."""


@dataclass(frozen=True)
class Outage:
    """A fault, the seconds that it lasts, and which services take their work meanwhile."""

    fault: Callable[[Stack], AbstractContextManager[None]]
    seconds: float
    works: Sequence[str] = ()
    refuses: Sequence[str] = ()


OUTAGES: Mapping[str, Outage] = {
    "kafka": Outage(lambda stack: away(stack, "kafka"), 60, ["profile", "scoring", "personalize"], ["ingest"]),
    "postgres": Outage(lambda stack: away(stack, "postgres"), 40, ["ingest", "personalize"], ["profile", "scoring"]),
    "both": Outage(lambda stack: away(stack, "kafka", "postgres"), 40, [], ["ingest", "profile", "scoring"]),
    "hanging kafka": Outage(lambda stack: hanging(stack, "kafka"), 20, ["profile", "scoring", "personalize"]),
    "slow postgres": Outage(lambda stack: slow(stack, "postgres"), 20, SERVICES),
}

CLOCKS_OFF = [timedelta(), timedelta(days=365), timedelta(days=-365), timedelta(days=1)]
"""How far the clients' clocks are off, each in turn."""


@dataclass
class During:
    """The answers that clients got while an outage lasted."""

    alive: dict[str, int] = field(default_factory=dict)
    answers: dict[str, httpx.Response | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Aftermath:
    """The state of things once everything is back and all is applied."""

    temas: Temas
    people: Sequence[Person]
    ledger: Ledger
    during: Mapping[str, During]
    processes: Mapping[str, int]
    truth: Truth


@pytest.fixture(scope="module")
async def after() -> AsyncIterator[Aftermath]:
    """The whole story: clients send all the time, one outage comes after the other, everything settles."""
    with started_stack() as stack:
        async with connected(stack) as temas:
            people = [Person(f"person{number}") for number in range(PEOPLE)]
            ledger, enough = Ledger(), asyncio.Event()
            logins = [login for person in people for login in person.logins()]
            assert ledger.note(logins, await attempt(temas, logins))
            await temas.settled()
            processes = {service: stack.process(service).pid for service in SERVICES}
            clients = [
                Client(f"c{number}", temas, people, ledger, random.Random(number), _off(by))
                for number, by in enumerate(CLOCKS_OFF)
            ]
            running = [asyncio.create_task(client.run(enough)) for client in clients]
            during = {name: await _lived_through(temas, outage, people) for name, outage in OUTAGES.items()}
            enough.set()
            await asyncio.gather(*running)
            await temas.settled()
            yield Aftermath(temas, people, ledger, during, processes, truth(await temas.log()))


def _off(by: timedelta) -> Clock:
    """A clock that is off by `by`."""
    return lambda: system_clock() + by


async def _lived_through(temas: Temas, outage: Outage, people: Sequence[Person]) -> During:
    """Look at the services while it lasts, then wait until all are ready again and clients are served."""
    during = During()
    with outage.fault(temas.stack):
        await asyncio.sleep(outage.seconds)
        for service in SERVICES:
            during.alive[service] = (await temas.http.get(f"{temas.stack.url(service)}/healthz")).status_code
            during.answers[service] = await _asked(temas, service, people[0])
    await until(lambda: _all_back(temas))
    return during


async def _asked(temas: Temas, service: str, person: Person) -> httpx.Response | None:
    """The service's answer to what it is there for."""
    name, auth = f"user_id:{person.name}", (temas.stack.environment["TEMAS_SECRET_KEY"], "")
    url = temas.stack.url(service)
    try:
        if service == "ingest":
            return await temas.post(page("During", anonymous=person.devices[0], messageId=unique("during")))
        if service == "personalize":
            body = {"profile": name, "placement": "anywhere"}
            return await temas.http.post(f"{url}/v1/decide", json=body, auth=auth)
        path = {"profile": "profiles", "scoring": "scores"}[service]
        return await temas.http.get(f"{url}/v1/{path}/{name}", auth=auth)
    except httpx.TransportError:
        return None


async def _all_back(temas: Temas) -> bool:
    """Tell whether both servers are up, every service is ready, and a call is accepted. Raises while they are not."""
    for server in ("kafka", "postgres"):
        temas.stack.process(server)
    await temas.select("SELECT 1")
    await temas.send(page("Back", anonymous="after-outages", messageId=unique("back")))
    for service in SERVICES:
        await temas.ask(service, "/readyz")
    return True


async def test_there_was_enough_to_lose(after: Aftermath) -> None:
    assert after.ledger.accepted
    assert after.ledger.unknown


@pytest.mark.parametrize("service", SERVICES)
async def test_no_process_ended(after: Aftermath, service: str) -> None:
    report = read(after.temas.stack.home)
    assert report is not None
    assert report.programs[service].restarts == 0
    assert after.temas.stack.process(service).pid == after.processes[service]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_each_process_is_alive_all_the_time(after: Aftermath, outage: str) -> None:
    assert after.during[outage].alive == dict.fromkeys(SERVICES, 200)


@pytest.mark.parametrize("outage", OUTAGES)
async def test_meanwhile_a_service_does_what_it_can_and_refuses_the_rest_for_a_moment(
    after: Aftermath, outage: str
) -> None:
    answers = after.during[outage].answers
    for service in OUTAGES[outage].works:
        answer = answers[service]
        assert answer is not None, service
        assert answer.status_code == 200, f"{service}: {answer.text}"
    for service in OUTAGES[outage].refuses:
        answer = answers[service]
        assert answer is not None, service
        assert answer.status_code == 503, f"{service}: {answer.text}"
        assert int(answer.headers["retry-after"]) > 0


async def test_nothing_is_lost_and_nothing_invented(after: Aftermath) -> None:
    ledger, log = after.ledger, after.truth.ids
    assert ledger.accepted - log == set()
    theirs = {id for id in log if not id.startswith(("back", "during"))}  # those were ours
    assert theirs - ledger.accepted - ledger.unknown == set()


async def test_a_clock_that_is_a_year_off_moves_nothing_in_time(after: Aftermath) -> None:
    clocks = {f"c{number}" for number, _ in enumerate(CLOCKS_OFF)}
    theirs = {id: delay for id, delay in after.truth.delays.items() if id.partition("-")[0] in clocks}
    assert {id.partition("-")[0] for id in theirs} == clocks
    wrong = {id: delay for id, delay in theirs.items() if abs(delay) > SLACK}
    assert wrong == {}


async def test_every_number_is_what_the_log_says(after: Aftermath) -> None:
    for person in after.people:
        view = await after.temas.profile(f"user_id:{person.name}")
        assert view["touchpoints"]["count"] == after.truth.touchpoints[person.name]
        assert view["computed"]["order_count"] == after.truth.orders[person.name]
        purchases = (await after.temas.scores(f"user_id:{person.name}"))["purchases"]
        assert purchases["count"] == after.truth.orders[person.name]
        assert purchases["value"] == pytest.approx(after.truth.cents[person.name] / 100, abs=1e-6)


@pytest.mark.parametrize("service", CONSUMERS)
async def test_every_record_of_the_log_is_applied_once(after: Aftermath, service: str) -> None:
    applied = (await after.temas.select(f"SELECT count(*) FROM {service}.event_seen"))[0][0]
    assert applied == len(after.truth.ids)


@pytest.mark.parametrize("service", SERVICES)
async def test_memory_stayed_bounded(after: Aftermath, service: str) -> None:
    assert after.temas.stack.process(service).memory_info().rss < MEGABYTES * 1024 * 1024
