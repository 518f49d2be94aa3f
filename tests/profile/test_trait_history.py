"""A trait's history: every word with the touchpoint that said it, which one wins, and what a page costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Any, cast
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.profile.service.history import NOW
from services.profile.service.traits import TraitHistory, Words
from services.profile.store.timeline import Place
from shared.db import Work
from shared.events import Touchpoint, Trust
from shared.identifiers import Identifier
from shared.paging import cursor
from tests.builders import Json, after, identified, joined, touchpoint, viewed
from tests.profile.service import NOON, Service, running
from tests.profile.service import settings as settings_of
from tests.profile.test_timeline import INSERT, Explaining
from tests.profile.timelines import Archive, archive
from tests.servers import Installation, Servers
from tests.waiting import until

HISTORY = TraitHistory()


@pytest.fixture(scope="module")
async def service(installed: Installation) -> AsyncIterator[Service]:
    """It keeps a year; one for all tests of this file: each speaks of people of its own."""
    async with running(settings_of(installed, timeline_months=12)) as service:
        yield service


@pytest.fixture(scope="module")
async def shelf(servers: Servers) -> AsyncIterator[Archive]:
    async with archive(servers) as shelf:
        yield shelf


async def history(service: Service, person: str, trait: str, **query: str) -> Json:
    path = f"/v1/profiles/{quote(f'user_id:{person}', safe='')}/traits/{quote(trait, safe='')}"
    answer = await service.send("GET", path, params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def ids(page: Json) -> list[str]:
    return [each["touchpoint_id"] for each in page["words"]]


# --- over HTTP -------------------------------------------------------------------------------------------------------


async def test_every_word_is_shown_with_its_touchpoint_and_the_last_one_wins(service: Service) -> None:
    life = [
        identified("hi-u", at=after(5), id="hi-5", traits={"plan": "pro", "age": 7}),
        identified("hi-u", at=after(1), id="hi-1", traits={"plan": "free"}, source="shop", channel="store"),
        identified("hi-u", at=after(3), id="hi-3", traits={"plan": None}),
        identified("hi-u", at=after(9), id="hi-9", traits={"age": 8}),
        viewed(user="hi-u", at=after(10)),
    ]
    seen = await service.shows("user_id:hi-u", *life)
    assert await history(service, "hi-u", "plan") == {
        "trait": "plan",
        "words": [
            _word("pro", 5, "hi-5", wins=True),
            _word(None, 3, "hi-3"),
            _word("free", 1, "hi-1", source="shop", channel="store"),
        ],
        "next": None,
        "removed_before": None,
    }
    winner = (await history(service, "hi-u", "plan"))["words"][0]
    assert seen["traits"]["plan"] == {
        name: winner[name] for name in ("value", "at", "source", "touchpoint_id", "trust")
    }
    assert ids(await history(service, "hi-u", "age")) == ["hi-9", "hi-5"]
    assert (await history(service, "hi-u", "never"))["words"] == []


def _word(value: Any, minute: int, id: str, *, wins: bool = False, source: str = "web", channel: str = "web") -> Json:
    at = f"2026-03-01T10:0{minute}:00.000Z"
    said = {"value": value, "at": at, "source": source, "touchpoint_id": id, "trust": "server"}
    return {**said, "channel": channel, "wins": wins}


async def test_a_trait_that_was_taken_back_was_taken_back_by_somebody(service: Service) -> None:
    life = [
        identified("nu-u", at=after(1), id="nu-1", traits={"plan": "pro"}),
        identified("nu-u", at=after(2), id="nu-2", traits={"plan": None, "age": 3}),
    ]
    assert (await service.shows("user_id:nu-u", *life))["traits"].keys() == {"age"}
    words = (await history(service, "nu-u", "plan"))["words"]
    assert [(each["value"], each["wins"]) for each in words] == [(None, True), ("pro", False)]
    present = (await service.send("GET", "/v1/profiles/user_id:nu-u/traits")).json()
    assert [(each["trait"], each["value"], each["touchpoint_id"]) for each in present["traits"]] == [
        ("age", 3, "nu-2"),
        ("plan", None, "nu-2"),
    ]


async def test_words_of_one_moment_are_in_the_order_in_which_they_win(service: Service) -> None:
    life = [
        identified("ti-u", at=after(1), id=id, source=source, traits={"plan": id + source})
        for id, source in (("a", "web"), ("b", "app"), ("b", "web"), ("B", "web"))
    ]
    seen = await service.shows("user_id:ti-u", *life)
    words = (await history(service, "ti-u", "plan"))["words"]
    assert [each["value"] for each in words] == ["bweb", "bapp", "aweb", "Bweb"]
    assert [each["wins"] for each in words] == [True, False, False, False]
    assert seen["traits"]["plan"]["value"] == "bweb"


STRANGE = ["a.b", "a/b", "a%2Fb?&=#ü 'x\"", "traits", "x/timeline", "x/identity", "-> 0", "0", "…", " "]


async def test_a_name_may_hold_anything(service: Service) -> None:
    await service.shows("user_id:st/u", identified("st/u", traits={name: [name, {"n": 1.50}] for name in STRANGE}))
    for name in STRANGE:
        page = await history(service, "st/u", name)
        assert (page["trait"], [each["value"] for each in page["words"]]) == (name, [[name, {"n": 1.5}]])


async def test_words_page_through_all_identifiers_and_part_with_them(service: Service) -> None:
    life = [
        touchpoint(anonymous=f"pa-{number % 3}", id=f"pa-{number}", at=after(number), traits={"n": number})
        for number in range(7)
    ]
    life += [identified("pa-u", f"pa-{number}", at=after(20 + number)) for number in range(3)]
    await service.shows("user_id:pa-u", *life)
    found, cursor = [], None
    while True:
        page = await history(service, "pa-u", "n", limit="2", **({"cursor": cursor} if cursor else {}))
        found += page["words"]
        if (cursor := page["next"]) is None:
            break
    assert [each["value"] for each in found] == [6, 5, 4, 3, 2, 1, 0]
    assert [each["wins"] for each in found] == [True, *[False] * 6]

    split = {"identifier": "anonymous_id:pa-0", "from": "user_id:pa-u", "why": "a test"}
    assert (await service.send("POST", "/v1/identities/unmerge", json=split)).status_code == 200
    words = (await history(service, "pa-u", "n"))["words"]
    assert [(each["value"], each["wins"]) for each in words] == [(5, True), (4, False), (2, False), (1, False)]


async def test_what_a_group_call_says_is_no_word_of_its_person(service: Service) -> None:
    life = [
        identified("gc-u", at=after(1), traits={"plan": "pro"}),
        joined("acme", user="gc-u", at=after(2), traits={"plan": "enterprise"}, properties={"plan": "enterprise"}),
    ]
    await service.shows("user_id:gc-u", *life)
    assert [each["value"] for each in (await history(service, "gc-u", "plan"))["words"]] == ["pro"]


async def test_what_retention_removed_is_said(service: Service) -> None:
    old = identified(
        "re-u", at=datetime(2024, 2, 1, tzinfo=UTC), received_at=NOON, id="re-old", traits={"plan": "pro", "age": 1}
    )
    await service.shows("user_id:re-u", old, identified("re-u", at=after(1), id="re-new", traits={"age": 2}))

    async def removed() -> bool:
        return (await history(service, "re-u", "age"))["removed_before"] is not None

    await until(removed)
    page = await history(service, "re-u", "age")
    assert (ids(page), page["removed_before"], page["words"][0]["wins"]) == (
        ["re-new"],
        "2025-03-01T00:00:00.000Z",
        True,
    )
    gone = await history(service, "re-u", "plan")
    assert (gone["words"], gone["removed_before"]) == ([], "2025-03-01T00:00:00.000Z")
    present = (await service.send("GET", "/v1/profiles/user_id:re-u/traits")).json()["traits"]
    assert {each["trait"]: each["touchpoint_id"] for each in present} == {"age": "re-new", "plan": "re-old"}


async def test_present_traits_are_paged_by_name(service: Service) -> None:
    await service.shows("user_id:pt-u", identified("pt-u", traits={"b": 1, "": 2, "a/c": 3}))
    first = (await service.send("GET", "/v1/profiles/user_id:pt-u/traits", params={"limit": "2"})).json()
    rest = {"limit": "2", "cursor": first["next"]}
    second = (await service.send("GET", "/v1/profiles/user_id:pt-u/traits", params=rest)).json()
    assert [each["trait"] for each in (*first["traits"], *second["traits"])] == ["", "a/c", "b"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("user_id:nobody/traits/plan", {}, 404, "profile_not_found"),
        ("user_id:nobody/traits", {}, 404, "profile_not_found"),
        ("nobody/traits/plan", {}, 400, "invalid_request"),
        ("user_id:no%00body/traits/plan", {}, 404, "profile_not_found"),
        ("user_id:wq-u/traits/pl%00an", {}, 422, "invalid_request"),
        ("user_id:wq-u/traits/plan", {"cursor": "made up"}, 400, "invalid_request"),
        ("user_id:wq-u/traits/plan", {"cursor": cursor("0001-01-01T00:00:00+05:00", "m", "w")}, 400, "invalid_request"),
        ("user_id:wq-u/traits", {"cursor": cursor("a\0b")}, 400, "invalid_request"),
        ("user_id:wq-u/traits/plan", {"limit": "501"}, 422, "invalid_request"),
    ],
)
async def test_wrong_questions(service: Service, path: str, query: dict[str, str], status: int, code: str) -> None:
    await service.shows("user_id:wq-u", viewed(user="wq-u"))
    answer = await service.send("GET", f"/v1/profiles/{path}", params=query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("path", ["profiles/user_id:u/traits", "profiles/user_id:u/traits/plan"])
async def test_every_route_needs_the_secret_key(service: Service, path: str) -> None:
    assert (await service.client.get(f"/v1/{path}")).status_code == 401
    assert (await service.client.get(f"/v1/{path}", auth=("another key", ""))).status_code == 403


async def test_every_body_has_an_example(service: Service) -> None:
    schemas = (await service.send("GET", "/openapi.json")).json()["components"]["schemas"]
    for name in ("TraitHistoryPage", "TraitPage"):
        assert schemas[name]["example"].keys() == schemas[name]["properties"].keys()


# --- exactness -------------------------------------------------------------------------------------------------------


@st.composite
def lives(draw: st.DrawFn) -> list[Touchpoint]:
    """Words for two traits by three devices of one person, over three years; at few moments, so that they often tie."""
    life = [identified("u", device, at=after(0), id=f"login-{device}") for device in "abc"]
    for number in range(draw(st.integers(1, 25))):
        traits = draw(st.dictionaries(st.sampled_from(("plan", "age")), st.sampled_from((None, 1, "x")), max_size=2))
        at = datetime(draw(st.integers(2022, 2025)), draw(st.integers(1, 2)), 1, tzinfo=UTC)
        who: dict[str, Any] = {"user": "u"} if draw(st.booleans()) else {"anonymous": draw(st.sampled_from("abc"))}
        id, source = f"m-{draw(st.integers(0, 3))}", f"s-{number}"
        trust: Trust = draw(st.sampled_from(("server", "client")))
        life.append(touchpoint(None, kind="identify", at=at, id=id, source=source, trust=trust, traits=traits, **who))
    return life


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=lives(), random=st.randoms(use_true_random=False), limit=st.integers(1, 9))
async def test_page_after_page_is_what_a_plain_list_says(
    shelf: Archive, life: list[Touchpoint], random: Random, limit: int
) -> None:
    await shelf.emptied()
    shuffled = list(life)
    random.shuffle(shuffled)
    await shelf.absorb(shuffled[::2], shuffled[1::2])
    for trait in ("plan", "age"):
        said = sorted(((each.at, each.id, each.source) for each in life if trait in each.data.traits), reverse=True)
        told = [each for each in life if trait in each.data.traits and each.data.trust == "server"] or life
        last = max([(each.at, each.id, each.source) for each in told if trait in each.data.traits], default=None)
        found, place = [], cast(Place | None, NOW)
        while place is not None:
            words = await page(shelf, "u", trait, place, limit)
            assert len(words.page.rows) <= limit
            assert (words.winner.word.place if words.winner else None) == last
            found += [(row.at, row.touchpoint_id, row.source) for row in words.page.rows]
            place = words.page.next
        assert found == said


async def page(shelf: Archive, user: str, trait: str, before: Place = NOW, limit: int = 10) -> Words:
    person = Identifier("user_id", user)
    return await shelf.database.retrying(lambda work: HISTORY.words(person, trait, work, before=before, limit=limit))


# --- effort ----------------------------------------------------------------------------------------------------------


async def cost(shelf: Archive, user: str, trait: str) -> int:
    """Buffers that the newest page takes, all of its statements together."""
    async with shelf.database.begin() as work:
        explaining = Explaining(work)
        await HISTORY.words(Identifier("user_id", user), trait, cast(Work, explaining), before=NOW, limit=10)
    return explaining.buffers


@pytest.fixture(scope="module")
async def crowd(shelf: Archive) -> Archive:
    """Somebody with 60,000 touchpoints in forty months and three words among them, and somebody with ten."""
    await shelf.emptied()
    for user in ("short", "endless"):
        await shelf.absorb(
            [
                identified(user, at=datetime(2025, 11, day, tzinfo=UTC), id=f"{user}-{day}", traits={"plan": day})
                for day in (3, 9, 20)
            ]
        )
    await shelf.run(INSERT.format(value="short", count=10), INSERT.format(value="endless", count=60_000))
    return shelf


@pytest.mark.parametrize("known", [False, True], ids=["before statistics", "with statistics"])
async def test_words_are_found_without_walking_what_says_nothing_of_traits(crowd: Archive, known: bool) -> None:
    if known:
        await crowd.run("ANALYZE timeline", "ANALYZE presence", "ANALYZE identifier", "ANALYZE fragment")
    words = await page(crowd, "endless", "plan")
    assert [row.touchpoint_id for row in words.page.rows] == ["endless-20", "endless-9", "endless-3"]
    assert words.page.next is None
    least = await cost(crowd, "short", "plan")
    assert await cost(crowd, "endless", "plan") <= 1.5 * least, "of forty months, one says something of traits"
    assert await cost(crowd, "endless", "never") <= 1.5 * least
