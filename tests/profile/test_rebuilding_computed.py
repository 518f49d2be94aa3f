"""Rebuilding beside computed traits that are defined and deleted meanwhile; and groups, where the log is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.profile.service.defined import Definitions
from services.profile.service.filling import Filling
from services.profile.service.rebuilding import meeting
from services.profile.service.rebuilding.meeting import Meeting
from services.profile.service.rebuilding.steps import DIFFERENT, EQUAL, REFUSED
from services.profile.service.rebuilding.whole import Rebuilding
from services.profile.store import definitions
from shared.db import Work
from shared.identifiers import Identifier
from tests.builders import after, departed, joined
from tests.profile.database import rows
from tests.profile.lives import identify, order, page
from tests.profile.rebuilds import World, world
from tests.servers import Servers
from tests.waiting import until

ORDERS = {"event": "Order Completed", "aggregate": "count"}
SPENT = {"event": "Order Completed", "aggregate": "sum", "property": "total", "filter": 'channel == "web"'}
LARGEST = {"event": "Order Completed", "aggregate": "max", "property": "total", "window_days": 30}
MERT = Identifier("user_id", "mert")

LIFE = (
    identify("1", 10, user="ayse", anonymous="tablet", traits={"plan": "pro"}),
    order("2", 20, 10, user="ayse"),
    order("3", 30, 20, anonymous="tablet"),
    order("4", 40, 7, user="mert"),
    joined("acme", id="5", user="ayse", at=after(50), properties={"seats": 10}),
    joined("acme", id="6", user="mert", at=after(60), properties={"seats": 12}),
)
LATER = (
    order("7", 200, 30, user="ayse"),
    order("8", 210, 5, user="zeynep"),
    joined("acme", id="9", user="zeynep", at=after(220), properties={"seats": 40}),
    departed("acme", id="10", user="mert", at=after(230)),
)


@pytest.fixture
async def small(servers: Servers) -> AsyncIterator[World]:
    async with world(servers) as small:
        await small.define(orders=ORDERS, largest=LARGEST)
        await small.tell(*LIFE)
        yield small


@pytest.fixture
def nobody_fills(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Until it is undone."""

    async def rests(self: Filling, work: Work) -> int:
        return 0

    monkeypatch.setattr(Filling, "step", rests)
    return monkeypatch


async def save(small: World, trait: str, formula: dict[str, Any]) -> None:
    answer = await small.service.send("PUT", f"/v1/computed/{trait}", json={"name": trait, **formula})
    assert answer.status_code == 200, answer.text


async def delete(small: World, trait: str) -> None:
    assert (await small.service.send("DELETE", f"/v1/computed/{trait}")).status_code == 204


async def computed(small: World, user: str) -> dict[str, Any]:
    await small.settled()
    answer = await small.service.send("GET", f"/v1/profiles/user_id:{user}/computed")
    assert answer.status_code == 200, answer.text
    return {each["id"]: each["value"] for each in answer.json()["computed"]}


async def swept(small: World) -> None:
    """Wait until nothing is left of what was deleted or replaced, and everything else is filled."""
    await until(lambda: nothing(small, "SELECT 1 FROM computed_definition WHERE phase <> 'ready'"))


async def nothing(small: World, statement: str) -> bool:
    return not await rows(small.database, statement)


ORPHANS = """
    SELECT 1 FROM computed_part WHERE (trait, revision) NOT IN (SELECT id, revision FROM computed_definition)
"""


async def test_where_the_log_is_cut_computed_traits_and_groups_are_kept_and_go_on(small: World) -> None:
    await small.cut()
    await small.tell(*LATER)
    served = await small.facts()
    assert await small.rebuild() == EQUAL
    assert await small.facts() == served

    await small.run("UPDATE computed_part SET state = '{}' WHERE value = 'zeynep'")
    assert await small.rebuild() == EQUAL, "of whom the log tells all, it is believed"
    assert await small.facts() == served
    await small.tell(order("11", 300, 40, user="ayse"), joined("acme", id="12", user="can", at=after(310)))
    assert await computed(small, "ayse") == {"orders": 4, "largest": 40}
    assert await computed(small, "zeynep") == {"orders": 1, "largest": 5}
    group = (await small.service.send("GET", "/v1/groups/acme")).json()
    assert (group["traits"]["seats"]["value"], group["members"], group["calls"]) == (40, 3, 4)

    await save(small, "spent", SPENT)
    await swept(small)
    assert (await computed(small, "ayse"))["spent"] == 10 + 20 + 30 + 40, "what was kept is history to what comes"


async def test_what_is_defined_changed_and_deleted_during_a_rebuild_is_followed(small: World) -> None:
    await small.run("UPDATE fragment SET state = '{}' WHERE value = 'mert'")
    assert await small.rebuild(dry_run=True) == DIFFERENT
    await save(small, "spent", SPENT)
    await save(small, "largest", {**LARGEST, "aggregate": "min"})
    await delete(small, "orders")
    await swept(small)
    await small.tell(*LATER)
    assert await small.rebuild() == EQUAL
    await small.tell(order("11", 300, 40, user="ayse"))
    assert await computed(small, "ayse") == {"spent": 10 + 20 + 30 + 40, "largest": 10}
    assert await nothing(small, ORPHANS)
    assert await small.rebuild(forget=True) == EQUAL
    assert await small.rebuild(dry_run=True) == EQUAL


async def test_a_revert_goes_by_the_definitions_of_now(small: World) -> None:
    await small.run("DELETE FROM edge")
    assert await small.rebuild() == EQUAL
    await save(small, "spent", SPENT)
    await delete(small, "orders")
    await swept(small)
    await small.tell(*LATER)
    for number, spent in enumerate((30, 31)):
        assert await small.rebuild(revert=True) == EQUAL
        await small.tell(order(f"r-{number}", 400, spent, user="ayse"))
        told = 10 + 20 + 30 + sum((30, 31)[: number + 1])
        assert await computed(small, "ayse") == {"spent": told, "largest": max(30, spent)}
        assert await nothing(small, ORPHANS)


async def test_what_is_deleted_just_now_is_no_difference(small: World, nobody_fills: pytest.MonkeyPatch) -> None:
    await delete(small, "orders")
    await small.run("UPDATE computed_definition SET phase = 'gone' WHERE id = 'orders'")
    await small.run("DELETE FROM computed_part WHERE trait = 'orders' AND value = 'mert'")
    assert await small.rebuild() == EQUAL
    assert not await small.kept()


async def test_while_something_is_filled_a_rebuild_waits(small: World, nobody_fills: pytest.MonkeyPatch) -> None:
    await save(small, "spent", SPENT)
    await small.tell(order("11", 300, 40, user="ayse"))
    await small.run("UPDATE fragment SET state = '{}' WHERE value = 'mert'")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(meeting, "FILLED_WITHIN", 1)
        assert await small.rebuild() == REFUSED
    rebuilding = asyncio.create_task(small.rebuild())
    nobody_fills.undo()
    assert await rebuilding == EQUAL
    await small.tell(order("12", 310, 2, user="ayse"))
    assert (await computed(small, "ayse"))["spent"] == 10 + 20 + 40 + 2


async def test_what_is_defined_in_the_last_moment_counts_everything_once(
    small: World, nobody_fills: pytest.MonkeyPatch
) -> None:
    """After it was seen that nothing is being filled, and before everybody is held up."""
    await small.run("UPDATE fragment SET state = '{}' WHERE value = 'mert'")
    swap, unfilled = Rebuilding.swap, Meeting._unfilled
    swapping, saved = False, False

    async def swaps(self: Rebuilding, *, name: str, action: str) -> None:
        nonlocal swapping
        swapping = True
        await swap(self, name=name, action=action)

    async def looks(self: Meeting) -> bool:
        nonlocal saved
        found = await unfilled(self)
        if saved:
            nobody_fills.undo()
        elif swapping:
            saved = True
            await save(small, "spent", SPENT)
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rebuilding, "swap", swaps)
        patched.setattr(Meeting, "_unfilled", looks)
        assert await small.rebuild() == EQUAL
    nobody_fills.undo()
    await swept(small)
    assert await computed(small, "ayse") == {"orders": 2, "largest": 20, "spent": 10 + 20}


async def test_one_person_is_not_made_anew_between_two_steps_of_filling(
    small: World, nobody_fills: pytest.MonkeyPatch
) -> None:
    await save(small, "spent", SPENT)
    await small.run("UPDATE fragment SET state = '{}' WHERE value = 'mert'")
    filling = Filling(Definitions(small.service.settings.time_zone), small.service.hands, batch=1_000, marks=100)
    async with small.database.begin() as work:
        (kept,) = await definitions.filling(work)
        assert await definitions.due(work) == kept
        await definitions.put(work, await filling.read_on(kept, work))
        rebuilding = asyncio.create_task(small.rebuild(person=MERT))
        await until(lambda: somebody_waits(small))
    assert await rebuilding == EQUAL
    nobody_fills.undo()
    await swept(small)
    assert await computed(small, "mert") == {"orders": 1, "largest": 7, "spent": 7}


async def somebody_waits(small: World) -> bool:
    return not await nothing(small, "SELECT 1 FROM pg_locks WHERE NOT granted")


async def test_a_profile_s_id_is_no_way_to_name_a_person_to_the_log(small: World) -> None:
    seen = await small.service.view("user_id:ayse")
    assert await small.rebuild(person=Identifier("profile_id", seen["profile_id"])) == REFUSED


async def test_a_trait_that_was_taken_back_stays_so(small: World) -> None:
    small.service.hands.now += timedelta(minutes=1)
    await small.tell(identify("20", 500, user="ayse", traits={"plan": None}), page("21", 510, user="ayse"))
    await small.run("UPDATE fragment SET state = '{}' WHERE value = 'ayse'")
    assert await small.rebuild(person=Identifier("user_id", "ayse")) == EQUAL
    await small.settled()
    assert "plan" not in (await small.service.view("user_id:ayse"))["traits"]
