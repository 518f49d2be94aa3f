"""Absorbing on a real PostgreSQL: whatever comes at once, in whichever batches, the tables say what the oracle says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.profile.domain.graph import Limits
from services.profile.domain.identity import profile_id
from shared.db import Database
from shared.events import Touchpoint, View
from shared.identifiers import Identifier
from tests.builders import after
from tests.profile import oracle
from tests.profile.database import assigned, emptied, happened, published, rows
from tests.profile.lives import alias, identify, lives, page
from tests.servers import Servers


@pytest.fixture(scope="module")
async def database(servers: Servers) -> AsyncIterator[Database]:
    async with servers.installation() as installation, Database.open(installation.database("profile")) as database:
        yield database


def expected(life: Sequence[Touchpoint]) -> dict[oracle.Id, str]:
    who = oracle.who_is_who(life, visitors=3, others=2)
    return {identifier: profile_id(Identifier(*name)) for identifier, name in who.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=lives(), random=st.randoms(use_true_random=False), parts=st.integers(1, 5))
async def test_interleaved_batches_give_what_the_oracle_says(
    database: Database, life: list[Touchpoint], random: Random, parts: int
) -> None:
    await emptied(database)
    shuffled = list(life)
    random.shuffle(shuffled)
    half = len(shuffled) // 2
    await happened(database, *(shuffled[:half][part::parts] for part in range(parts)))
    early = await published(database)
    await happened(database, *(shuffled[half:][part::parts] for part in range(parts)))
    views = early | await published(database)

    who = expected(life)
    assert await assigned(database) == who
    for each in (view for id, view in views.items() if id in who.values()):
        _agrees(each, life, who)
    gone = {id: view.redirect for id, view in views.items() if id not in who.values()}
    named = {profile_id(Identifier(*identifier)): id for identifier, id in who.items()}
    assert gone == {id: named[id] for id in gone}, "an absorbed profile leads to where its name is now"


def _agrees(view: View, life: Sequence[Touchpoint], who: Mapping[oracle.Id, str]) -> None:
    """`view` says of its person what their touchpoints add up to."""
    assert view.redirect is None
    mine = [each for each in life if who[oracle.owner(each)] == view.profile_id]
    known = oracle.known(mine)
    members = sorted(identifier for identifier in who if who[identifier] == view.profile_id)
    assert [(each.kind, each.value) for each in view.identifiers] == members
    assert view.touchpoints.count == len(mine)
    assert view.touchpoints.channels == known["channels"]
    assert {name: trait.value for name, trait in view.traits.items()} == known["traits"]
    assert (view.computed["order_count"], view.computed["order_value"]) == (known["order_count"], known["order_value"])


async def test_a_batch_that_says_nothing_new_changes_nobody(database: Database) -> None:
    await emptied(database)
    life = [identify("1", user="u", anonymous="a", traits={"email": "x@y.com"}), alias("2", 1, "a", "u")]
    await happened(database, life)
    before = await rows(database, "SELECT * FROM identifier ORDER BY kind, value")
    again = [identify("3", 5, user="u", anonymous="a", traits={"email": "x@y.com"}), alias("4", 6, "a", "u")]
    await happened(database, again)
    assert await rows(database, "SELECT * FROM identifier ORDER BY kind, value") == before


async def test_the_evidence_keeps_every_statement_with_its_first_moment(database: Database) -> None:
    await emptied(database)
    for id, minutes, name in (("2", 5, "ayse"), ("3", 6, "mert"), ("4", 7, "mert"), ("1", 1, "mert")):
        await happened(database, [identify(id, minutes, user=name, anonymous="tablet")])
    found = await rows(database, "SELECT owner_value, at, touchpoint_id FROM edge ORDER BY owner_value")
    assert [tuple(row) for row in found] == [("ayse", after(5), "2"), ("mert", after(1), "1")]


async def test_a_place_that_becomes_free_goes_to_the_next_in_line(database: Database) -> None:
    """Three devices fit; a fourth waits as its own profile, until one of the three turns out to be somebody else's."""
    await emptied(database)
    life = [identify(f"{number}", number, user="u", anonymous=f"a{number}") for number in range(1, 5)]
    await happened(database, life)
    assert (await assigned(database))["anonymous_id", "a4"] == profile_id(Identifier("anonymous_id", "a4"))
    earlier = identify("0", 0, user="other", anonymous="a2")
    await happened(database, [earlier])
    assert await assigned(database) == expected([*life, earlier])
    assert (await assigned(database))["anonymous_id", "a4"] == profile_id(Identifier("user_id", "u"))


async def test_a_thousand_devices_and_a_long_chain_of_aliases_stay_quick(database: Database) -> None:
    await emptied(database)
    roomy = Limits(by_kind={"anonymous_id": 1000}, others=5)
    star = [identify(f"s{number:04}", number, user="hub", anonymous=f"d{number:04}") for number in range(1100)]
    chain = [page(f"c{number:04}", number, user=f"u{number:04}") for number in range(300)]
    chain += [alias(f"l{number:04}", 400 + number, f"u{number:04}", f"u{number + 1:04}") for number in range(299)]
    await happened(database, star[:600], chain[::2], limits=roomy)
    await happened(database, star[600:], chain[1::2], limits=roomy)
    who = await assigned(database)
    hub = profile_id(Identifier("user_id", "hub"))
    assert sum(id == hub for id in who.values()) == 1001
    assert who["anonymous_id", "d1000"] == profile_id(Identifier("anonymous_id", "d1000"))
    assert {who["user_id", f"u{number:04}"] for number in range(300)} == {profile_id(Identifier("user_id", "u0000"))}
    loop = asyncio.get_running_loop()
    began = loop.time()
    await happened(database, [identify("last", 2000, user="hub", anonymous="one more")], limits=roomy)
    assert loop.time() - began < 2, "touches the component of the hub, at most a thousand"
