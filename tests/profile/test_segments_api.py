"""Segments on real servers: as time passes, before they are saved, over time, and when they are deleted."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Sequence
from datetime import UTC, timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from services.profile import schemas
from services.profile.domain.counts import KEPT, hour_of
from services.profile.domain.personas import PERSONAS
from services.profile.domain.segments import rule as compiled
from services.profile.errors import SegmentsTooCostly, TooManySegments
from services.profile.service import segments as service_segments
from services.profile.service.background import Sweeping
from services.profile.service.counting import Counting
from services.profile.service.defined import Definitions
from services.profile.service.previewing import CHUNK, Previewing
from services.profile.service.segments import LAST_WORD, Segments
from services.profile.store import profiles
from services.profile.store import segments as segments_store
from shared import topics
from shared.clock import rfc3339
from shared.db import Database, Work
from shared.events import Signalled
from shared.rules import RuleRefused
from tests.builders import Json, after, identified, ordered, touchpoint, viewed
from tests.profile.database import happened, id_of, published, rows
from tests.profile.service import Hands, Service
from tests.waiting import until

DAYS_30 = 'computed.last_order_at < now - duration("720h")'
LOOP = "consent.exists(purpose, purpose == 'news')"
TWO_DAYS = 'computed.order_count > 0 && computed.last_order_at > now - duration("48h")'


async def save(service: Service, segment_id: str, rule: str, name: str = "A test") -> Json:
    answer = await service.send("PUT", f"/v1/segments/{segment_id}", json={"name": name, "rule": rule})
    assert answer.status_code == 200, answer.text
    saved: Json = answer.json()
    return saved


async def signals(service: Service, profile_id: str, segment: str) -> list[str]:
    """What was said of one segment, in its order."""
    found = await service.read(topics.SIGNALS, Signalled, profile_id)
    return [each.data.name for each in found if each.data.attributes.get("segment") == segment]


async def said(service: Service, profile_id: str, segment: str, *names: str) -> None:
    async def look() -> bool:
        return await signals(service, profile_id, segment) == list(names)

    await until(look)


def previewing(most: int) -> Previewing:
    return Previewing(Definitions(UTC), Hands(), most=most)


def ids(view: Json) -> list[str]:
    return [each["id"] for each in view["segments"]]


async def is_in(service: Service, person: str, segment: str, *, inside: bool) -> Json:
    async def look() -> Json | None:
        view = await service.view(person)
        return view if (segment in ids(view)) is inside else None

    seen = await until(look)
    assert seen is not None
    return seen


# --- who is due ------------------------------------------------------------------------------------------------------


async def dues(database: Database) -> dict[str, Any]:
    return {str(row.profile_id): row.due_at for row in await rows(database, "SELECT profile_id, due_at FROM view")}


async def marked(database: Database) -> set[str]:
    return {str(row.profile_id) for row in await rows(database, "SELECT profile_id FROM mark")}


async def test_two_who_sweep_take_each_who_is_due_once_and_nobody_else(database: Database) -> None:
    early = [viewed(user=f"s{number}", at=after(number)) for number in range(20)]
    late = [viewed(user=f"later{number}", at=after(days=2)) for number in range(5)]
    await happened(database, [*early, *late])
    await published(database)
    hands = Hands(after(days=366))
    before = {row.profile_id: row.version for row in await rows(database, "SELECT profile_id, version FROM profile")}
    assert len(await dues(database)) == 25

    sweeping = Sweeping(hands)
    taken = await asyncio.gather(*(database.retrying(lambda work: sweeping.sweep(15, work)) for _ in range(4)))
    taken.append(await database.retrying(lambda work: sweeping.sweep(15, work)))

    due = {id_of(f"user_id:s{number}") for number in range(20)}
    assert await marked(database) <= due
    while await marked(database) != due:  # as many at a time as there is room for
        assert await database.retrying(lambda work: sweeping.sweep(15, work)) > 0
    versions = {row.profile_id: row.version for row in await rows(database, "SELECT profile_id, version FROM profile")}
    assert sum(versions.values()) - sum(before.values()) == 20, "each was marked once"
    assert {id for id, at in (await dues(database)).items() if at is None} == due
    assert await database.retrying(lambda work: sweeping.sweep(15, work)) == 0


async def test_who_waits_because_of_time_does_not_crowd_out_the_rest(database: Database) -> None:
    await happened(database, [viewed(user=f"c{number}", at=after(number)) for number in range(60)])
    await published(database)
    sweeping = Sweeping(Hands(after(days=400)))
    first = await database.retrying(lambda work: sweeping.sweep(40, work))
    second = await database.retrying(lambda work: sweeping.sweep(40, work))
    assert (first, second) == (40, 2)


async def test_who_is_to_be_told_later_takes_nobody_s_room(database: Database) -> None:
    """New scores wait a little. They are no crowd: until then nobody could tell them."""
    await happened(database, [viewed(user=f"r{number}", at=after(number)) for number in range(60)])
    await published(database)
    hands = Hands(after(days=400))
    later = [id_of(f"user_id:r{number}") for number in range(20, 60)]
    await database.retrying(lambda work: profiles.mark_later(work, later, hands.now + timedelta(seconds=1)))
    assert await database.retrying(lambda work: Sweeping(hands).sweep(20, work)) == 20


async def test_a_consumer_that_holds_a_profile_that_is_due_holds_up_no_publication(database: Database) -> None:
    """Whoever looks for the due waits for that consumer; the view must be nobody's meanwhile."""
    await happened(database, [viewed(user="h")])
    await published(database)
    hands, held = Hands(after(days=400)), [id_of("user_id:h")]
    async with database.begin() as consumer:
        await profiles.mark(consumer, held, hands.now)
        sweeping = asyncio.create_task(database.retrying(lambda work: Sweeping(hands).sweep(10, work)))
        await asyncio.wait({sweeping}, timeout=0.5)
        async with database.begin() as publisher:
            free = await publisher.execute(text("SELECT profile_id FROM view FOR NO KEY UPDATE SKIP LOCKED"))
            assert [str(id) for id in free.scalars()] == held
    assert await sweeping == 1
    assert set((await dues(database)).values()) == {None}


async def test_who_is_published_while_somebody_looks_for_the_due_stays_due_when_that_says(database: Database) -> None:
    await happened(database, [viewed(user="pb")])
    await published(database)
    hands, later = Hands(after(days=400)), after(days=500)
    async with database.begin() as publisher:
        await publisher.execute(text("UPDATE view SET due_at = :later"), {"later": later})
        sweeping = asyncio.create_task(database.retrying(lambda work: Sweeping(hands).sweep(10, work)))
        await asyncio.wait({sweeping}, timeout=0.5)
    assert await sweeping == 1
    assert set((await dues(database)).values()) == {later}


async def test_what_moves_with_every_touchpoint_is_only_ever_looked_at_too_early(database: Database) -> None:
    """A year of silence ends later with each touchpoint; a row whose moment stays is cheaper to update."""
    await emptied_segments(database)
    await happened(database, [viewed(user="mv")])
    await published(database)
    ((first,),) = {(at,) for at in (await dues(database)).values()}
    assert first == after(days=365)
    await happened(database, [viewed("Later", user="mv", at=after(60))])
    await published(database)
    assert set((await dues(database)).values()) == {first}
    await happened(database, [ordered(5, user="mv", at=after(61))])
    await published(database)
    assert set((await dues(database)).values()) == {after(61, days=90)}, "earlier is never late"


async def test_a_profile_that_was_absorbed_is_not_due(database: Database) -> None:
    await happened(database, [viewed(anonymous="ab-a")])
    await published(database)
    assert (await dues(database))[id_of("anonymous_id:ab-a")] is not None
    await happened(database, [identified("ab-u", "ab-a", at=after(1))])
    await published(database)
    found = await dues(database)
    assert found[id_of("anonymous_id:ab-a")] is None
    assert found[id_of("user_id:ab-u")] is not None


# --- before it is saved ----------------------------------------------------------------------------------------------


async def ask(service: Service, rule: str, **rest: Any) -> Json:
    answer = await service.send("POST", "/v1/segments/preview", json={"rule": rule, **rest})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def test_a_preview_says_who_will_be_in_it(service: Service) -> None:
    people = [identified(f"pv-{number}", traits={"pv": number}) for number in range(8)]
    await service.shows("user_id:pv-7", *people)
    found = await ask(service, "traits.pv >= 3", limit=2)
    assert (found["count"], found["low"], found["high"], found["exact"]) == (5, 5, 5, True)
    assert found["of"] == found["looked_at"] >= 8
    assert found["unknown"] == found["of"] - 8, "everybody else has no such trait"
    assert found["cost"] > 0
    assert len(found["sample"]) == 2
    names = {each["value"] for person in found["sample"] for each in person["identifiers"]}
    assert names <= {f"pv-{number}" for number in range(3, 8)}

    saved = await save(service, "pv-saved", "traits.pv >= 3")
    assert saved["cost"] == found["cost"]
    await is_in(service, "user_id:pv-7", "pv-saved", inside=True)
    assert (await ask(service, '"pv-saved" in segments'))["count"] == 5
    assert (await service.send("GET", "/v1/segments/pv-saved")).json()["filled"] == 1


async def test_many_are_told_from_a_sample(database: Database) -> None:
    many = 2 * CHUNK + 50
    await happened(database, [identified(f"sm-{number}", traits={"n": number}) for number in range(many)])
    for _ in range(4):  # each time from another place
        seen = await previewing(CHUNK + 30).preview(f"traits.n < {many // 2}", 10_000, database.retrying)
        assert (seen.of, seen.looked_at) == (many, CHUNK + 30)
        assert len({each.profile_id for each in seen.sample}) == seen.held, "nobody is looked at twice"
        assert seen.estimate.low <= seen.estimate.count <= seen.estimate.high
        assert 0 < seen.estimate.low < seen.estimate.high < many
    whole = await previewing(many).preview(f"traits.n < {many // 2}", 3, database.retrying)
    assert (whole.estimate.low, whole.estimate.high, len(whole.sample)) == (many // 2, many // 2, 3)


@pytest.mark.parametrize("path", ["segments/preview", "segments/rf-refused"])
@pytest.mark.parametrize(
    ("rule", "code", "says"),
    [
        ("now.getMinutes() == 3", "rule_refused", "line 1, column 15"),
        ("traits.a.exists(a, traits.a.exists(b, " + " || ".join(["a == b"] * 30) + "))", "rule_too_costly", "250,000"),
        ("traits.a ==", "rule_refused", "line 1"),
        ('computed.last_order_at < now - duration("30d")', "rule_refused", 'line 1, column 41: "30d" is no duration'),
    ],
)
async def test_what_is_refused_is_refused_with_the_reason(
    service: Service, path: str, rule: str, code: str, says: str
) -> None:
    method, body = ("POST", {"rule": rule}) if path.endswith("preview") else ("PUT", {"name": "No", "rule": rule})
    answer = await service.send(method, f"/v1/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert says in answer.json()["message"]
    if code == "rule_too_costly":
        (detail,) = answer.json()["details"]
        assert detail["cost"] > detail["limit"] == 250_000


async def test_no_segment_takes_the_address_of_previews(service: Service) -> None:
    refused = await service.send("PUT", "/v1/segments/preview", json={"name": "No", "rule": "true"})
    assert (refused.status_code, refused.json()["details"][0]["path"]) == (422, "path.segment_id")
    assert "choose another id" in refused.json()["message"]
    assert (await service.send("PATCH", "/v1/segments/preview")).headers["allow"] == "POST"


async def test_a_rule_can_not_name_a_segment_that_no_rule_sees(service: Service) -> None:
    async def refused(segment_id: str, rule: str) -> Json:
        answer = await service.send("PUT", f"/v1/segments/{segment_id}", json={"name": "No", "rule": rule})
        assert (answer.status_code, answer.json()["code"]) == (422, "rule_refused"), answer.text
        (told,) = answer.json()["details"]
        return dict(told)

    await save(service, "un-a", "has(traits.un)")
    await save(service, "un-b", '"un-a" in segments')
    told = await refused("un-c", 'stage == "new" ||\n  "un-b" in segments')
    assert (told["line"], told["column"]) == (2, 3)
    assert '"un-b" asks for segments itself' in told["message"]
    assert (await refused("un-c", 'segments.exists(each, each == "un-b")'))["column"] == 31
    assert (await refused("un-c", '"un-c" in segments'))["column"] == 1
    previewed = await service.send("POST", "/v1/segments/preview", json={"rule": '"un-b" in segments'})
    assert (previewed.status_code, previewed.json()["code"]) == (422, "rule_refused")

    await save(service, "un-c", '"un-a" in segments && traits.of in ["un-b"]')
    told = await refused("un-a", 'true && "un-x" in segments')
    assert (told["line"], told["column"]) == (1, 19)
    assert "(un-b, un-c)" in told["message"]
    await save(service, "un-b", "has(traits.un)")  # it asks for none any more
    await save(service, "un-c", '"un-b" in segments')
    await save(service, "un-a", "size(segments) > 3")
    assert (await refused("un-b", '"un-x" in segments'))["column"] == 11


async def test_a_rule_that_was_saved_before_stays(database: Database) -> None:
    await emptied_segments(database)
    segments = Segments(Hands())
    for id, rule in (("a", "true"), ("b", '"a" in segments'), ("c", '"b" in segments')):
        await database.retrying(partial(segments_store.save, segment_id=id, name="Old", rule=rule, now=after(0)))
    await database.retrying(lambda work: segments.save("c", "New", '"b" in segments', "shop:1", work))
    await database.retrying(lambda work: segments.save("b", "New", '"a" in segments && true', "shop:1", work))


async def test_of_two_saved_at_once_none_asks_for_what_it_does_not_see(database: Database) -> None:
    await emptied_segments(database)
    segments = Segments(Hands())
    pair = (("b", '"a" in segments'), ("c", '"b" in segments'))

    async def keep(id: str, rule: str, work: Work) -> None:
        await segments.save(id, "A test", rule, "shop:1", work)

    async def save_both() -> int:
        await emptied_segments(database)
        saves = (database.retrying(partial(keep, id, rule)) for id, rule in pair)
        return sum(isinstance(each, RuleRefused) for each in await asyncio.gather(*saves, return_exceptions=True))

    assert [await save_both() for _ in range(5)] == [1] * 5


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "segments/preview"),
        ("GET", "segments/big-spenders/counts"),
        ("DELETE", "segments/big-spenders"),
        ("GET", "personas"),
        ("POST", "personas/big-spenders"),
    ],
)
async def test_nobody_gets_in_without_the_secret_key(service: Service, method: str, path: str) -> None:
    assert (await service.client.request(method, f"/v1/{path}", json={})).status_code == 401
    assert (await service.client.request(method, f"/v1/{path}", json={}, auth=("a write key", ""))).status_code == 403


def test_every_example_is_what_it_is_an_example_of() -> None:
    modules = [
        importlib.import_module(f"{schemas.__name__}.{each.name}") for each in pkgutil.iter_modules(schemas.__path__)
    ]
    bodies = {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BaseModel)
    }
    shown: list[tuple[type[BaseModel], Any]] = [
        (each, extra["example"])
        for each in bodies
        if isinstance(extra := each.model_config.get("json_schema_extra"), dict) and "example" in extra
    ]
    assert {"AskedRule", "PreviewBody", "CountPage", "PersonaList", "Segment", "SegmentPage"} <= {
        body.__name__ for body, _ in shown
    }
    for body, example in shown:
        body.model_validate(example)


async def test_the_examples_can_be_sent(service: Service) -> None:
    described = (await service.send("GET", "/openapi.json")).json()["components"]["schemas"]
    assert (await ask(service, **described["AskedRule"]["example"]))["count"] >= 0
    answer = await service.send("PUT", "/v1/segments/ex-sent", json=described["SegmentRule"]["example"])
    assert answer.status_code == 200


# --- over time -------------------------------------------------------------------------------------------------------


async def counted(service: Service, segment_id: str, **query: str) -> Sequence[Json]:
    answer = await service.send("GET", f"/v1/segments/{segment_id}/counts", params=query)
    assert answer.status_code == 200, answer.text
    found: Sequence[Json] = answer.json()["counts"]
    return found


async def test_who_comes_and_goes_is_counted_by_the_hour(service: Service) -> None:
    await save(service, "ct-gold", 'traits.ct == "gold"')
    for number in range(3):
        await service.shows(f"user_id:ct-{number}", identified(f"ct-{number}", traits={"ct": "gold"}))
    await service.shows("user_id:ct-0", identified("ct-0", traits={"ct": "lead"}, at=after(5)))
    (hour,) = await counted(service, "ct-gold")
    assert (hour["at"], hour["entered"], hour["left"]) == (rfc3339(hour_of(service.hands.now)), 3, 1)
    assert (await service.send("GET", "/v1/segments/ct-nobody/counts")).status_code == 404
    assert (await service.send("GET", "/v1/segments/ct-gold/counts?by=week")).status_code == 422
    assert (await service.send("GET", "/v1/segments/ct-gold/counts?cursor=made-up")).status_code == 400


async def test_who_is_absorbed_has_left_and_enters_again_when_taken_apart(service: Service) -> None:
    await save(service, "ab-once", "traits.ab == true && computed.order_count == 1")
    elder = [ordered(user="ab-elder", order="ab-1"), ordered(user="ab-elder", order="ab-2", at=after(1))]
    once = [identified("ab-once", traits={"ab": True}, at=after(2)), ordered(user="ab-once", order="ab-3", at=after(3))]
    await service.shows("user_id:ab-once", *elder, *once)
    absorbed, survivor = id_of("user_id:ab-once"), id_of("user_id:ab-elder")
    await said(service, absorbed, "ab-once", "segment_entered")

    pair = {"identifier": "user_id:ab-once", "why": "a test"}
    answer = await service.send("POST", "/v1/identities/merge", json={**pair, "into": "user_id:ab-elder"})
    assert {each["profile_id"] for each in answer.json()["profiles"]} == {survivor}
    await said(service, absorbed, "ab-once", "segment_entered", "segment_left")
    found = await service.read(topics.SIGNALS, Signalled, absorbed)
    left = [each.data.attributes for each in found if each.data.name == "segment_left"]
    assert left == [{"segment": "ab-once", "absorbed_by": survivor}]

    await service.send("POST", "/v1/identities/unmerge", json={**pair, "from": "user_id:ab-elder"})
    await said(service, absorbed, "ab-once", "segment_entered", "segment_left", "segment_entered")
    told = await signals(service, survivor, "ab-once")
    assert told.count("segment_entered") == told.count("segment_left"), "two orders, then three: never there to stay"


async def emptied_segments(database: Database) -> None:
    async with database.begin() as work:
        await work.execute(text("TRUNCATE segment, segment_count, segment_change, segment_member"))


async def test_members_are_counted_once_an_hour_and_kept_for_a_year(database: Database) -> None:
    await emptied_segments(database)
    hands = Hands(hour_of(after(days=1)))
    segments, counting = Segments(hands), Counting(hands)
    await database.retrying(lambda work: segments.save("all", "All", "true", "shop:1", work))
    await database.retrying(lambda work: segments.save("none", "None", "false", "shop:1", work))
    await happened(database, [viewed(user=f"h{number}") for number in range(4)])
    await published(database)

    async def count() -> int:
        return [await database.retrying(counting.count_next) for _ in range(4)].count(True)

    async def page(unit: Any, **rest: Any) -> list[tuple[Any, ...]]:
        between = (rest.get("since"), rest.get("until"))
        found = await database.retrying(lambda work: counting.page("all", unit, between, rest.get("limit", 99), work))
        return [(row.at, row.members, row.entered, row.gone) for row in found]

    first = hands.now
    assert await count() == 2, "each segment once"
    hands.now += timedelta(minutes=59)
    assert await count() == 0
    hands.now = first + timedelta(hours=1)
    async with database.begin() as work:
        await work.execute(text("DELETE FROM segment_member WHERE profile_id = :id"), {"id": id_of("user_id:h0")})
    assert await count() == 2

    second = hands.now
    assert await page("hour") == [(first, 4, 4, 0), (second, 3, 0, 0)]
    assert await page("hour", since=second) == [(second, 3, 0, 0)]
    assert await page("hour", until=second) == [(first, 4, 4, 0)]
    assert await page("hour", limit=1) == [(first, 4, 4, 0)]
    whole = [(first.replace(hour=0), 4, 4, 0)]
    assert await page("day") == whole, "as the day began, and all that came"
    assert await page("day", until=first.replace(hour=0, minute=1)) == whole, "a day that has begun is told whole"
    assert await page("day", until=first.replace(hour=0)) == []

    hands.now = first + KEPT + timedelta(hours=1)
    assert await count() == 2
    kept = await rows(database, "SELECT at FROM segment_count WHERE segment_id = 'all' ORDER BY at")
    assert [row.at for row in kept] == [second, hands.now]
    assert await rows(database, "SELECT * FROM segment_change WHERE segment_id = 'all'") == []


async def test_only_one_process_counts(database: Database) -> None:
    await emptied_segments(database)
    await database.retrying(lambda work: Segments(Hands()).save("one", "One", "true", "shop:1", work))
    counting = Counting(Hands())
    async with database.begin() as work:
        assert await counting.count_next(work)
        assert not await database.retrying(counting.count_next)
    assert not await database.retrying(counting.count_next)


async def test_all_rules_together_have_a_limit_that_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await emptied_segments(database)
    segments = Segments(Hands())

    async def keep(id: str, rule: str) -> None:
        await database.retrying(lambda work: segments.save(id, "A test", rule, "shop:1", work))

    monkeypatch.setattr(service_segments, "MOST", 2)
    await keep("one", "true")
    await keep("two", "true")
    with pytest.raises(TooManySegments):
        await keep("three", "true")
    await keep("two", LOOP)
    monkeypatch.setattr(service_segments, "STEPS", int(1.5 * compiled(LOOP).cost))
    with pytest.raises(SegmentsTooCostly) as refused:
        await keep("one", LOOP)
    (told,) = refused.value.details
    assert (told["path"], told["cost"]) == ("rule", 2 * compiled(LOOP).cost)
    monkeypatch.setattr(service_segments, "STEPS", 1)
    await keep("two", LOOP)  # nothing new
    await database.retrying(lambda work: segments.delete("two", "shop:1", work))
    monkeypatch.setattr(service_segments, "STEPS", compiled(LOOP).cost + 1)
    await keep("one", LOOP)


async def test_a_rule_that_changes_or_comes_back_is_asked_of_everybody_anew(database: Database) -> None:
    await emptied_segments(database)
    await happened(database, [viewed(user=f"ch{number}", at=after(number)) for number in range(12)])
    await published(database)
    segments = Segments(Hands())

    async def keep(rule: str) -> None:
        await database.retrying(lambda work: segments.save("ch", "A test", rule, "shop:1", work))

    for rule in ("false", "true"):
        await keep(rule)
        assert await database.retrying(lambda work: segments.fill(8, work)) == 8
        await published(database)

    async def filled() -> int:
        while await database.retrying(lambda work: segments.fill(8, work)):
            await published(database)
        return await database.retrying(lambda work: segments_store.count(work, "ch"))

    assert await filled() == 12
    await database.retrying(lambda work: segments.delete("ch", "shop:1", work))
    await database.retrying(lambda work: segments.empty(8, work))
    await published(database)
    await database.retrying(lambda work: segments.save("ch", "A test", "true", "shop:1", work))
    assert await filled() == 12, "those who had left come back"


async def test_a_segment_fills_until_everybody_was_told(database: Database) -> None:
    await emptied_segments(database)
    await happened(database, [viewed(user=f"fi{number}", at=after(number)) for number in range(12)])
    await published(database)
    hands = Hands()
    segments = Segments(hands)

    async def fill(by: Segments = segments) -> int:
        hands.now += timedelta(seconds=1)
        return await database.retrying(lambda work: by.fill(8, work))

    async def filling(id: str) -> bool:
        row = await database.retrying(lambda work: segments.get(id, work))
        members = await database.retrying(lambda work: segments_store.count(work, id))
        assert row.filling or members == 12
        return bool(row.filling)

    await database.retrying(lambda work: segments.save("a", "A test", "true", "shop:1", work))
    marked_first = await fill()
    await published(database)
    assert (marked_first, await fill(), await fill(), await filling("a")) == (8, 4, 0, True)
    assert (await fill(Segments(hands)), await filling("a")) == (0, True), "nor does another process think so"
    await database.retrying(lambda work: segments.save("b", "A test", "true", "shop:1", work))
    assert await fill() == 4, "the next one is begun meanwhile"

    await published(database)
    await database.retrying(lambda work: profiles.mark(work, [id_of("user_id:fi4")], hands.now))
    await fill()
    assert not await filling("a"), "who was marked later is not waited for"
    assert await filling("b")


# --- deleted ---------------------------------------------------------------------------------------------------------


async def test_who_was_in_a_deleted_segment_is_told_to_have_left(service: Service) -> None:
    await save(service, "dl-gone", "traits.dl == true")
    seen = await service.shows("user_id:dl-u", identified("dl-u", traits={"dl": True}))
    assert "dl-gone" in ids(seen)

    assert (await service.send("DELETE", "/v1/segments/dl-gone")).status_code == 204
    for path in ("dl-gone", "dl-gone/profiles", "dl-gone/counts"):
        assert (await service.send("GET", f"/v1/segments/{path}")).status_code == 404
    assert (await service.send("DELETE", "/v1/segments/dl-gone")).status_code == 404
    listed = (await service.send("GET", "/v1/segments", params={"limit": "500"})).json()["segments"]
    assert "dl-gone" not in [each["id"] for each in listed]
    await is_in(service, "user_id:dl-u", "dl-gone", inside=False)
    await said(service, seen["profile_id"], "dl-gone", "segment_entered", "segment_left")

    await save(service, "dl-gone", "traits.dl == true")
    await is_in(service, "user_id:dl-u", "dl-gone", inside=True)
    await said(service, seen["profile_id"], "dl-gone", "segment_entered", "segment_left", "segment_entered")


async def test_a_segment_that_is_made_anew_is_counted_anew_and_takes_over_who_is_in_it(database: Database) -> None:
    await emptied_segments(database)
    hands = Hands(hour_of(after(days=1)))
    segments, counting = Segments(hands), Counting(hands)
    people = [viewed(user=f"an{number}") for number in range(4)]

    async def keep(rule: str) -> None:
        await database.retrying(lambda work: segments.save("new", "A test", rule, "shop:1", work))

    async def counted() -> list[tuple[Any, ...]]:
        found = await database.retrying(lambda work: counting.page("new", "hour", (None, None), 9, work))
        return [(row.members, row.entered, row.gone) for row in found]

    async def told() -> int:
        while await database.retrying(lambda work: segments.fill(100, work)):
            pass
        await published(database)
        return await database.retrying(lambda work: segments_store.count(work, "new"))

    await keep("true")
    await happened(database, people)
    await published(database)
    await database.retrying(counting.count_next)
    assert await counted() == [(4, 4, 0)]
    since = await rows(database, "SELECT profile_id, since FROM segment_member ORDER BY 1")
    told_before = await rows(database, "SELECT count(*) FROM signal")

    await database.retrying(lambda work: segments.delete("new", "shop:1", work))
    await keep("true")
    assert (await counted(), await told(), await counted()) == ([], 4, [])
    assert await rows(database, "SELECT profile_id, since FROM segment_member ORDER BY 1") == since
    assert await rows(database, "SELECT count(*) FROM signal") == told_before

    await keep("true")
    await keep("false")
    assert (await told(), await counted()) == (0, [(None, 0, 4)]), "a rule that changes is no new segment"
    await database.retrying(lambda work: segments.delete("new", "shop:1", work))
    await keep("false")
    assert await counted() == []


async def test_a_deleted_segment_is_forgotten_once_nobody_is_in_it(database: Database) -> None:
    await emptied_segments(database)
    hands = Hands()
    segments = Segments(hands)
    await database.retrying(lambda work: segments.save("old", "Old", "true", "shop:1", work))
    await happened(database, [viewed(user=f"d{number}") for number in range(5)])
    await published(database)
    await database.retrying(lambda work: segments.delete("old", "shop:1", work))

    async def empty(limit: int = 100) -> int:
        return await database.retrying(lambda work: segments.empty(limit, work))

    async def left() -> tuple[int, ...]:
        tables = ("segment", "segment_member", "segment_change")
        counts = [await rows(database, f"SELECT count(*) FROM {table}") for table in tables]
        return tuple(count for ((count,),) in counts)

    assert [await empty(3), await empty(), await empty()] == [3, 2, 0], "each once, while they wait"
    hands.now += LAST_WORD
    assert await empty() == 0
    assert await left() == (1, 5, 1), "nobody has been told yet"
    views = await published(database)
    assert all(view.segments == () for view in views.values())
    assert len(views) == 5
    assert await empty() == 0
    assert await left() == (0, 0, 0)


# --- personas --------------------------------------------------------------------------------------------------------


async def test_a_persona_is_adopted_and_never_overwrites_a_rule_unasked(service: Service) -> None:
    async def state(persona: str) -> str:
        listed = (await service.send("GET", "/v1/personas")).json()["personas"]
        assert [each["id"] for each in listed] == list(PERSONAS)
        return str(next(each["segment"] for each in listed if each["id"] == persona))

    assert await state("big-spenders") == "none"
    for _ in range(2):
        adopted = await service.send("POST", "/v1/personas/big-spenders")
        assert (adopted.status_code, adopted.json()["rule"]) == (200, PERSONAS["big-spenders"].rule)
    assert await state("big-spenders") == "adopted"
    rich = await service.shows("user_id:ps-u", touchpoint("Order Completed", user="ps-u", properties={"total": 900}))
    assert "big-spenders" in ids(rich)

    await save(service, "big-spenders", "computed.order_value > 9.0", "Ours")
    assert await state("big-spenders") == "changed"
    refused = await service.send("POST", "/v1/personas/big-spenders")
    assert (refused.status_code, refused.json()["code"]) == (409, "persona_changed")
    assert (await service.send("GET", "/v1/segments/big-spenders")).json()["name"] == "Ours"
    replaced = await service.send("POST", "/v1/personas/big-spenders", params={"replace": "true"})
    assert replaced.json()["rule"] == PERSONAS["big-spenders"].rule
    assert (await service.send("POST", "/v1/personas/nobody")).json()["code"] == "persona_not_found"


# --- time passes, last of all: what the tests above tell would be too old for the service after that -----------------


async def test_time_alone_lets_people_in_and_out_and_moves_their_stage(service: Service) -> None:
    await save(service, "tm-quiet", DAYS_30)
    await save(service, "tm-fresh", TWO_DAYS)
    seen = await service.shows("user_id:tm-u", ordered(5, user="tm-u", at=service.hands.now))
    assert (ids(seen), seen["stage"]["name"]) == (["tm-fresh"], "onboard")

    service.hands.now += timedelta(hours=48)
    out = await is_in(service, "user_id:tm-u", "tm-fresh", inside=False)
    assert out["touchpoints"] == seen["touchpoints"], "nothing happened"
    service.hands.now += timedelta(hours=720)
    there = await is_in(service, "user_id:tm-u", "tm-quiet", inside=True)
    assert there["segments"][0]["since"] == rfc3339(service.hands.now)
    service.hands.now += timedelta(days=90)
    await service.becomes("user_id:tm-u", "stage.name", "maintain")

    await said(service, seen["profile_id"], "tm-fresh", "segment_entered", "segment_left")
    await said(service, seen["profile_id"], "tm-quiet", "segment_entered")


async def test_a_part_of_the_date_is_asked_again_at_midnight(service: Service) -> None:
    tomorrow = service.hands.now + timedelta(days=1)
    await save(service, "md-date", f"traits.md == true && now.getDate() == {tomorrow.day}")
    seen = await service.shows("user_id:md-u", identified("md-u", traits={"md": True}, at=service.hands.now))
    assert ids(seen) == []
    service.hands.now = tomorrow.replace(hour=0, minute=0)
    await is_in(service, "user_id:md-u", "md-date", inside=True)


async def test_a_day_that_leaves_its_window_changes_view_and_segment_with_no_event(service: Service) -> None:
    counted = {"name": "Views of two days", "event": "Viewed", "aggregate": "count", "window_days": 2}
    assert (await service.send("PUT", "/v1/computed/tm_views", json=counted)).status_code == 200
    await save(service, "tm-lookers", "computed.tm_views >= 2")
    twice = [touchpoint("Viewed", id=f"tw-{number}", user="tw-u", at=service.hands.now) for number in range(2)]
    await service.shows("user_id:tw-u", *twice)
    seen = await service.becomes("user_id:tw-u", "computed.tm_views", 2)
    preview = await service.send("POST", "/v1/segments/preview", json={"rule": "computed.tm_views >= 2"})
    assert (preview.json()["count"], preview.json()["exact"]) == (1, True)
    await said(service, seen["profile_id"], "tm-lookers", "segment_entered")

    service.hands.now += timedelta(days=2)

    await service.becomes("user_id:tw-u", "computed.tm_views", 0)
    await said(service, seen["profile_id"], "tm-lookers", "segment_entered", "segment_left")
