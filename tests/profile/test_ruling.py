"""Rulings on a real PostgreSQL: among touchpoints in any order they give what the oracle says, at a bounded cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.profile.domain.graph import Limits
from services.profile.domain.identity import profile_id
from services.profile.domain.rulings import Ruling
from services.profile.errors import Contradicted, NotTogether, ProfileNotFound, RulingRefused, Together
from services.profile.service.explaining import Explaining, Place, Statement
from services.profile.service.ruling import Rulings
from shared.db import Database
from shared.errors import TemasError
from shared.events import Touchpoint
from shared.identifiers import Identifier
from tests.profile import oracle
from tests.profile.database import ROOMY, assigned, emptied, happened, id_of, now, profiles, published, rows, rule
from tests.profile.lives import CROWDED, alias, crowds, identify, lives, page, rulings

# --- whatever comes in whichever order -------------------------------------------------------------------------------


def expected(life: Sequence[Touchpoint], ruled: Sequence[Ruling]) -> dict[oracle.Id, str]:
    who = oracle.who_is_who(life, visitors=3, others=2, rulings=ruled)
    return {identifier: profile_id(Identifier(*name)) for identifier, name in who.items()}


REAL = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=20, **REAL)  # type: ignore[arg-type]
@given(life=lives(), ruled=rulings(6), random=st.randoms(use_true_random=False), parts=st.integers(1, 6))
async def test_rulings_made_while_batches_are_absorbed_give_what_the_oracle_says(
    shared_database: Database, life: list[Touchpoint], ruled: list[Ruling], random: Random, parts: int
) -> None:
    await emptied(shared_database)
    all_of_it = _shuffled(life, ruled, random, parts)
    await happened(shared_database, *all_of_it[::2])
    await published(shared_database)
    await happened(shared_database, *all_of_it[1::2])
    await _agrees(shared_database, life, ruled)


@settings(max_examples=25, **REAL)  # type: ignore[arg-type]
@given(life=crowds(), ruled=rulings(3, CROWDED), random=st.randoms(use_true_random=False), parts=st.integers(3, 8))
async def test_rulings_between_touchpoints_give_what_the_oracle_says(
    shared_database: Database, life: list[Touchpoint], ruled: list[Ruling], random: Random, parts: int
) -> None:
    await emptied(shared_database)
    for each in _shuffled([*life, *life[::3]], ruled, random, parts):
        await happened(shared_database, each)
    await _agrees(shared_database, life, ruled)


def _shuffled(life: Sequence[Touchpoint], ruled: Sequence[Ruling], random: Random, parts: int) -> list[Any]:
    """Batches of touchpoints, and rulings, in any order."""
    shuffled = list(life)
    random.shuffle(shuffled)
    all_of_it: list[Any] = [*(shuffled[part::parts] for part in range(parts)), *ruled]
    random.shuffle(all_of_it)
    return all_of_it


async def _agrees(database: Database, life: Sequence[Touchpoint], ruled: Sequence[Ruling]) -> None:
    await published(database)
    assert await assigned(database) == expected(life, ruled)
    await _redirects_lead_home(database)


async def _redirects_lead_home(database: Database) -> None:
    """Every profile there ever was: it has members, or leads to the one where its name is now."""
    wrong = await rows(
        database,
        """
        SELECT profile_id, redirect FROM profile WHERE NOT EXISTS (
            SELECT 1 FROM identifier WHERE identifier.profile_id = coalesce(profile.redirect, profile.profile_id)
        ) OR redirect IS NOT NULL AND EXISTS (
            SELECT 1 FROM identifier WHERE identifier.profile_id = profile.profile_id
        )
        """,
    )
    assert wrong == []


async def test_a_ruling_waits_for_the_batch_that_is_being_absorbed(database: Database) -> None:
    """Else neither would see the other, and the device would stay with nobody for ever."""
    await happened(database, [identify("1", user="u", anonymous="a")])
    async with database.begin() as work:
        await profiles().absorb([identify("2", 1, user="v", anonymous="a")], work)
        ruling = asyncio.create_task(rule(database, "split", "anonymous_id:a", "user_id:u"))
        await asyncio.sleep(0.2)
        assert not ruling.done()
    assert (await ruling).identifier.profile_id == id_of("user_id:v")


# --- what people rule ------------------------------------------------------------------------------------------------


async def test_a_device_leaves_and_comes_back(database: Database) -> None:
    life = [page("1", anonymous="a"), identify("2", 1, user="u", anonymous="a")]
    await happened(database, life)
    before = (await published(database))[id_of("user_id:u")]

    apart = await rule(database, "split", "anonymous_id:a", "user_id:u", "not hers")
    assert (apart.identifier.profile_id, apart.other.profile_id) == (id_of("anonymous_id:a"), id_of("user_id:u"))
    views = await published(database)
    alone, left = views[id_of("anonymous_id:a")], views[id_of("user_id:u")]
    assert (alone.touchpoints.count, left.touchpoints.count) == (1, 1)
    assert min(alone.version, left.version) > before.version, "no version falls, whichever id it is asked for by"

    again = await rule(database, "merge", "anonymous_id:a", "user_id:u")
    assert again.identifier.profile_id == again.other.profile_id == id_of("user_id:u")
    assert again.ruling.at > apart.ruling.at, "the later one is the last one, by a clock that stands still too"
    views = await published(database)
    assert views[id_of("anonymous_id:a")].redirect == id_of("user_id:u")
    assert _told(views[id_of("user_id:u")]) == _told(before)
    kept = await rows(database, "SELECT ruling, who, why FROM ruling ORDER BY at")
    assert [tuple(row) for row in kept] == [("split", "a key", "not hers"), ("merge", "a key", "a test")]


def _told(view: Any) -> Any:
    return {name: getattr(view, name) for name in view.__struct_fields__ if name != "version"}


async def test_a_split_outlasts_the_logins_that_follow(database: Database) -> None:
    await happened(database, [identify("1", user="u", anonymous="a")])
    await rule(database, "split", "anonymous_id:a", "user_id:u")
    await happened(database, [identify("0", -9, user="u", anonymous="a")])
    await happened(database, [identify("2", 9, user="u", anonymous="a")])
    assert (await assigned(database))["anonymous_id", "a"] == id_of("anonymous_id:a")
    await happened(database, [identify("3", 10, user="v", anonymous="a")])
    assert (await assigned(database))["anonymous_id", "a"] == id_of("user_id:v"), "the next who may have it"


async def test_saying_it_twice_is_saying_it_once(database: Database) -> None:
    await happened(database, [identify("1", user="u", anonymous="a")])
    first = await rule(database, "split", "anonymous_id:a", "user_id:u")
    assert (await rule(database, "split", "user_id:u", "anonymous_id:a", "again")).ruling == first.ruling
    merged = await rule(database, "merge", "anonymous_id:a", "user_id:u")
    assert await rule(database, "merge", "anonymous_id:a", "user_id:u") == merged


async def test_an_address_that_is_taken_from_everybody_is_nobodys(database: Database) -> None:
    await happened(database, [identify("1", user="u", traits={"email": "x@y.com"}), page("2", user="v")])
    apart = await rule(database, "split", "email:X@y.com", "user_id:u")
    assert apart.identifier.profile_id is None
    assert (await rule(database, "merge", "email:x@y.com", "user_id:v")).identifier.profile_id == id_of("user_id:v")


@pytest.mark.parametrize(
    ("what", "one", "other", "refused"),
    [
        ("split", "anonymous_id:a", "user_id:v", NotTogether),
        ("merge", "anonymous_id:a", "user_id:u", Together),
        ("merge", "anonymous_id:nobody", "user_id:u", ProfileNotFound),
        ("split", "anonymous_id:a", "user_id:nobody", ProfileNotFound),
        ("merge", "user_id:null", "user_id:u", RulingRefused),
        ("merge", "email:x@y.com", "crm:7", RulingRefused),
        ("split", "user_id:u", "user_id:u", RulingRefused),
        ("split", "user_id:u", "profile_id:0b6cf3a8-0000-5000-8000-000000000000", ProfileNotFound),
        ("merge", "profile_id:no-uuid", "user_id:u", ProfileNotFound),
        ("merge", f"profile_id:{id_of('user_id:u')}", "user_id:u", RulingRefused),
    ],
)
async def test_what_can_not_be_ruled(
    database: Database, what: Literal["merge", "split"], one: str, other: str, refused: type[TemasError]
) -> None:
    life = [identify("1", user="u", anonymous="a", traits={"email": "x@y.com"}, external_ids=(Identifier("crm", "7"),))]
    await happened(database, [*life, page("2", user="v")])
    with pytest.raises(refused):
        await rule(database, what, one, other)
    assert await rows(database, "SELECT * FROM ruling") == []


async def test_a_profile_s_id_stands_for_the_identifier_that_names_it(database: Database) -> None:
    await happened(database, [page("1", user="u"), page("2", 1, user="v"), page("3", 2, anonymous="a")])
    u, v, a = (f"profile_id:{id_of(name)}" for name in ("user_id:u", "user_id:v", "anonymous_id:a"))
    for one, name, other in ((v, "user_id:v", u), (a, "anonymous_id:a", v.upper().replace("PROFILE_ID", "profile_id"))):
        for _ in range(2):  # the second time by the id of a profile that was absorbed
            merged = await rule(database, "merge", one, other)
            assert str(merged.ruling.member) == name
            assert merged.identifier.profile_id == merged.other.profile_id == id_of("user_id:u")
    assert len(await rows(database, "SELECT * FROM ruling")) == 2

    assert str((await rule(database, "split", u, v)).ruling.owner) == "user_id:v"
    assert await assigned(database) == {
        ("user_id", "u"): id_of("user_id:u"),
        ("user_id", "v"): id_of("user_id:v"),
        ("anonymous_id", "a"): id_of("user_id:v"),
    }
    assert (await rule(database, "split", a, v)).identifier.profile_id == id_of("anonymous_id:a")


async def test_the_old_profile_id_of_a_device_does_not_tear_it_from_its_user(database: Database) -> None:
    await happened(database, [page("1", anonymous="a")])
    await happened(database, [identify("2", 1, user="u", anonymous="a"), page("3", user="v")])
    old = f"profile_id:{id_of('anonymous_id:a')}"
    with pytest.raises(Together):
        await rule(database, "merge", old, "user_id:u")
    with pytest.raises(RulingRefused, match="name that one for the person, or anonymous_id:a for"):
        await rule(database, "merge", "user_id:v", old)
    assert await rows(database, "SELECT * FROM ruling") == []
    assert str((await rule(database, "split", old, "user_id:u")).ruling.member) == "anonymous_id:a"


async def test_a_merge_that_a_split_forbids_is_refused_and_changes_nothing(database: Database) -> None:
    await happened(database, [page(name, user=name) for name in ("u", "v", "w")], [alias("x", 5, "u", "v")])
    apart = await rule(database, "split", "user_id:u", "user_id:v")
    await rule(database, "merge", "user_id:v", "user_id:w")
    before = await assigned(database)
    with pytest.raises(Contradicted) as refused:
        await rule(database, "merge", "user_id:w", "user_id:u")
    assert refused.value.details[0]["ruling_id"] == apart.ruling.id
    assert await assigned(database) == before
    assert len(await rows(database, "SELECT * FROM ruling")) == 2


async def test_a_device_that_found_no_room_is_told_to_have_a_profile_of_its_own(database: Database) -> None:
    small = Limits(by_kind={"anonymous_id": 1}, others=5)
    life = [identify(f"{n}", n, user="u", anonymous=device) for n, device in enumerate(("a", "b"))]
    await happened(database, [*life, identify("9", 9, user="v", anonymous="b")], limits=small)
    async with database.begin() as work:
        graph = await Explaining(small).explain(Identifier("user_id", "v"), Place(), 50, work)
    (why,) = [row.failure for _, row in graph.rows if isinstance(row, Statement)]
    assert why is not None
    assert (why.code, why.touchpoint_id) == ("over_limit", "1")
    assert why.message.endswith("So anonymous_id:b keeps a profile of its own")


async def test_what_was_blocked_in_the_settings_is_taken_apart_by_relink(database: Database) -> None:
    await happened(database, [identify("1", user="u", anonymous="kiosk")], limits=ROOMY)
    kiosk = Identifier.parse("anonymous_id:kiosk")
    blocking = Limits(by_kind={}, others=5, blocked=frozenset({kiosk}))
    for limits, whose in ((blocking, "anonymous_id:kiosk"), (ROOMY, "user_id:u")):
        service = Rulings(profiles(limits), now)
        await database.retrying(
            lambda work, service=service: service.relink([kiosk, Identifier("crm", "never seen")], "cli:me", work)  # type: ignore[misc]
        )
        assert (await assigned(database))["anonymous_id", "kiosk"] == id_of(whose)
