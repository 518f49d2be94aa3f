"""Computed traits on real servers: defined before and after the events, while they come, and while things go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from services.profile.domain.computed.definitions import Formula
from services.profile.errors import TooManyComputed
from services.profile.schemas.computed import ComputedBody, ComputedFormula, ComputedOfPerson, ComputedPage
from services.profile.service import defining
from services.profile.service.absorbing import Profiles
from services.profile.service.defined import Definitions
from services.profile.service.defining import Defining
from services.profile.service.filling import Filling
from services.profile.service.publishing import Publications
from services.profile.store import partitions
from services.profile.upkeep import ComputedFiller
from shared.db import Database, Work
from shared.events import Touchpoint, View
from tests.builders import Json, after
from tests.profile.database import ROOMY, emptied, id_of, now, rows, rule
from tests.profile.lives import identify, page, touchpoint
from tests.profile.service import NOON, Service
from tests.waiting import until

BUY = {"name": "Purchases", "event": "Bought", "aggregate": "count"}


def bought(id: str, minutes: float = 0, **rest: Any) -> Touchpoint:
    return touchpoint(id, minutes, "Bought", properties={"price": 2.5}, **rest)


# --- over HTTP -------------------------------------------------------------------------------------------------------


async def put(service: Service, trait: str, body: Json) -> Json:
    answer = await service.send("PUT", f"/v1/computed/{trait}", json=body)
    assert answer.status_code == 200, answer.text
    said: Json = answer.json()
    return said


async def ready(service: Service, trait: str) -> Json:
    """The definition, once it is ready."""

    async def look() -> Json | None:
        said: Json = (await service.send("GET", f"/v1/computed/{trait}")).json()
        return said if said["status"] == "ready" else None

    found = await until(look)
    assert found is not None
    return found


async def test_it_is_counted_from_history_and_from_then_on(service: Service) -> None:
    await service.shows("user_id:hi-u", *(bought(f"hi-{each}", each, user="hi-u") for each in range(3)))
    said = await put(service, "hi_buys", {**BUY, "filter": "properties.price > 2.0"})
    assert (said["status"], said["shown_revision"], said["complete_from"]) == ("filling", None, None)
    done = await ready(service, "hi_buys")
    assert done["progress"]["share"] == 1
    assert done["progress"]["touchpoints_counted"] == 3
    assert done["shown_revision"] == done["revision"]
    await service.becomes("user_id:hi-u", "computed.hi_buys", 3)
    seen = await service.shows("user_id:hi-u", bought("hi-9", 9, user="hi-u"))
    assert seen["computed"]["hi_buys"] == 4
    assert (await service.shows("user_id:hi-new", page("hi-p", user="hi-new")))["computed"]["hi_buys"] == 0


async def test_a_segment_may_ask_for_it(service: Service) -> None:
    await put(service, "se_spent", {**BUY, "aggregate": "sum", "property": "price"})
    rule = {"name": "Spenders", "rule": "computed.se_spent >= 5.0"}
    assert (await service.send("PUT", "/v1/segments/se-spenders", json=rule)).status_code == 200
    await ready(service, "se_spent")
    seen = await service.shows("user_id:se-u", bought("se-1", user="se-u"))
    assert (seen["computed"]["se_spent"], seen["segments"]) == (2.5, [])
    seen = await service.shows("user_id:se-u", bought("se-2", 1, user="se-u"))
    assert [each["id"] for each in seen["segments"]] == ["se-spenders"]


async def test_each_event_counts_once_whenever_it_came(service: Service) -> None:
    """Defined again and again while events come: what history and the stream both see counts once."""
    people = [f"on-{each}" for each in range(5)]
    life = [bought(f"on-{each}", each, user=people[each % 5]) for each in range(400)]

    async def live() -> None:
        for start in range(0, len(life), 10):
            await service.tell(*life[start : start + 10])
            await asyncio.sleep(0.01)

    async def define() -> None:
        for number in range(8):
            await put(service, "on_buys", {**BUY, "filter": f"properties.price > {number / 10}"})
            await asyncio.sleep(0.1)

    await asyncio.gather(live(), define())
    await ready(service, "on_buys")
    for person in people:
        await service.becomes(f"user_id:{person}", "computed.on_buys", 80)
    assert (await service.shows("user_id:on-0", bought("on-last", user="on-0")))["computed"]["on_buys"] == 81


async def test_one_person_s_are_told_with_their_names_and_whether_they_are_exact(service: Service) -> None:
    await put(service, "ex_pages", {"name": "Pages", "event": "Seen", "aggregate": "distinct", "property": "page"})
    await ready(service, "ex_pages")

    async def told() -> Json:
        answer = await service.send("GET", "/v1/profiles/user_id:ex-u/computed")
        assert answer.status_code == 200, answer.text
        (found,) = [each for each in answer.json()["computed"] if each["id"] == "ex_pages"]
        return dict(found)

    def seen(first: int, last: int) -> list[Touchpoint]:
        numbers = range(first, last)
        return [touchpoint(f"ex-{each}", 0, "Seen", properties={"page": each}, user="ex-u") for each in numbers]

    await service.shows("user_id:ex-u", *seen(0, 1000))
    few = await told()
    assert (few["name"], few["value"], few["exact"], few["window_days"]) == ("Pages", 1000, True, None)
    await service.shows("user_id:ex-u", *seen(1000, 3000))
    many = await told()
    assert (many["value"], many["exact"]) == (pytest.approx(3000, rel=0.15), False)
    missing = await service.send("GET", "/v1/profiles/user_id:ex-nobody/computed")
    assert (missing.status_code, missing.json()["code"]) == (404, "profile_not_found")


async def test_a_new_name_is_no_new_definition(service: Service) -> None:
    first = await put(service, "na_buys", BUY)
    await ready(service, "na_buys")
    second = await put(service, "na_buys", {**BUY, "name": "What they bought"})
    assert (second["name"], second["revision"]) == ("What they bought", first["revision"])
    assert second["status"] == "ready"


async def test_a_deleted_one_leaves_the_views(service: Service) -> None:
    await put(service, "de_buys", BUY)
    await ready(service, "de_buys")
    assert (await service.shows("user_id:de-u", bought("de-1", user="de-u")))["computed"]["de_buys"] == 1
    assert (await service.send("DELETE", "/v1/computed/de_buys")).status_code == 204
    await service.becomes("user_id:de-u", "computed.de_buys", None)
    assert "de_buys" not in (await service.view("user_id:de-u"))["computed"]
    for method in ("GET", "DELETE"):
        answer = await service.send(method, "/v1/computed/de_buys")
        assert (answer.status_code, answer.json()["code"]) == (404, "computed_not_found")
    await put(service, "de_buys", BUY)
    await ready(service, "de_buys")
    await service.becomes("user_id:de-u", "computed.de_buys", 1)


async def test_they_are_listed_by_id(service: Service) -> None:
    for trait in ("li_b", "li_a", "li_c"):
        await put(service, trait, BUY)
    listed: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await service.send("GET", "/v1/computed", params=query)).json()
        listed += [each["id"] for each in page["computed"]]
        cursor = page["next"]
    assert listed == sorted(set(listed))
    assert [each for each in listed if each.startswith("li_")] == ["li_a", "li_b", "li_c"]


@pytest.mark.parametrize(
    ("trait", "change", "status", "code", "path"),
    [
        ("order_count", {}, 409, "computed_reserved", "trait_id"),
        ("last_touchpoint_at", {}, 409, "computed_reserved", "trait_id"),
        ("Big", {}, 422, "invalid_request", "path.trait_id"),
        ("a" * 65, {}, 422, "invalid_request", "path.trait_id"),
        ("re_x", {"aggregate": "median"}, 422, "invalid_request", "body.aggregate"),
        ("re_x", {"aggregate": "sum"}, 422, "invalid_request", "body"),
        ("re_x", {"property": "price"}, 422, "invalid_request", "body"),
        *(
            ("re_x", {"aggregate": "sum", "property": property}, 422, "invalid_request", "body.property")
            for property in ("a..b", ".", ".a", "a.", " total ", "a. b", " ")
        ),
        ("re_x", {"window_days": 367}, 422, "invalid_request", "body.window_days"),
        ("re_x", {"window_days": 0}, 422, "invalid_request", "body.window_days"),
        ("re_x", {"event": "a\0b"}, 422, "invalid_request", "body.event"),
        ("re_x", {"filter": "properties.price >"}, 422, "rule_refused", "filter"),
        ("re_x", {"filter": "traits.plan == 'pro'"}, 422, "rule_refused", "filter"),
        ("re_x", {"filter": "properties.sku.matches('[')"}, 422, "rule_refused", "filter"),
        ("re_x", {"every": "day"}, 422, "invalid_request", "body.every"),
    ],
)
async def test_what_can_not_be_computed_is_refused(
    service: Service, trait: str, change: Json, status: int, code: str, path: str
) -> None:
    answer = await service.send("PUT", f"/v1/computed/{trait}", json={**BUY, **change})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["details"][0]["path"] == path
    assert (await service.send("GET", "/v1/computed/re_x")).status_code == 404


@pytest.mark.parametrize("body", [ComputedFormula, ComputedBody, ComputedPage, ComputedOfPerson])
def test_the_examples_in_the_documentation_are_what_they_say(body: type[BaseModel]) -> None:
    extra: Any = body.model_config["json_schema_extra"]
    example = extra["example"]
    assert body.model_validate(example).model_dump().keys() >= example.keys()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, "computed/x") for method in ("PUT", "GET", "DELETE")),
        *(("GET", path) for path in ("computed", "profiles/user_id:u/computed")),
    ],
)
async def test_every_route_needs_the_secret_key(service: Service, method: str, path: str) -> None:
    assert (await service.client.request(method, f"/v1/{path}")).status_code == 401


# --- a step at a time ------------------------------------------------------------------------------------------------


class Bench:
    """The use cases around one database, each called by hand."""

    def __init__(self, database: Database, batch: int = 3, marks: int = 100) -> None:
        self.database = database
        self.time = now()
        clock = lambda: self.time  # noqa: E731 - a test sets it
        current = Definitions(UTC)
        self.profiles = Profiles(limits=ROOMY, zone=UTC, clock=clock)
        self.publications = Publications(clock)
        self.defining = Defining(current, clock)
        self.filling = Filling(current, clock, batch=batch, marks=marks)
        self.filler = ComputedFiller(filling=self.filling, database=database)

    async def absorb(self, *batch: Touchpoint) -> None:
        await self.database.retrying(lambda work: self.profiles.absorb(batch, work))

    async def define(self, trait: str = "buys", **formula: Any) -> None:
        wanted = Formula(**{"event": "Bought", "aggregate": "count", **formula})
        await self.database.retrying(lambda work: self.defining.save(trait, "Purchases", wanted, "shop:1", work))

    async def delete(self, trait: str = "buys") -> None:
        await self.database.retrying(lambda work: self.defining.delete(trait, "shop:1", work))

    async def fill(self) -> None:
        while await self.filler.fill():
            pass

    async def phase(self, trait: str = "buys") -> str:
        return (await self.database.retrying(lambda work: self.defining.get(trait, work))).phase

    async def views(self) -> dict[str, View]:
        """What is published now, by profile id."""
        found: dict[str, View] = {}
        while True:
            async with self.database.begin() as claim:
                claimed = await self.publications.claim(100, claim)
                if not claimed:
                    return found
                told = await self.database.retrying(partial(self.publications.write, claimed))
                await self.publications.confirm(told, claim)
            found |= {each.view.profile_id: each.view for each in told.publications}

    async def value(self, person: str, trait: str = "buys") -> Any:
        """What the person's view says, after all that waits was published."""
        await self.views()
        (found,) = await rows(
            self.database, f"SELECT CAST(body AS text) AS body FROM view WHERE profile_id = '{id_of(person)}'"
        )
        return msgspec.json.decode(found.body, type=View).computed.get(trait)


@pytest.fixture
async def bench(database: Database) -> Bench:
    return Bench(database)


async def test_a_chunk_that_fails_counts_nothing_twice(bench: Bench) -> None:
    await bench.absorb(*(bought(f"m{each}", each, user=f"u{each % 3}") for each in range(20)))
    await bench.define()
    failures = 0
    while await bench.phase() != "ready":
        with pytest.raises(RuntimeError):
            await bench.database.retrying(_dies(bench.filling))
        failures += 1
        await bench.filler.fill()
    assert failures > 20 / 3
    assert [await bench.value(f"user_id:u{each}") for each in range(3)] == [7, 7, 6]


def _dies(filling: Filling) -> Callable[[Work], Awaitable[None]]:
    """A step that has done everything, and dies before it commits."""

    async def step(work: Work) -> None:
        await filling.step(work)
        raise RuntimeError("it dies")

    return step


async def test_a_definition_waits_for_the_batches_that_do_not_know_it(bench: Bench) -> None:
    """Or history would be read before they are part of it."""
    async with bench.database.begin() as work:
        await bench.profiles.absorb([bought("m1", user="u")], work)
        saving = asyncio.create_task(bench.define())
        done, _ = await asyncio.wait({saving}, timeout=0.5)
        if done:
            await bench.fill()
    await saving
    await bench.fill()
    assert await bench.value("user_id:u") == 1


async def test_what_is_being_published_shows_one_revision_and_not_a_bit_of_the_next(bench: Bench) -> None:
    await bench.absorb(bought("m1", user="u"))
    await bench.define()
    await bench.fill()
    await bench.define(filter="properties.price > 0.0")
    async with bench.database.begin() as work:
        before = (await bench.publications.definitions.current(work)).shown
        filling = asyncio.create_task(bench.fill())
        await asyncio.wait({filling}, timeout=0.5)
        kept = await rows(bench.database, "SELECT revision FROM computed_part ORDER BY revision")
        assert before[0].revision in [row.revision for row in kept], "what shows is still there"
        assert (await bench.publications.definitions.current(work)).shown == before
    await filling
    assert await bench.value("user_id:u") == 1


async def test_whoever_finishes_filling_never_holds_what_somebody_who_absorbs_waits_for(database: Database) -> None:
    """Each would wait for the other, until PostgreSQL sees it and one of them does all its work again."""
    bench = Bench(database, batch=1000)
    await bench.absorb(bought("m1", user="u"))
    await bench.define()
    async with database.begin() as work:
        await bench.profiles.definitions.current(work)
        filling = asyncio.create_task(bench.fill())
        await asyncio.wait({filling}, timeout=1.5)  # longer than PostgreSQL waits before it looks
        await bench.profiles.absorb([bought("m2", 1, user="u")], work)
    await filling
    assert await bench.value("user_id:u") == 2


async def test_two_processes_that_fill_count_nothing_twice(bench: Bench) -> None:
    await bench.absorb(*(bought(f"m{each}", each, user=f"u{each % 3}") for each in range(60)))
    await bench.define()
    await bench.define("spent", aggregate="sum", property="price")
    await asyncio.gather(bench.fill(), Bench(bench.database).fill(), Bench(bench.database).fill())
    await bench.fill()
    assert [await bench.value(f"user_id:u{each}") for each in range(3)] == [20, 20, 20]
    assert await bench.value("user_id:u1", "spent") == 50


async def test_a_revision_is_never_half_visible(bench: Bench) -> None:
    """The one before shows, and goes on counting, until the new one is whole."""
    await bench.absorb(*(bought(f"m{each}", each, user="u", channel="web") for each in range(10)))
    await bench.absorb(*(bought(f"s{each}", each, user="u", channel="store") for each in range(5)))
    await bench.define()
    assert await bench.value("user_id:u") is None
    await bench.fill()
    assert await bench.value("user_id:u") == 15

    await bench.define(filter="channel == 'web'")
    of_the_past: list[int] = []
    while await bench.phase() != "ready":
        number = len(of_the_past) + 1
        await bench.absorb(bought(f"n{number}", number, user="u"))
        of_the_past.append(await bench.value("user_id:u") - number)
        await bench.filler.fill()
    switch = of_the_past.index(10)
    assert switch > 3
    assert of_the_past == [15] * switch + [10] * (len(of_the_past) - switch)
    await bench.fill()
    assert [row.revision for row in await rows(bench.database, "SELECT DISTINCT revision FROM computed_part")] == [3]
    assert len(await rows(bench.database, "SELECT 1 FROM computed_definition")) == 1


async def test_a_definition_that_changes_while_it_fills_begins_anew(bench: Bench) -> None:
    await bench.absorb(*(bought(f"m{each}", each, user="u") for each in range(10)))
    await bench.define()
    await bench.filler.fill()
    await bench.define(filter="properties.price > 3.0")
    await bench.absorb(bought("m10", user="u"))
    await bench.define(aggregate="sum", property="price")
    await bench.fill()
    assert await bench.value("user_id:u") == 11 * 2.5
    assert len(await rows(bench.database, "SELECT 1 FROM computed_part")) == 1


async def test_what_is_deleted_leaves_nothing(bench: Bench) -> None:
    await bench.absorb(*(bought(f"m{each}", each, user=f"u{each}") for each in range(7)))
    await bench.define()
    await bench.fill()
    assert await bench.value("user_id:u6") == 1
    await bench.delete()
    await bench.absorb(bought("late", user="u6"))
    await bench.fill()
    assert len(await bench.views()) == 7
    assert await bench.value("user_id:u6") is None
    assert await rows(bench.database, "SELECT 1 FROM computed_part") == []
    assert await rows(bench.database, "SELECT 1 FROM computed_definition") == []


async def test_those_who_follow_do_not_crowd_out_the_rest(database: Database) -> None:
    """Everybody's view follows a new definition; but only so many wait at a time, whoever else is to be told."""
    bench = Bench(database, batch=1000, marks=20)
    await bench.absorb(*(bought(f"m{each}", each, user=f"u{each}") for each in range(60)))
    await bench.views()
    await bench.define()
    while await bench.phase() == "filling":
        await bench.filler.fill()

    async def waiting() -> int:
        ((number,),) = await rows(database, "SELECT count(*) FROM mark")
        return int(number)

    assert [bool(await bench.filler.fill()), await waiting()] == [True, 20]
    assert [bool(await bench.filler.fill()), await waiting()] == [False, 21], "a little, so that it ends under any load"
    while await bench.phase() != "ready":
        assert await waiting() <= 21
        await bench.views()
        await bench.filler.fill()
    assert {view.computed["buys"] for view in (await bench.views()).values()} <= {1}
    assert [await bench.value(f"user_id:u{each}") for each in range(60)] == [1] * 60


async def test_merging_and_splitting_moves_no_count(bench: Bench) -> None:
    await bench.define(aggregate="distinct", property="page", event="Seen")
    await bench.define("sum", aggregate="sum", property="price")
    await bench.fill()
    for who, pages in (({"anonymous": "a"}, (1, 2, 3)), ({"user": "u"}, (3, 4))):
        for each in pages:
            life = touchpoint(f"s-{who}-{each}", each, "Seen", properties={"page": each}, **who)
            await bench.absorb(life, bought(f"b-{who}-{each}", each, **who))

    async def both(person: str) -> Sequence[Any]:
        return [await bench.value(person), await bench.value(person, "sum")]

    apart = [await both("user_id:u"), await both("anonymous_id:a")]
    assert apart == [[2, 5], [3, 7.5]]
    await bench.absorb(identify("login", 10, user="u", anonymous="a"))
    assert await both("user_id:u") == [4, 12.5]
    await rule(bench.database, "split", "anonymous_id:a", "user_id:u")
    assert [await both("user_id:u"), await both("anonymous_id:a")] == apart


async def test_a_window_slides_with_no_event(bench: Bench) -> None:
    bench.time = after(days=20)
    await bench.absorb(*(bought(f"m{day}", day * 24 * 60, user="u") for day in range(20)))
    await bench.define(window_days=7)
    await bench.fill()
    assert await bench.value("user_id:u") == 6, "of seven days, today among them: and today has none yet"
    kept = (await rows(bench.database, "SELECT CAST(state AS text) AS state FROM computed_part"))[0].state
    assert kept.count(":") == 6, "nor is more kept"
    bench.time = after(days=22)
    await bench.absorb(page("today", 22 * 24 * 60, user="u"))
    assert await bench.value("user_id:u") == 4


async def test_what_retention_removed_is_told(bench: Bench) -> None:
    bench.time = after(days=30)
    await bench.absorb(*(bought(f"m{day}", day * 24 * 60, user="u") for day in range(30)))
    await bench.database.retrying(lambda work: partitions.remove_before(work, after(days=20)))
    await bench.database.retrying(_drop_old)
    await bench.define()
    await bench.define("lately", window_days=5)
    await bench.fill()
    about = {
        trait: (await bench.database.retrying(partial(bench.defining.get, trait))).complete_from
        for trait in ("buys", "lately")
    }
    assert about == {"buys": after(days=20), "lately": None}
    assert [await bench.value("user_id:u"), await bench.value("user_id:u", "lately")] == [10, 4]
    await bench.absorb(bought("late", 24 * 60, user="u"))
    assert await bench.value("user_id:u") == 11, "what comes late is not in the timeline, and counts"


async def _drop_old(work: Work) -> None:
    await work.exec_driver_sql("DELETE FROM timeline WHERE at < '2026-03-21 10:00:00+00'")


async def test_there_is_a_limit_that_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defining, "MOST", 2)
    for trait in ("a", "b", "a"):
        await bench.define(trait, filter=f"name == '{trait}'")
    with pytest.raises(TooManyComputed):
        await bench.define("c")
    await bench.delete("a")
    await bench.define("c")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    defined_at=st.integers(0, 5),
    changed_at=st.integers(0, 5),
    window=st.sampled_from((None, 2)),
)
async def test_live_and_history_together_count_each_event_once(
    shared_database: Database, sizes: list[int], defined_at: int, changed_at: int, window: int | None
) -> None:
    """All at once: batches, definitions, and two who fill."""
    await emptied(shared_database)
    bench, other = Bench(shared_database), Bench(shared_database)
    bench.time = other.time = NOON + timedelta(hours=1)
    life = [bought(f"m{each}", each * 60, user=f"u{each % 3}") for each in range(sum(sizes))]
    batches = [life[sum(sizes[:number]) : sum(sizes[: number + 1])] for number in range(len(sizes))]
    for number, batch in enumerate(batches):
        doing: list[Any] = [bench.absorb(*batch[::2]), other.absorb(*batch[1::2]), bench.filler.fill()]
        doing += [other.filler.fill()]
        if number == defined_at:
            doing.append(bench.define(window_days=window))
        if number == changed_at:
            doing.append(other.define(filter="properties.price < 100.0", window_days=window))
        await asyncio.gather(*doing)
    await bench.define(filter="properties.price > 0.0", window_days=window)
    await asyncio.gather(bench.fill(), other.fill())
    await bench.fill()
    for person in {each.owner for each in life}:
        theirs = [each for each in life if each.owner == person]
        within = [each for each in theirs if window is None or each.at.date() >= bench.time.date() - timedelta(days=1)]
        assert await bench.value(str(person)) == len(within)
