"""Who changed which offer: every change leaves a row, and no row ever changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import text

from shared.clock import rfc3339, system_clock
from tests.audited import DEAD_LETTERS, Auditor, Example, changing
from tests.contract import Asked
from tests.personalize.desk import Desk, make_topics, open_desk, settings
from tests.roles import tell_keys
from tests.servers import Servers

TEA = {"name": "Tea", "kind": "content", "placements": ["shelf"], "valid_to": "2099-01-01T02:00:00+02:00"}


@pytest.fixture(scope="module")
async def desk(servers: Servers) -> AsyncIterator[Desk]:
    async with servers.installation() as installation:
        await make_topics(installation)
        async with open_desk(settings(installation)) as desk:
            yield desk


@pytest.fixture(scope="module")
async def auditor(desk: Desk) -> Auditor:
    key = (await tell_keys(desk.kafka, desk.app, system_clock())).by_scope["admin"]
    return Auditor(desk.client, key, f"shop:{key[3:11]}")


async def _put(auditor: Auditor) -> Example:
    return Example("/v1/offers/au-put", "offers/au-put", "made", TEA)


async def _deleted(auditor: Auditor) -> Example:
    assert (await auditor.ask("PUT", "/v1/offers/au-gone", TEA)).is_success
    return Example("/v1/offers/au-gone", "offers/au-gone", "deleted")


CHANGES: dict[Asked, Callable[[Auditor], Awaitable[Example]]] = {
    ("PUT", "/v1/offers/{id}"): _put,
    ("DELETE", "/v1/offers/{id}"): _deleted,
}
NO_CHANGES: dict[Asked, str] = {("POST", "/v1/decide"): "a decision has a record of its own"}


def test_no_route_that_changes_something_was_forgotten(desk: Desk) -> None:
    assert changing(desk.app) == CHANGES.keys() | NO_CHANGES.keys() | DEAD_LETTERS.keys()


@pytest.mark.parametrize("asked", CHANGES, ids=" ".join)
async def test_each_change_leaves_one_row_with_who_made_it(auditor: Auditor, asked: Asked) -> None:
    await auditor.leaves_a_row(asked[0], await CHANGES[asked](auditor))


async def test_before_and_after_are_the_offer_as_it_is_shown(auditor: Auditor) -> None:
    address = "/v1/offers/au-shown"
    bodies = [(await auditor.ask("PUT", address, {**TEA, "value": value})).json() for value in (1.0, 2.0)]
    assert (await auditor.ask("GET", address)).json() == bodies[1]
    made, changed = await auditor.changes(object="offers/au-shown")
    assert (made["before"], made["after"]) == (None, bodies[0])
    assert (changed["before"], changed["after"]) == (bodies[0], bodies[1])


async def test_an_offer_that_is_made_anew_has_one_time_line(auditor: Auditor) -> None:
    for method, body in (("PUT", TEA), ("DELETE", None), ("PUT", TEA), ("PUT", {**TEA, "cost": 1.0})):
        assert (await auditor.ask(method, "/v1/offers/au-line", body)).is_success
    await auditor.ask("PUT", "/v1/offers/au-line-2", TEA)
    assert await auditor.time_line("offers/au-line") == ["made", "deleted", "made", "changed"]
    deleted, again = (await auditor.changes(object="offers/au-line"))[1:3]
    assert (deleted["after"], again["before"]) == (None, None)
    assert set(await auditor.time_line("offers")) >= {"made", "deleted", "changed"}, "and all offers below their path"


async def test_what_is_refused_changes_nothing(auditor: Auditor) -> None:
    for method, body, status in (
        ("DELETE", None, 404),
        ("PUT", {**TEA, "value": -1}, 422),
        ("PUT", {**TEA, "eligibility": "traits.plan ="}, 422),
    ):
        assert (await auditor.ask(method, "/v1/offers/au-no", body)).status_code == status
    assert await auditor.time_line("offers/au-no") == []


async def test_changes_are_found_by_who_what_and_when(auditor: Auditor, desk: Desk) -> None:
    await desk.put_offer("au-found")
    between = rfc3339(system_clock())
    await auditor.ask("PUT", "/v1/offers/au-found", TEA)
    await auditor.ask("DELETE", "/v1/offers/au-found")

    async def found(**query: str) -> list[tuple[str, str]]:
        return [(each["actor"], each["action"]) for each in await auditor.changes(object="offers/au-found", **query)]

    mine = [(auditor.id, "changed"), (auditor.id, "deleted")]
    assert await found() == [("settings:secret", "made"), *mine]
    assert await found(actor=auditor.id) == mine
    assert await found(action="made") == [("settings:secret", "made")]
    assert await found(**{"from": between}) == mine
    assert await found(to=between) == [("settings:secret", "made")]
    assert await found(actor=auditor.id, to=between) == []


async def test_pages_neither_skip_nor_repeat(auditor: Auditor) -> None:
    for number in range(5):
        await auditor.ask("PUT", "/v1/offers/au-pages", {**TEA, "value": number + 1.0})
    whole = await auditor.changes(object="offers/au-pages")
    found, page = [], await auditor.page(object="offers/au-pages", limit=2)
    found += page["changes"]
    while page["next"]:
        page = await auditor.page(object="offers/au-pages", limit=2, cursor=page["next"])
        found += page["changes"]
    assert list(reversed(found)) == whole
    assert len(whole) == 5


async def test_what_fails_leaves_neither_the_change_nor_the_row(auditor: Auditor, desk: Desk) -> None:
    async with desk.database.begin() as work:
        await work.execute(text("ALTER TABLE audit ADD CONSTRAINT no_more CHECK (object <> 'offers/au-fails')"))
    answer = await auditor.ask("PUT", "/v1/offers/au-fails", TEA)
    assert answer.status_code == 500
    assert (await auditor.ask("GET", "/v1/offers/au-fails")).status_code == 404


@pytest.mark.parametrize("statement", ["DELETE FROM audit", "UPDATE audit SET actor = 'nobody'", "TRUNCATE audit"])
async def test_nobody_takes_back_what_is_written_down(auditor: Auditor, desk: Desk, statement: str) -> None:
    await auditor.ask("PUT", "/v1/offers/au-stays", TEA)
    with pytest.raises(Exception, match="append-only"):
        await desk.rows(statement)
    assert await auditor.time_line("offers/au-stays")
