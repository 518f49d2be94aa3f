"""Rebuilding on real servers: made anew, compared, exchanged, put back; and whoever posts and reads meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.profile.domain.rebuilt import is_cut, is_repetition
from services.profile.service.rebuilding import following, whole
from services.profile.service.rebuilding.steps import DIFFERENT, EQUAL, REFUSED
from services.profile.store import profiles
from services.profile.store.fragments import decoded
from shared.audit import of_operator
from shared.db import Database, Work
from shared.events import Touchpoint
from shared.identifiers import Identifier
from shared.replay import Replay
from tests.builders import START, after, departed, joined
from tests.profile.database import happened, published, rows
from tests.profile.lives import alias, identify, lives, order, page
from tests.profile.rebuilds import World, world
from tests.profile.service import SECRET, Hands
from tests.servers import Servers
from tests.waiting import until

AYSE = Identifier("user_id", "ayse")

LIFE = (
    page("1", 0, anonymous="tablet"),
    identify("2", 10, user="ayse", anonymous="tablet", traits={"email": "a@example.com", "plan": "pro"}),
    order("3", 20, 10, user="ayse"),
    order("4", 1_600, "12.35", user="ayse"),
    identify("5", 30, user="mert", anonymous="tablet", traits={"email": "m@example.com"}),
    alias("6", 40, "ayse-old", "ayse"),
    page("7", 50, user="ayse-old"),
    page("8", 60, user="mert"),
    page("9", 70, anonymous="desk"),
)

COMPANY = (
    joined("acme", id="g1", user="ayse", at=after(100), properties={"seats": 10}),
    joined("acme", id="g2", user="mert", at=after(110), properties={"seats": 12}),
    order("g3", 120, 7, user="mert"),
    departed("acme", id="g4", user="ayse", at=after(130)),
    identify("g5", 140, user="mert", traits={"plan": None}),
)

COMPUTED: dict[str, Any] = {
    "orders": {"event": "Order Completed", "aggregate": "count"},
    "largest": {"event": "Order Completed", "aggregate": "max", "property": "total", "window_days": 30},
    "online": {"event": "Order Completed", "aggregate": "distinct", "property": "total", "filter": 'channel == "web"'},
}

MARK_ALL = f"INSERT INTO mark SELECT profile_id, '{START}', false FROM profile ON CONFLICT DO NOTHING"
JOINED = "SELECT kind, value, joined FROM identifier WHERE value <> 'tablet' ORDER BY kind, value"


@pytest.fixture(scope="module")
async def lived(servers: Servers) -> AsyncIterator[World]:
    async with world(servers) as lived:
        await lived.tell(*LIFE)
        yield lived


@pytest.fixture
async def small(lived: World) -> AsyncIterator[World]:
    """With a few people in it. It is what the log says again before the next test."""
    yield lived
    await lived.mended()


@pytest.fixture
async def own(servers: Servers) -> AsyncIterator[World]:
    """The same people in a world that nobody has to live in afterwards."""
    async with world(servers) as own:
        await own.tell(*LIFE)
        yield own


@pytest.fixture(scope="module")
async def crowd(servers: Servers) -> AsyncIterator[World]:
    """Nobody yet, with computed traits; what examples tell adds up."""
    async with world(servers) as crowd:
        await crowd.define(**COMPUTED)
        await crowd.tell(*COMPANY)
        yield crowd


def named_anew(life: list[Touchpoint]) -> list[Touchpoint]:
    """With ids that no other example has."""
    example = uuid4().hex[:8]
    return [msgspec.structs.replace(each, id=f"{example}-{each.id}") for each in life]


def report(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Give what the operator was told since this was last asked."""
    return capsys.readouterr().err.splitlines()


@settings(max_examples=3, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=lives(60), random=st.randoms(use_true_random=False))
async def test_what_is_made_anew_is_the_same_bytes(crowd: World, life: list[Touchpoint], random: Random) -> None:
    """The log is shuffled, has everything up to three times, and in any partition."""
    before = len((await crowd.facts())["timeline"])
    await crowd.tell_in_any_order([*named_anew(life), *COMPANY], random)
    served = await crowd.facts()
    assert served["computed_part"]
    assert served["group_fragment"]
    assert len(served["timeline"]) == before + len(life)
    assert await crowd.rebuild(dry_run=True) == EQUAL

    await crowd.run(*(f"DELETE FROM {name}" for name in served))
    assert await crowd.rebuild(dry_run=True) == DIFFERENT
    assert await crowd.facts("profile_shadow") == served
    assert await crowd.rebuild() == EQUAL
    assert await crowd.facts() == served
    assert await crowd.rebuild(forget=True) == EQUAL


async def test_what_is_wrong_is_named_mended_and_can_be_put_back(
    small: World, capsys: pytest.CaptureFixture[str]
) -> None:
    right, seen = await small.facts(), await small.service.view("user_id:ayse")
    await small.run(
        "UPDATE fragment SET state = '{\"channels\": {\"web\": 99}}' WHERE value IN ('ayse', 'desk')",
        "DELETE FROM edge WHERE member_value = 'a@example.com'",
        "INSERT INTO edge SELECT member_kind, 'nobody@example.com', owner_kind, owner_value, kind, at, touchpoint_id "
        "FROM edge WHERE member_value = 'm@example.com'",
        "UPDATE identifier SET profile_id = (SELECT profile_id FROM identifier WHERE value = 'mert') "
        "WHERE value = 'tablet'",
        "UPDATE profile SET version = version + 1",
        MARK_ALL,
    )
    await small.settled()
    wrong = await small.facts()
    assert (await small.service.view("user_id:ayse"))["touchpoints"]["count"] == 99 + 1
    before, joined = await small.versions(), await rows(small.database, JOINED)
    report(capsys)

    assert await small.rebuild(dry_run=True) == DIFFERENT
    told = report(capsys)
    assert "fragment: 0 rows only served, 0 only rebuilt, 2 different" in told
    assert "  different: user_id ayse" in told
    assert "edge: 1 rows only served, 1 only rebuilt, 0 different" in told
    assert "  only rebuilt: email a@example.com user_id ayse claim" in told
    assert "identifier: 0 rows only served, 0 only rebuilt, 1 different" in told
    assert {"timeline: equal", "presence: equal"} < set(told)
    assert await small.facts() == wrong, "nothing was changed"

    assert await small.rebuild() == EQUAL
    assert await small.facts() == right
    assert await rows(small.database, JOINED) == joined, "whoever stays where they are shows from when they did"
    await small.settled()
    mended = await small.service.view("user_id:ayse")
    assert {**mended, "version": 0, "stage": 0} == {**seen, "version": 0, "stage": 0}
    assert (await small.service.view("anonymous_id:tablet"))["profile_id"] == seen["profile_id"]
    assert (await small.service.view("anonymous_id:desk"))["touchpoints"]["count"] == 1
    later = await small.versions()
    assert all(later[id] >= version for id, version in before.items())
    assert later[seen["profile_id"]] > before[seen["profile_id"]]

    await small.tell(page("10", 80, user="ayse"), identify("11", 90, user="can", anonymous="kiosk"))
    assert await small.rebuild(revert=True) == EQUAL
    await small.settled()
    back = await small.facts()
    assert [row for row in back["edge"] if "nobody@example.com" in row], "what was there is there again"
    assert (await small.service.view("user_id:ayse"))["touchpoints"]["count"] == 99 + 1 + 1, "and what came since"
    assert (await small.service.view("anonymous_id:kiosk"))["root"] is not None
    last = await small.versions()
    assert all(last[id] >= version for id, version in later.items())

    assert await small.rebuild() == REFUSED, "what was exchanged is still kept"
    assert await small.rebuild(forget=True) == EQUAL
    assert not await small.kept()
    audit = "SELECT actor, action FROM audit WHERE object = 'rebuild' ORDER BY id DESC LIMIT 3"
    done = [tuple(row) for row in await rows(small.database, audit)]
    assert done == [(of_operator(), action) for action in ("forgotten", "reverted", "rebuilt")]
    assert await small.rebuild() == EQUAL
    assert [row for row in (await small.facts())["timeline"] if "10" in row]


async def test_what_nobody_can_tell_apart_from_the_log_stays_untouched(
    small: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await small.versions()
    assert await small.rebuild() == EQUAL
    assert "Equal: what is served is what the log says. Nothing was changed" in report(capsys)
    assert await small.versions() == before
    assert not await small.kept()
    assert await small.rebuild(revert=True) == REFUSED


async def test_nothing_is_lost_and_nothing_counts_twice_while_people_go_on(servers: Servers) -> None:
    """Traffic, reads and rulings all the time, through an exchange, a revert, and another exchange."""
    async with world(servers) as busy:
        posted = [page("0", 0, user="u1")]
        await busy.tell(*posted)
        going = True

        async def visit(number: int) -> None:
            random = Random(number)
            while going:
                minutes = len(posted) % 1_400
                life = [
                    page(f"{number}-{len(posted)}-{each}", minutes, user=f"u{random.randrange(12)}")
                    for each in range(3)
                ]
                life.append(
                    identify(
                        f"{number}-{len(posted)}-i",
                        minutes,
                        user=f"u{random.randrange(12)}",
                        anonymous=f"a{random.randrange(20)}",
                    )
                )
                posted.extend(life)
                await busy.post(*life, *life[:2])
                shown = await busy.service.ask(f"user_id:u{random.randrange(12)}")
                assert shown.status_code in (200, 404), shown.text
                await asyncio.sleep(0.02)

        visitors = [asyncio.create_task(visit(number)) for number in range(2)]
        try:
            await asyncio.sleep(1)
            for step in ({}, {"revert": True}, {"forget": True}, {}):
                await busy.run("UPDATE fragment SET state = '{\"channels\": {\"web\": 1000}}' WHERE value = 'u1'")
                assert await busy.rebuild(**step) == EQUAL
                await asyncio.sleep(0.3)
        finally:
            going = False
        await asyncio.gather(*visitors)
        await busy.settled()

        counted = {
            row.value: decoded(row.state).count
            for row in await rows(busy.database, "SELECT value, state::text FROM fragment WHERE kind = 'user_id'")
        }
        wanted = [each.data.user_id for each in posted]
        assert counted == {user: wanted.count(user) for user in set(wanted)}
        assert len((await busy.facts())["timeline"]) == len(posted)
        for user in set(wanted):
            assert (await busy.service.view(f"user_id:{user}"))["version"] > 0
        await busy.rebuild(forget=True)
        assert await busy.rebuild(dry_run=True) == EQUAL


async def test_a_ruling_that_was_made_meanwhile_holds(own: World) -> None:
    await own.run("UPDATE fragment SET state = '{}' WHERE value = 'desk'")
    assert await own.rebuild(dry_run=True) == DIFFERENT
    body = {"identifier": "anonymous_id:tablet", "from": "user_id:ayse", "why": "shared tablet"}
    answer = await own.service.client.post("/v1/identities/unmerge", json=body, auth=(SECRET, ""))
    assert answer.status_code == 200, answer.text
    apart = await own.facts()
    assert await own.rebuild() == EQUAL
    assert (await own.facts())["identifier"] == apart["identifier"]


# --- where the log no longer reaches back ----------------------------------------------------------------------------

AS_FAR = ", as far as it reaches back; what it no longer tells is as it was"

LATER = (
    page("20", 200, anonymous="tablet"),
    identify("21", 210, user="ayse", anonymous="phone", traits={"plan": "free"}),
    page("22", 220, user="zeynep"),
)


async def test_what_the_log_no_longer_tells_is_kept_and_said(own: World, capsys: pytest.CaptureFixture[str]) -> None:
    await own.cut()
    await own.tell(*LATER, LIFE[2])
    served = await own.facts()
    report(capsys)
    assert await own.rebuild() == EQUAL
    told = report(capsys)
    assert any(line.startswith("The log no longer reaches back: it begins at 2026-03-01") for line in told), told
    assert any("touchpoints of 5 identifiers" in line for line in told), told
    assert f"Equal: what is served is what the log says{AS_FAR}. Nothing was changed" in told
    assert await own.facts() == served

    await own.run(
        "DELETE FROM timeline WHERE touchpoint_id = '22'", "UPDATE fragment SET state = '{}' WHERE value = 'zeynep'"
    )
    assert await own.rebuild() == EQUAL, "of whom the log tells all, it is believed"
    assert await own.facts() == served
    await own.tell(page("23", 230, user="ayse"), LIFE[2])
    assert (await own.service.view("user_id:ayse"))["touchpoints"]["count"] == 6 + 2 + 1


async def test_one_person_keeps_what_the_log_no_longer_tells(own: World, capsys: pytest.CaptureFixture[str]) -> None:
    await own.cut()
    await own.tell(*LATER)
    served = await own.facts()
    await own.run("DELETE FROM timeline WHERE touchpoint_id = '21'")
    assert await own.rebuild(person=AYSE) == EQUAL
    told = report(capsys)
    assert any(line.startswith("The log no longer reaches back") for line in told), told
    assert f"Replaced by what the log says{AS_FAR}" in told
    assert await own.facts() == served
    assert await own.rebuild(person=AYSE, dry_run=True) == EQUAL
    audit = "SELECT actor, object FROM audit WHERE action = 'rebuilt' AND object <> 'rebuild'"
    assert [tuple(row) for row in await rows(own.database, audit)] == [(of_operator(), "profiles/user_id:ayse")]
    assert f"Equal: what is served of this person is what the log says{AS_FAR}" in report(capsys)


async def test_of_whom_nobody_knows_it_is_said_that_nobody_does(
    small: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for ghost in (Identifier("user_id", "ghost"), Identifier("user_id", "null")):
        for dry_run in (True, False):
            report(capsys)
            assert await small.rebuild(person=ghost, dry_run=dry_run) == REFUSED
            told = report(capsys)
            assert told[-1].startswith("nobody is known by that name"), told
            assert not any("qual" in line for line in told), told


async def test_a_revert_or_a_forget_to_try_out_is_none(small: World) -> None:
    await small.run("DELETE FROM fragment WHERE value = 'desk'")
    assert await small.rebuild() == EQUAL
    served, before = await small.facts(), await small.facts("profile_before")
    assert await small.rebuild(revert=True, dry_run=True) == REFUSED
    assert await small.rebuild(forget=True, dry_run=True) == REFUSED
    assert (await small.facts(), await small.facts("profile_before")) == (served, before)


async def test_a_revert_whose_touchpoints_are_gone_is_refused(own: World, capsys: pytest.CaptureFixture[str]) -> None:
    await own.run("DELETE FROM edge")
    assert await own.rebuild() == EQUAL
    await own.tell(*LATER)
    await own.cut()
    served = await own.facts()
    assert await own.rebuild(revert=True) == REFUSED
    assert any("what is between is gone" in line for line in report(capsys))
    assert await own.facts() == served


async def test_what_was_too_old_when_it_came_is_left_out_and_nothing_that_was_not(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    """However much later it is rebuilt; and what nobody can read is counted."""
    async with world(servers) as small:
        noon = small.service.hands.now
        old = page("old", 100, user="zeynep", received_at=noon - timedelta(days=36))
        await small.write(*LIFE, old, b"{", page("now", 100, user="zeynep"), at=noon)
        await small.settled()
        assert len((await small.facts())["timeline"]) == len(LIFE) + 1
        small.service.hands.now += timedelta(days=60)
        assert await small.rebuild(dry_run=True) == EQUAL
    told = report(capsys)
    assert any("  1 were older than duplicates are known for" in line for line in told), told
    assert any("  1 could not be read" in line for line in told), told


async def test_what_was_sent_twice_is_counted_as_repeated(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    """At once or later, of everybody or of one: each record but the first of its name."""
    async with world(servers) as own:
        await own.service.tell(*LIFE, *LIFE, key="together")
        await own.settled()
        await own.service.tell(*LIFE[:2], key="later")
        await own.settled()
        ayse = [each for each in LIFE if each.id in ("1", "2", "3", "4", "5", "6", "7")]
        report(capsys)
        assert await own.rebuild(dry_run=True) == EQUAL
        assert f"{2 * len(LIFE) + 2} records read: {len(LIFE)} touchpoints, {len(LIFE) + 2} repeated" in report(capsys)
        assert await own.rebuild(person=AYSE, dry_run=True) == EQUAL
        told = report(capsys)
        assert any(line.endswith(f": {len(ayse)} touchpoints, {len(ayse) + 2} repeated") for line in told), told


async def test_a_name_that_two_people_share_counts_for_whom_it_counted(
    own: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """One source gave one message id twice, and the log no longer has the first."""
    await own.tell(page("shared", 80, user="ayse"))
    await own.cut()
    own.service.hands.now += timedelta(days=1)
    second = page("shared", 1_500, user="zeynep", received_at=own.service.hands.now)
    await own.tell(*LATER, second, page("24", 1_510, user="zeynep"))
    served = await own.facts()
    assert [row[3] for row in served["timeline"] if "zeynep" in row] == ["22", "24"]
    zeynep = Identifier("user_id", "zeynep")
    assert await own.rebuild(person=zeynep, dry_run=True) == EQUAL
    assert await own.rebuild(dry_run=True) == EQUAL, report(capsys)

    await own.run("UPDATE fragment SET state = '{}' WHERE value = 'zeynep'")
    assert await own.rebuild(person=zeynep) == EQUAL
    assert await own.facts() == served
    await own.run("UPDATE fragment SET state = '{}' WHERE value = 'zeynep'")
    assert await own.rebuild() == EQUAL
    assert await own.facts() == served


@pytest.mark.parametrize(
    ("firsts", "live", "log", "cut"),
    [
        ({0: 0, 1: 0}, START, START, False),
        ({0: 0, 1: 7}, START, START, True),
        ({0: 0, 1: 0}, START, after(1), True),  # the topic was made anew
        ({0: 0, 1: 0}, START, None, True),
        ({0: 0, 1: 0}, None, None, False),
    ],
)
def test_a_log_that_begins_later_than_what_is_known_is_cut(
    firsts: dict[int, int], live: datetime | None, log: datetime | None, cut: bool
) -> None:
    assert is_cut(firsts, live, log) == cut


def test_clocks_that_are_apart_make_no_repetition() -> None:
    assert not is_repetition(after(60), None)
    assert not is_repetition(after(60), after(61))
    assert not is_repetition(after(60), after(56)), "who absorbs is behind who receives"
    assert is_repetition(after(60), after(50))


# --- one person ------------------------------------------------------------------------------------------------------


async def test_one_person_is_made_anew_and_nobody_else_touched(
    small: World, capsys: pytest.CaptureFixture[str]
) -> None:
    right, seen = await small.facts(), await small.service.view("user_id:ayse")
    await small.run(
        "UPDATE fragment SET state = '{\"channels\": {\"web\": 99}}' WHERE value IN ('ayse', 'desk')",
        "DELETE FROM edge WHERE member_value = 'tablet'",
        "DELETE FROM timeline WHERE touchpoint_id = '3'",
        "UPDATE identifier SET profile_id = NULL, owner_kind = NULL, owner_value = NULL, claimed_at = NULL, "
        "claimed_id = NULL WHERE value = 'tablet'",
    )
    before = await small.versions()
    report(capsys)
    assert await small.rebuild(person=AYSE, dry_run=True) == DIFFERENT
    assert "timeline: 0 rows only served, 1 only rebuilt, 0 different" in report(capsys)
    assert await small.versions() == before

    assert await small.rebuild(person=AYSE) == EQUAL
    await small.settled()
    mended = await small.facts()
    assert mended["timeline"] == right["timeline"]
    assert mended["identifier"] == right["identifier"]
    assert [row for row in mended["edge"] if "ayse" in row] == [row for row in right["edge"] if "ayse" in row]
    assert [row for row in mended["fragment"] if row[1] == "desk"] != [
        row for row in right["fragment"] if row[1] == "desk"
    ]
    view = await small.service.view("anonymous_id:tablet")
    assert {**view, "version": 0, "stage": 0} == {**seen, "version": 0, "stage": 0}
    later = await small.versions()
    assert all(later[id] >= version for id, version in before.items())
    again = await small.versions()
    assert await small.rebuild(person=AYSE) == EQUAL
    assert await small.versions() == again


async def test_one_person_s_computed_traits_are_made_anew_and_their_group_hears_nothing_twice(crowd: World) -> None:
    await crowd.tell(*COMPANY, order("g6", 150, 1_000, user="mert"))
    right = await crowd.facts()
    await crowd.run("UPDATE computed_part SET state = '{}' WHERE value = 'mert'")
    assert await crowd.rebuild(person=Identifier("user_id", "mert")) == EQUAL
    await crowd.settled()
    assert await crowd.facts() == right
    assert (await crowd.service.view("user_id:mert"))["computed"]["largest"] == 1_000


async def test_everybody_one_by_one_is_the_same_as_all_at_once(crowd: World) -> None:
    """Whoever is there after all that the examples above have told."""
    await crowd.tell(*COMPANY)
    served = await crowd.facts()
    await crowd.run(
        "UPDATE fragment SET state = '{}'",
        "UPDATE computed_part SET state = '{}'",
        "DELETE FROM timeline WHERE touchpoint_id > 'a'",
        "DELETE FROM presence",
    )
    for kind, value, *_ in served["fragment"]:
        assert await crowd.rebuild(person=Identifier(kind, value)) == EQUAL
    assert await crowd.facts() == served


# --- interrupted -----------------------------------------------------------------------------------------------------


async def test_an_interrupted_rebuild_goes_on_where_it_was(
    own: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await own.tell(*(page(f"p-{number}", number, user=f"p{number}") for number in range(60)))
    served = await own.facts()
    await own.run("DELETE FROM fragment")
    applied = 0
    really = Replay._apply

    async def breaks(self: Replay, *rest: Any) -> None:
        nonlocal applied
        if applied == 2:
            raise OSError("the operator's machine goes to sleep")
        applied += 1
        await really(self, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Replay, "_apply", breaks)
        assert await own.rebuild() == REFUSED
    assert any("goes on from here" in line for line in report(capsys))
    begun = len((await own.facts("profile_shadow"))["timeline"])
    assert 0 < begun < 60 + len(LIFE)

    assert await own.rebuild() == EQUAL
    read = next(line for line in report(capsys) if "records read" in line)
    assert read.startswith(f"{60 + len(LIFE) - begun} records read")
    assert await own.facts() == served


async def test_views_follow_though_the_operator_was_cut_off_right_after_the_exchange(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small.run("UPDATE fragment SET state = '{}' WHERE value = 'desk'", MARK_ALL)

    async def breaks(*_: object) -> None:
        raise OSError("the line is cut")

    with monkeypatch.context() as patched:
        patched.setattr(whole, "follow", breaks)
        assert await small.rebuild() == REFUSED
    await small.settled()
    assert (await small.service.view("anonymous_id:desk"))["touchpoints"]["count"] == 0
    assert await small.rebuild(forget=True) == EQUAL
    await small.settled()
    assert (await small.service.view("anonymous_id:desk"))["touchpoints"]["count"] == 1


async def test_whoever_follows_crowds_out_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "AT_ONCE", 10)
    mark, marked = profiles.mark, list[int]()

    async def noted(work: Work, ids: Collection[str], now: datetime) -> dict[str, int]:
        marked.append(len(ids))
        return await mark(work, ids, now)

    await happened(database, [page(f"cr{number}", number, user=f"cr{number}") for number in range(13)])
    await published(database)
    async with database.begin() as work:
        await work.exec_driver_sql("CREATE TABLE changed AS SELECT kind, value FROM identifier")

    monkeypatch.setattr(profiles, "mark", noted)
    following_on = asyncio.create_task(following.follow(database, "profile", Hands()))
    try:
        await until(lambda: len(marked) > 2)
        assert marked[0] == 10
        assert max(marked[1:]) <= 1, "one at a time, while ten wait; none, where one is nobody's"
        await published(database)
        await following_on
        await published(database)
    finally:
        following_on.cancel()
        async with database.begin() as work:
            await work.exec_driver_sql("DROP TABLE changed")
    versions = {row.version for row in await rows(database, "SELECT version FROM profile")}
    assert versions == {2}, "each once"


async def test_afresh_forgets_what_was_begun(small: World) -> None:
    served = await small.facts()
    await small.run("DELETE FROM fragment")
    assert await small.rebuild(dry_run=True) == DIFFERENT
    await small.run("DELETE FROM profile_shadow.fragment")
    assert await small.rebuild(afresh=True) == EQUAL
    assert await small.facts() == served
