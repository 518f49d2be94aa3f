"""Groups on real servers: what is shown over HTTP, and that neither order, nor merges, nor large companies show."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.profile.domain.groups import KEPT, SHOWN
from services.profile.service.groups import Groups
from shared.db import Database
from shared.events import Touchpoint, View
from shared.paging import cursor
from tests.builders import Json, after, aliased, departed, identified, joined, viewed
from tests.profile import oracle
from tests.profile.database import ROOMY, emptied, happened, id_of, published, rows, rule
from tests.profile.service import NOON, Service


async def get(service: Service, path: str, **query: str) -> Json:
    answer = await service.send("GET", f"/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def members(service: Service, group: str) -> dict[str, str]:
    """Each profile in the group with since when; the count agrees."""
    page = await get(service, f"groups/{quote(group, safe='')}/profiles")
    found = {each["profile_id"]: each["since"] for each in page["profiles"]}
    assert page["count"] == len(found)
    return found


# --- over HTTP -------------------------------------------------------------------------------------------------------


async def test_a_group_shows_its_traits_and_who_is_in_it(service: Service) -> None:
    life = [
        joined("gr-acme", user="gr-u", at=after(5), id="gr-1", properties={"name": "Acme", "old": 1}),
        joined("gr-acme", user="gr-v", at=after(2), id="gr-2", properties={"name": "ACME", "employees": 12}),
        joined("gr-acme", user="gr-w", at=after(6), id="gr-3", properties={"old": None}),
        departed("gr-acme", user="gr-w", at=after(7)),
    ]
    seen = await service.shows("user_id:gr-u", *life)
    assert seen["groups"] == _shown("gr-acme", 5)
    for user, inside in (("gr-v", True), ("gr-w", False)):
        await service.becomes(f"user_id:{user}", "groups", [] if not inside else _shown("gr-acme", 2))
    assert await get(service, "groups/gr-acme") == {
        "group_id": "gr-acme",
        "traits": {
            "employees": _word(12, 2, "gr-2"),
            "name": _word("Acme", 5, "gr-1"),
        },
        "calls": 3,
        "members": 2,
        "first_at": "2026-03-01T10:02:00.000Z",
        "last_at": "2026-03-01T10:06:00.000Z",
    }
    assert await members(service, "gr-acme") == {
        id_of("user_id:gr-u"): "2026-03-01T10:05:00.000Z",
        id_of("user_id:gr-v"): "2026-03-01T10:02:00.000Z",
    }


def _shown(group: str, minute: int) -> list[dict[str, str]]:
    return [{"id": group, "since": f"2026-03-01T10:0{minute}:00.000Z", "trust": "server"}]


def _word(value: Any, minute: int, id: str) -> dict[str, Any]:
    said = {"value": value, "at": f"2026-03-01T10:0{minute}:00.000Z", "source": "web", "touchpoint_id": id}
    return {**said, "trust": "server"}


@pytest.mark.parametrize("strange", ["a/b:c %2F?&=#ü", "user_id:st-u", "st-u", "st/../x", "profiles", "9" * 3 + "1"])
async def test_an_id_may_hold_anything_and_be_a_persons_too(service: Service, strange: str) -> None:
    await service.shows("user_id:st-u", joined(strange, user="st-u", properties={"of": strange}))
    found = await get(service, f"groups/{quote(strange, safe='')}")
    assert (found["group_id"], found["traits"]["of"]["value"]) == (strange, strange)
    assert list(await members(service, strange)) == [id_of("user_id:st-u")]
    assert strange in [each["id"] for each in (await service.view("user_id:st-u"))["groups"]]


async def test_groups_and_their_members_are_paged(service: Service) -> None:
    people = [joined("pg-0", user=f"pg-{number}", id=f"pg-{number}") for number in range(5)]
    await service.shows("user_id:pg-4", *people)
    await service.shows("user_id:pg-0", *(joined(f"pg-{n}", user="pg-0", at=after(n)) for n in range(1, 4)))
    for number in range(1, 4):
        await service.becomes(f"user_id:pg-{number}", "groups", _shown("pg-0", 0))
    assert await _paged(service, "groups/pg-0/profiles", "profiles", "profile_id") == sorted(
        id_of(f"user_id:pg-{number}") for number in range(5)
    )
    listed = await _paged(service, "groups", "groups", "group_id")
    assert [each for each in listed if each.startswith("pg-")] == ["pg-0", "pg-1", "pg-2", "pg-3"]


async def _paged(service: Service, path: str, what: str, name: str) -> list[str]:
    found, cursor = [], None
    while True:
        page = await get(service, path, limit="2", **({"cursor": cursor} if cursor else {}))
        assert len(page[what]) <= 2
        found += [each[name] for each in page[what]]
        if (cursor := page["next"]) is None:
            return found


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("groups/nowhere", {}, 404, "group_not_found"),
        ("groups/nowhere/profiles", {}, 404, "group_not_found"),
        ("groups/a%2Fnowhere", {}, 404, "group_not_found"),
        ("groups/no%00where", {}, 422, "invalid_request"),
        ("groups/" + "x" * 5000, {}, 404, "group_not_found"),
        ("groups", {"cursor": "made up"}, 400, "invalid_request"),
        ("groups", {"cursor": cursor("a\0b")}, 400, "invalid_request"),
        ("groups/nowhere/profiles", {"cursor": cursor("no uuid")}, 400, "invalid_request"),
        ("groups", {"limit": "0"}, 422, "invalid_request"),
    ],
)
async def test_wrong_questions(service: Service, path: str, query: dict[str, str], status: int, code: str) -> None:
    answer = await service.send("GET", f"/v1/{path}", params=query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("path", ["groups", "groups/acme", "groups/acme/profiles"])
async def test_every_route_needs_the_secret_key(service: Service, path: str) -> None:
    assert (await service.client.get(f"/v1/{path}")).status_code == 401
    assert (await service.client.get(f"/v1/{path}", auth=("another key", ""))).status_code == 403


async def test_every_body_has_an_example(service: Service) -> None:
    schemas = (await service.send("GET", "/openapi.json")).json()["components"]["schemas"]
    for name in ("GroupWithCount", "GroupPage", "GroupMemberPage"):
        assert schemas[name]["example"].keys() == schemas[name]["properties"].keys()


async def test_a_segment_follows_who_joins_and_leaves(service: Service) -> None:
    await service.send("PUT", "/v1/segments/sg-acme", json={"name": "Acme", "rule": '"sg-acme" in groups'})
    await service.shows("user_id:sg-u", joined("sg-acme", user="sg-u", at=after(1)))

    async def inside(position: str | None = None) -> list[str]:
        return [each["id"] for each in (await service.view("user_id:sg-u", position))["segments"]]

    assert await inside() == ["sg-acme"]
    assert await inside(await service.tell(departed("sg-acme", user="sg-u", at=after(2)))) == []


async def test_the_first_moment_there_is_can_be_joined_at(service: Service) -> None:
    zero = datetime.min.replace(tzinfo=UTC)
    life = [joined("ze-g", user="ze-u", at=zero, received_at=NOON), viewed(user="ze-u", at=after(1))]
    await service.shows("user_id:ze-u", *life)
    assert await members(service, "ze-g") == {id_of("user_id:ze-u"): "0001-01-01T00:00:00.000Z"}
    assert (await get(service, "groups/ze-g"))["first_at"] == "0001-01-01T00:00:00.000Z"


# --- merges ----------------------------------------------------------------------------------------------------------


async def listed(database: Database, group: str) -> dict[str, datetime]:
    """Who is in the group, as the service answers."""
    async with database.begin() as work:
        count, found = await Groups().members(group, None, 500, work)
    assert count == len(found)
    return {str(row.profile_id): row.since for row in found}


async def test_several_identifiers_of_one_person_are_one_member_and_part_again(database: Database) -> None:
    await happened(database, [joined("acme", anonymous="a", at=after(3)), joined("acme", user="u", at=after(5))])
    await published(database)
    apart = {id_of("anonymous_id:a"): after(3), id_of("user_id:u"): after(5)}
    assert await listed(database, "acme") == apart

    await happened(database, [identified("u", "a", at=after(6))])
    await published(database)
    assert await listed(database, "acme") == {id_of("user_id:u"): after(3)}

    await rule(database, "split", "anonymous_id:a", "user_id:u")
    await published(database)
    assert await listed(database, "acme") == apart


async def test_a_leave_counts_for_the_whole_person_and_no_longer_after_they_are_taken_apart(database: Database) -> None:
    life = [
        joined("acme", anonymous="a", at=after(1)),
        identified("u", "a", at=after(2)),
        departed("acme", user="u", at=after(3)),
    ]
    await happened(database, life)
    await published(database)
    assert await listed(database, "acme") == {}
    await rule(database, "split", "anonymous_id:a", "user_id:u")
    await published(database)
    assert await listed(database, "acme") == {id_of("anonymous_id:a"): after(1)}


# --- any order, any batches ------------------------------------------------------------------------------------------

USERS, VISITORS, GROUPS = ("ayse", "mert"), ("tablet", "phone"), ("acme", "home")


@st.composite
def lives(draw: st.DrawFn) -> list[Touchpoint]:
    """Two users and two visitors who come, leave, log in and turn out to be one."""
    life = []
    for number in range(draw(st.integers(2, 20))):
        said: dict[str, Any] = {"at": after(draw(st.integers(0, 4))), "id": f"m-{number}"}
        user, visitor = draw(st.sampled_from(USERS)), draw(st.sampled_from(VISITORS))
        who: dict[str, Any] = {"user": user} if draw(st.booleans()) else {"anonymous": visitor}
        kind = draw(st.sampled_from(("join", "join", "join", "leave", "login", "alias")))
        if kind == "join":
            size = {"size": draw(st.integers(0, 3))}
            life.append(joined(draw(st.sampled_from(GROUPS)), properties=size, **who, **said))
        elif kind == "leave":
            life.append(departed(draw(st.sampled_from(GROUPS)), **who, **said))
        elif kind == "login":
            life.append(identified(user, visitor, **said))
        else:
            life.append(aliased(*USERS, **said))
    return life


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=lives(), random=st.randoms(use_true_random=False), parts=st.integers(1, 4))
async def test_interleaved_batches_give_what_the_oracle_says(
    database: Database, life: list[Touchpoint], random: Random, parts: int
) -> None:
    await emptied(database)
    shuffled = list(life)
    random.shuffle(shuffled)
    half = len(shuffled) // 2
    await happened(database, *(shuffled[:half][part::parts] for part in range(parts)), limits=ROOMY)
    views = await published(database)
    await happened(database, *(shuffled[half:][part::parts] for part in range(parts)), limits=ROOMY)
    views |= await published(database)

    expected = _expected(life)
    live = {id: view for id, view in views.items() if view.redirect is None}
    assert {id: _groups(view) for id, view in live.items() if view.groups} == {id: e for id, e in expected.items() if e}
    for group in _own_expected(life):
        inside = {id: each[group] for id, each in expected.items() if group in each}
        assert await listed(database, group) == inside
    assert await _own(database) == _own_expected(life)


def _expected(life: Sequence[Touchpoint]) -> dict[str, dict[str, datetime]]:
    """By profile id the groups that it is in, as the oracle says."""
    who = oracle.who_is_who(life, visitors=1000, others=5)
    mine: dict[str, list[Touchpoint]] = {}
    for each in life:
        kind, value = who[oracle.owner(each)]
        mine.setdefault(id_of(f"{kind}:{value}"), []).append(each)
    return {id: oracle.groups(said, KEPT) for id, said in mine.items()}


def _groups(view: View) -> dict[str, datetime]:
    return {each.id: datetime.fromisoformat(each.since) for each in view.groups}


async def _own(database: Database) -> dict[str, Any]:
    async with database.begin() as work:
        found = await Groups().page("", 500, work)
    return {id: (group.calls, group.traits["size"].value) for id, group in found}


def _own_expected(life: Sequence[Touchpoint]) -> dict[str, Any]:
    found = {}
    for group in GROUPS:
        calls = [each for each in life if each.data.group_id == group]
        if calls:
            last = max(calls, key=lambda each: (each.at, each.id))
            found[group] = (len(calls), last.properties()["size"])
    return found


# --- hostile ---------------------------------------------------------------------------------------------------------


async def test_somebody_in_a_thousand_groups_is_shown_in_a_hundred(database: Database) -> None:
    life = [joined(f"g-{number:04}", user="u", at=after(number), id=f"m-{number}") for number in range(1000)]
    Random(3).shuffle(life)
    await happened(database, *(life[part::4] for part in range(4)))
    views = await published(database)
    assert [each.id for each in views[id_of("user_id:u")].groups] == [f"g-{number:04}" for number in range(SHOWN)]
    (counted,) = await rows(database, "SELECT count(*) FROM group_member")
    assert counted[0] == SHOWN
    (counted,) = await rows(database, "SELECT count(*) FROM group_fragment")
    assert counted[0] == 1000, "of the groups themselves, nothing is left out"


async def test_groups_that_were_left_take_nobody_s_place(service: Service) -> None:
    names = [f"gl-{number:03}" for number in range(SHOWN)]
    stay = await service.shows(
        "user_id:gl", *(joined(name, user="gl", at=after(1), id=f"gl-in-{name}") for name in names)
    )
    assert [each["id"] for each in stay["groups"]] == names
    await service.tell(*(departed(name, user="gl", at=after(2), id=f"gl-out-{name}") for name in names))
    await service.tell(joined("gl-xzzz", user="gl", at=after(3), id="gl-last"))
    await service.becomes("user_id:gl", "groups", _shown("gl-xzzz", 3))
    assert (await get(service, "groups/gl-xzzz"))["members"] == 1
    assert (await get(service, f"groups/{names[0]}"))["members"] == 0


async def test_a_group_of_thousands_is_absorbed_in_bulk_and_paged_by_its_index(database: Database) -> None:
    life = [
        joined("big", user=f"u-{number}", at=after(number), id=f"m-{number}", properties={"n": number})
        for number in range(3000)
    ]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await happened(database, *(life[part::6] for part in range(6)))
    assert loop.time() - began < 30
    await published(database)
    async with database.begin() as work:
        group, count = await Groups().get("big", work)
        assert (group.calls, count, group.traits["n"].value) == (3000, 3000, 2999)
    await happened(database, [departed("big", user="u-7", at=after(9000))])
    await published(database)
    inside = await _everybody(database)
    assert inside == sorted(id_of(f"user_id:u-{number}") for number in range(3000) if number != 7)
    (plan,) = await rows(
        database,
        "EXPLAIN (FORMAT JSON) SELECT profile_id, since FROM group_member WHERE group_id = 'big' "
        f"AND profile_id > '{inside[1500]}' ORDER BY profile_id LIMIT 50",
    )
    assert "Sort" not in str(plan), plan
    assert "Seq Scan" not in str(plan), plan


async def _everybody(database: Database) -> list[str]:
    found: list[str] = []
    while True:
        after = found[-1] if found else None
        async with database.begin() as work:
            _, page = await Groups().members("big", after, 500, work)
        if not page:
            return found
        found += [str(row.profile_id) for row in page]
