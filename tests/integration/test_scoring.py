"""Scoring on real servers: one customer, any order of arrival, and accidents. CDNOW over HTTP: see
`tests/scoring/test_service.py`."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Connection

from services.scoring.tables import METADATA
from shared import topics
from shared.clock import rfc3339, system_clock
from shared.db import Database
from shared.events import Membership, Touchpoint
from tests.builders import Json, ordered, touchpoint
from tests.scoring.office import Office, latest, make_topics, membership, open_office, settings
from tests.servers import Installation
from tests.waiting import until

NOW = system_clock()


@pytest.fixture
async def office(installation: Installation) -> AsyncIterator[Office]:
    await make_topics(installation)
    async with open_office(settings(installation)) as office:
        yield office


def just_now(name: str, minutes: float = 0, **rest: Any) -> Touchpoint:
    """Something that happened that many minutes before the tests began."""
    return touchpoint(name, at=NOW - timedelta(minutes=minutes), received_at=NOW, **rest)


def bought(total: float, days_ago: float, user: str = "u-1") -> Touchpoint:
    return ordered(total, user=user, at=NOW - timedelta(days=days_ago), received_at=NOW)


# --- the schema ------------------------------------------------------------------------------------------------------


async def test_the_migrations_make_the_tables_that_the_code_declares(installation: Installation) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    async with Database.open(installation.database("scoring")) as database, database.begin() as work:
        found = await work.run_sync(differences)
    assert [each for each in found if "alembic_version" not in repr(each)] == []


# --- one customer ----------------------------------------------------------------------------------------------------


async def test_an_order_shows_in_the_scores_at_once(office: Office) -> None:
    await office.say(membership("user_id:u-1", "email:u@example.com"))
    await until(lambda: _sent(office, "p-u-1"))
    await office.tell(bought(20, 0))

    async def changed() -> bool:
        found = latest(await office.sent())["p-u-1"]
        return found.purchases is not None and found.purchases.value == 20

    await until(changed)
    for name in ("user_id:u-1", "email:U@Example.com ", "profile_id:p-u-1"):
        scores = await office.scores(name)
        assert (scores["profile_id"], scores["purchases"]["count"]) == ("p-u-1", 1)
        assert scores["engagement"]["score"] == pytest.approx(50, abs=0.1)
        assert (scores["rfm"], scores["churn"], scores["ltv"], scores["model"]) == (None,) * 4


async def test_an_anonymous_visitor_is_scored_too(office: Office) -> None:
    await office.say(membership("anonymous_id:a-1"))
    await office.tell(just_now("Product Viewed", anonymous="a-1"), just_now("Complaint Opened", anonymous="a-1"))
    scored = await until(lambda: _engaged(office, "p-a-1"))
    assert scored.engagement is not None
    assert (scored.engagement.score, scored.engagement.negative) == (0, pytest.approx(8, abs=0.01))
    assert scored.purchases is None


async def test_only_what_servers_say_counts_where_that_is_set(installation: Installation) -> None:
    """Orders by the hundred and a flood of contacts, with a public key: none of it makes anybody worth more."""
    await make_topics(installation)
    async with open_office(settings(installation, trust="server")) as office:
        await office.say(membership("user_id:u-1"))
        await until(lambda: _sent(office, "p-u-1"))
        forged = [
            just_now("Order Completed", user="u-1", trust="client", id=f"forged-{number}", properties={"total": 1e6})
            for number in range(100)
        ]
        await office.tell(*forged, just_now("Complaint Opened", user="u-1", trust="client"))
        await office.tell(bought(20, 0))
        await office.applied(topics.TOUCHPOINTS, 102)
        scores = await office.scores("user_id:u-1")
        assert (scores["purchases"]["count"], scores["purchases"]["value"]) == (1, 20)
        assert (scores["engagement"]["positive"], scores["engagement"]["negative"]) == (pytest.approx(10, abs=0.1), 0)
    async with open_office(settings(installation)) as office:
        await office.tell(msgspec.structs.replace(forged[0], id="counted"))
        await office.applied(topics.TOUCHPOINTS, 103)
        assert (await office.scores("user_id:u-1"))["purchases"]["count"] == 2, "without it everybody's orders count"


async def test_nobody_is_a_404_and_nonsense_a_400(office: Office) -> None:
    nobody = await office.send("GET", "/v1/scores/user_id:nobody")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "profile_not_found")
    for path, status, code in (
        ("/v1/scores/nonsense", 400, "invalid_request"),
        ("/v1/models/never", 404, "model_not_found"),
        ("/v1/metrics/value", 409, "no_model"),
        ("/v1/metrics/value?as_of=1997-10-01", 422, "invalid_request"),
        ("/v1/models?cursor=nonsense", 400, "invalid_request"),
    ):
        answer = await office.send("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
    future = await office.send("POST", "/v1/models/refit", {"as_of": rfc3339(system_clock() + timedelta(days=9))})
    assert (future.status_code, future.json()["code"]) == (400, "invalid_request")


async def test_everything_needs_the_secret_key(office: Office) -> None:
    for path in ("/v1/scores/user_id:u-1", "/v1/models", "/v1/metrics/rfm", "/v1/metrics/value/top"):
        assert (await office.client.get(path)).status_code == 401
        assert (await office.client.get(path, auth=("another key", ""))).status_code == 403
    assert (await office.client.post("/v1/models/refit")).status_code == 401


# --- any order -------------------------------------------------------------------------------------------------------


def life(person: str) -> tuple[list[Touchpoint], list[Membership]]:
    """A visitor who becomes a customer, absorbs another profile of theirs, and the memberships that say so."""
    told = [
        *[bought(10 + number, 9 * number, user=f"u-{person}") for number in range(6)],
        *[bought(5, 40 + number, user=f"old-{person}") for number in range(2)],
        just_now("Complaint Opened", 60, user=f"u-{person}"),
        *[just_now("Product Viewed", 60 + number, anonymous=f"a-{person}") for number in range(7)],
        just_now("Order Refunded", 24 * 60, user=f"u-{person}", properties={"total": 4}),
    ]
    visitor, old, user = f"anonymous_id:a-{person}", f"user_id:old-{person}", f"user_id:u-{person}"
    said = [
        membership(visitor, profile_id=f"p-visitor-{person}"),
        membership(old, profile_id=f"p-old-{person}"),
        membership(user, profile_id=f"p-{person}"),
        Membership(profile_id=f"p-visitor-{person}", version=2, redirect=f"p-{person}"),
        membership(user, visitor, profile_id=f"p-{person}", version=2),
        Membership(profile_id=f"p-old-{person}", version=2, redirect=f"p-{person}"),
        membership(user, visitor, old, profile_id=f"p-{person}", version=3),
    ]
    return told, said


async def test_any_order_between_and_within_topics_gives_the_same_scores(office: Office) -> None:
    chance = random.Random(3)
    lives = {person: life(person) for person in "abcd"}
    told = {person: chance.sample(2 * touchpoints, 2 * len(touchpoints)) for person, (touchpoints, _) in lives.items()}
    said = {person: chance.sample(2 * each, 2 * len(each)) for person, (_, each) in lives.items()}
    # Of one we hear last who it is, of one first; of the others in between. In one batch, one by one, in thirds.
    steps: list[Coroutine[Any, Any, None]] = [office.say(*said["a"]), office.tell(*told["b"])]
    steps += [office.tell(each) for each in told["a"]]
    steps += [office.say(each) for each in said["b"]]
    for person in "cd":
        thirds = [office.tell(*told[person][start::3]) for start in range(3)]
        thirds += [office.say(*said[person][start::3]) for start in range(3)]
        steps += chance.sample(thirds, len(thirds))
    for step in steps:
        await step
    await office.applied(topics.TOUCHPOINTS, sum(map(len, told.values())))
    await office.applied(topics.IDENTITIES, sum(map(len, said.values())))
    await office.quiet()

    states = {
        person: await office.rows(
            "SELECT replace(kind || value, :person, ''), state, buys FROM fragment WHERE value LIKE :mine ORDER BY 1",
            person=f"-{person}",
            mine=f"%-{person}",
        )
        for person in "abcd"
    }
    assert len(states["a"]) == 3
    assert states["a"] == states["b"] == states["c"] == states["d"]
    as_of = rfc3339(system_clock())
    found = [await office.scores(f"user_id:u-{person}", as_of=as_of) for person in "abcd"]
    plain = [{name: each[name] for name in ("purchases", "engagement")} for each in found]
    assert plain[1:] == plain[:1] * 3
    assert plain[0]["purchases"]["count"] == 8
    assert plain[0]["purchases"]["value"] == sum(range(10, 16)) + 5 + 5 - 4
    # Who was absorbed answers under the old names too, and no scores are sent for them any more.
    for name in ("profile_id:p-old-a", "profile_id:p-visitor-a", "user_id:old-a", "anonymous_id:a-a"):
        assert (await office.scores(name))["profile_id"] == "p-a"
    sent = latest(await office.sent())
    for person in "abcd":
        ours = sent[f"p-{person}"]
        assert ours.purchases is not None
        assert (ours.purchases.count, ours.version) == (8, (await office.scores(f"user_id:u-{person}"))["version"])
        assert ours.engagement is not None
        assert ours.engagement.negative == pytest.approx(8, abs=0.05)


async def test_an_echo_of_the_same_membership_scores_nobody_again(office: Office) -> None:
    await office.say(membership("user_id:u-1", "anonymous_id:a-1"))
    await office.tell(bought(10, 1))
    await until(lambda: _bought(office, "p-u-1"))
    await office.quiet()
    before = (await office.scores("user_id:u-1"))["version"]
    for version in (2, 3, 4):
        await office.say(membership("user_id:u-1", "anonymous_id:a-1", version=version))
    await office.applied(topics.IDENTITIES, 4)
    assert (await office.scores("user_id:u-1"))["version"] == before
    await office.say(membership("user_id:u-1", version=5))
    await until(lambda: _newer(office, "user_id:u-1", before))


async def test_unmerging_gives_each_what_was_theirs(office: Office) -> None:
    await office.tell(bought(10, 3), bought(30, 2, user="u-2"))
    absorbed = Membership(profile_id="p-u-2", version=1, redirect="p-u-1")
    await office.say(membership("user_id:u-1", "user_id:u-2"), absorbed)
    await until(lambda: _bought(office, "p-u-1", 2))
    await office.say(membership("user_id:u-1", version=2), membership("user_id:u-2", version=2))
    await until(lambda: _bought(office, "p-u-2", 1))
    await office.quiet()
    assert (await office.scores("user_id:u-1"))["purchases"]["value"] == 10
    assert (await office.scores("user_id:u-2"))["purchases"]["value"] == 30


# --- models ----------------------------------------------------------------------------------------------------------


async def test_a_fit_of_too_few_customers_fails_and_says_why(office: Office) -> None:
    await office.say(membership("user_id:u-1"))
    await office.tell(bought(10, 3))
    await office.applied(topics.TOUCHPOINTS, 1)
    model = await office.refit()
    assert model["status"] == "failed"
    assert "at least 50 customers with a purchase, and there are 1" in model["reason"]
    refused = await office.send("POST", f"/v1/models/{model['id']}/activate")
    assert (refused.status_code, refused.json()["code"]) == (409, "model_not_ready")


# --- accidents -------------------------------------------------------------------------------------------------------


async def test_a_fit_that_died_with_its_process_is_begun_again(installation: Installation) -> None:
    await make_topics(installation)
    async with open_office(settings(installation)) as office:
        asked = datetime(2026, 1, 1, tzinfo=UTC)
        # As a process leaves it that was killed in the middle: claimed, and its lease run out.
        await office.rows(
            "INSERT INTO model (id, status, as_of, activate, requested_at, attempts, leased_until)"
            " VALUES ('2026-01-01T00:00:00Z', 'fitting', :asked, false, :asked, 1, :asked) RETURNING 1",
            asked=asked,
        )
        ended = await until(lambda: _ended(office, "2026-01-01T00:00:00Z"))
        assert "there are 0" in ended["reason"]


async def test_a_fit_that_always_dies_fails_and_says_so(installation: Installation) -> None:
    await make_topics(installation)
    async with open_office(settings(installation)) as office:
        office.app.state.fits.command = ("/bin/sh", "-c", "kill -9 $$")
        model = await office.refit()
    assert model["status"] == "failed"
    assert "interrupted 3 times" in model["reason"]
    assert "-9" in model["reason"]


async def test_a_service_that_stops_hands_its_fit_to_the_next(installation: Installation) -> None:
    await make_topics(installation)
    async with open_office(settings(installation, fit_lease=3600)) as office:
        office.app.state.fits.command = ("/bin/sleep", "60")
        asked = (await office.send("POST", "/v1/models/refit")).json()["id"]
        await until(lambda: office.rows("SELECT 1 FROM model WHERE leased_until IS NOT NULL"))
    async with open_office(settings(installation)) as office:
        ended = await until(lambda: _ended(office, asked))  # the lease was an hour
        assert ended["status"] == "failed"
        assert (await office.rows("SELECT attempts FROM model"))[0][0] == 1


async def test_a_restart_continues_where_it_was(installation: Installation) -> None:
    await make_topics(installation)
    async with open_office(settings(installation)) as office:
        await office.say(membership("user_id:u-1"))
        await office.tell(bought(10, 1))
        await until(lambda: _bought(office, "p-u-1"))
        before = (await office.scores("user_id:u-1"))["version"]
    async with open_office(settings(installation)) as office:
        await office.tell(bought(10, 1), bought(20, 2))
        await until(lambda: _bought(office, "p-u-1", 2))
        after = await office.scores("user_id:u-1")
        assert (after["purchases"]["value"], after["version"] > before) == (30, True)


async def test_scores_of_yesterday_are_computed_anew_today(installation: Installation) -> None:
    await make_topics(installation)
    now = [system_clock()]
    async with open_office(settings(installation), clock=lambda: now[0]) as office:
        await office.say(membership("user_id:u-1"))
        await office.tell(bought(10, 1))
        yesterday = await until(lambda: _bought(office, "p-u-1"))
        await office.quiet()
        now[0] += timedelta(days=1)

        async def older() -> bool:
            found = latest(await office.sent())["p-u-1"]
            assert yesterday.purchases is not None
            assert found.purchases is not None
            return bool(found.purchases.T > yesterday.purchases.T)

        await until(older)
        await office.quiet()
        assert len(await office.sent()) < 6  # once a day, not without end


# --- looking ---------------------------------------------------------------------------------------------------------


async def _sent(office: Office, profile_id: str) -> Any:
    return latest(await office.sent()).get(profile_id)


async def _engaged(office: Office, profile_id: str) -> Any:
    found = await _sent(office, profile_id)
    return found if found and found.engagement and found.engagement.positive and found.engagement.negative else None


async def _bought(office: Office, profile_id: str, count: int = 1) -> Any:
    found = await _sent(office, profile_id)
    return found if found and found.purchases and found.purchases.count == count else None


async def _newer(office: Office, name: str, version: int) -> bool:
    return bool((await office.scores(name))["version"] > version)


async def _ended(office: Office, model: str) -> Json | None:
    found = await office.get(f"/v1/models/{model}")
    return found if found["status"] != "fitting" else None
