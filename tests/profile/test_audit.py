"""Who changed which segment and computed trait, and who ruled what: every change leaves a row, which never changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from typer.testing import CliRunner

from services.profile.cli import main
from shared.audit import of_operator
from shared.db import Database
from tests.audited import DEAD_LETTERS, Auditor, Example, changing
from tests.builders import Json, identified, viewed
from tests.contract import Asked, told
from tests.profile.service import SECRET, Service
from tests.profile.test_proposals_api import look, proposed, twice
from tests.roles import tell_keys
from tests.servers import Installation
from tests.waiting import until

SEGMENT = {"name": "Buyers", "rule": "computed.order_count >= 1"}
TRAIT = {"name": "Visits", "event": "Home", "aggregate": "count"}


@pytest.fixture(scope="module")
async def auditor(service: Service) -> Auditor:
    key = (await tell_keys(service.kafka, service.app, service.hands.now)).by_scope["admin"]
    return Auditor(service.client, key, f"shop:{key[3:11]}")


# --- each change leaves a row ----------------------------------------------------------------------------------------


async def _segment(service: Service, auditor: Auditor) -> Example:
    return Example("/v1/segments/au-new", "segments/au-new", "made", SEGMENT)


async def _no_segment(service: Service, auditor: Auditor) -> Example:
    assert (await auditor.ask("PUT", "/v1/segments/au-gone", SEGMENT)).is_success
    return Example("/v1/segments/au-gone", "segments/au-gone", "deleted")


async def _persona(service: Service, auditor: Auditor) -> Example:
    personas = (await auditor.ask("GET", "/v1/personas")).json()["personas"]
    id = personas[0]["id"]
    return Example(f"/v1/personas/{id}", f"segments/{id}", "made")


async def _trait(service: Service, auditor: Auditor) -> Example:
    return Example("/v1/computed/au_new", "computed/au_new", "made", TRAIT)


async def _no_trait(service: Service, auditor: Auditor) -> Example:
    assert (await auditor.ask("PUT", "/v1/computed/au_gone", TRAIT)).is_success
    return Example("/v1/computed/au_gone", "computed/au_gone", "deleted")


async def _merge(service: Service, auditor: Auditor) -> Example:
    for user in ("au-m1", "au-m2"):
        await service.shows(f"user_id:{user}", identified(user))
    body = {"identifier": "user_id:au-m1", "into": "user_id:au-m2", "why": "one"}
    return Example("/v1/identities/merge", "identities/user_id:au-m", "merged", body)


async def _unmerge(service: Service, auditor: Auditor) -> Example:
    await service.shows("user_id:au-u", identified("au-u", anonymous="au-tablet"))
    body = {"identifier": "anonymous_id:au-tablet", "from": "user_id:au-u", "why": "a shared tablet"}
    return Example("/v1/identities/unmerge", "identities/anonymous_id:au-tablet/user_id:au-u", "unmerged", body)


async def _proposal(service: Service, name: str) -> str:
    two = await twice(service, name)
    await look(service)
    found = await proposed(service, *two)
    assert found is not None
    id: str = found["proposal_id"]
    return id


async def _accept(service: Service, auditor: Auditor) -> Example:
    path = f"identities/proposals/{await _proposal(service, 'aa')}"
    return Example(f"/v1/{path}/accept", path, "accepted", {"why": "she said so"}, beside=["merged"])


async def _refuse(service: Service, auditor: Auditor) -> Example:
    path = f"identities/proposals/{await _proposal(service, 'ab')}"
    return Example(f"/v1/{path}/refuse", path, "refused", {"why": "twins"})


CHANGES: dict[Asked, Callable[[Service, Auditor], Awaitable[Example]]] = {
    ("PUT", "/v1/segments/{segment_id}"): _segment,
    ("DELETE", "/v1/segments/{segment_id}"): _no_segment,
    ("POST", "/v1/personas/{persona_id}"): _persona,
    ("PUT", "/v1/computed/{trait_id}"): _trait,
    ("DELETE", "/v1/computed/{trait_id}"): _no_trait,
    ("POST", "/v1/identities/merge"): _merge,
    ("POST", "/v1/identities/unmerge"): _unmerge,
    ("POST", "/v1/identities/proposals/{proposal_id}/accept"): _accept,
    ("POST", "/v1/identities/proposals/{proposal_id}/refuse"): _refuse,
}
"""To accept a proposal is a ruling, too, whose own row is beside it."""

NO_CHANGES: dict[Asked, str] = {("POST", "/v1/segments/preview"): "it only looks"}


def test_no_route_that_changes_something_was_forgotten(service: Service) -> None:
    assert changing(service.app) == CHANGES.keys() | NO_CHANGES.keys() | DEAD_LETTERS.keys()


@pytest.mark.parametrize("asked", CHANGES, ids=" ".join)
async def test_each_change_leaves_one_row_with_who_made_it(service: Service, auditor: Auditor, asked: Asked) -> None:
    row = await auditor.leaves_a_row(asked[0], await CHANGES[asked](service, auditor))
    assert row["after"] is None if row["action"] == "deleted" else row["after"] is not None


# --- what the rows say -----------------------------------------------------------------------------------------------


async def test_a_segment_that_is_made_anew_has_one_time_line(auditor: Auditor) -> None:
    address = "/v1/segments/au-line"
    other = {**SEGMENT, "rule": "computed.order_count >= 2"}
    for method, body in (("PUT", SEGMENT), ("PUT", SEGMENT), ("PUT", other), ("DELETE", None), ("PUT", SEGMENT)):
        assert (await auditor.ask(method, address, body)).is_success
    assert (await auditor.ask("PUT", address, {**SEGMENT, "rule": "1 +"})).status_code == 422
    changes = await auditor.changes(object="segments/au-line")
    assert [each["action"] for each in changes] == ["made", "changed", "deleted", "made"], "the same again is no change"
    first, second = ({"id": "au-line", **each} for each in (SEGMENT, other))
    assert [(each["before"], each["after"]) for each in changes] == [
        (None, first), (first, second), (second, None), (None, first),
    ]  # fmt: skip


async def test_a_computed_trait_that_has_filled_says_so_itself(service: Service, auditor: Auditor) -> None:
    await service.shows("user_id:au-f", viewed(user="au-f"))
    assert (await auditor.ask("PUT", "/v1/computed/au_fill", TRAIT)).is_success

    async def filled() -> list[Json] | None:
        changes = await auditor.changes(object="computed/au_fill")
        return changes if len(changes) == 2 else None

    made, shows = await until(filled)
    assert [(each["actor"], each["action"]) for each in (made, shows)] == [
        (auditor.id, "made"),
        ("temas:filling", "filled"),
    ]
    assert made["after"] == shows["after"]
    assert {name: made["after"][name] for name in TRAIT} == TRAIT

    assert (await auditor.ask("PUT", "/v1/computed/au_fill", {**TRAIT, "name": "Looks"})).is_success
    assert (await auditor.ask("DELETE", "/v1/computed/au_fill")).is_success
    assert await auditor.time_line("computed/au_fill") == ["made", "filled", "changed", "deleted"]


async def test_rulings_on_the_same_two_are_one_time_line(service: Service, auditor: Auditor) -> None:
    await service.shows("user_id:au-r", identified("au-r", anonymous="au/r?"))
    one, other = "anonymous_id:au/r?", "user_id:au-r"
    bodies = [("unmerge", "from", "shared"), ("merge", "into", "not shared"), ("merge", "into", "again")]
    for ruling, field, why in bodies:
        body = {"identifier": one, field: other, "why": why}
        assert (await auditor.ask("POST", f"/v1/identities/{ruling}", body)).is_success
    unmerged, merged = await auditor.changes(object="identities/anonymous_id:au%2Fr%3F/user_id:au-r")
    assert (unmerged["action"], merged["action"]) == ("unmerged", "merged"), "what holds already is no change"
    rulings = (await auditor.ask("GET", "/v1/identities/rulings?limit=500")).json()["rulings"]
    mine = [each for each in rulings if each["identifier"] == one]
    assert (unmerged["before"], [merged["after"], unmerged["after"]]) == (None, mine)
    assert merged["before"] == unmerged["after"]

    body = {"identifier": one, "into": "email:nobody@example.com", "why": "no"}
    assert (await auditor.ask("POST", "/v1/identities/merge", body)).status_code == 404
    assert len(await auditor.changes(object="identities/anonymous_id:au%2Fr%3F")) == 2, "what is refused is none"


async def test_what_is_typed_at_the_machine_has_an_actor_too(
    service: Service, auditor: Auditor, installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.shows("user_id:au-t", identified("au-t"))
    for name, value in told(installed, "profile", SECRET).items():
        monkeypatch.setenv(name, value)
    typed = await asyncio.to_thread(CliRunner().invoke, main, ["relink", "user_id:au-t", "user_id:au-nobody"])
    assert typed.exit_code == 0, typed.output
    [relinked] = await auditor.changes(action="relinked")
    assert (relinked["actor"], relinked["object"]) == (of_operator(), "identities")
    assert relinked["after"] == {"identifiers": ["user_id:au-t"]}

    await twice(service, "at")
    await look(service)
    proposed = await auditor.changes(object="identities/proposals", action="proposed", actor=of_operator())
    assert proposed[-1]["after"]["open"] >= 1


@pytest.mark.parametrize("statement", ["DELETE FROM audit", "UPDATE audit SET actor = 'nobody'", "TRUNCATE audit"])
async def test_nobody_takes_back_what_is_written_down(service: Service, auditor: Auditor, statement: str) -> None:
    await auditor.ask("PUT", "/v1/segments/au-stays", SEGMENT)
    database: Database = service.app.state.desk.database
    with pytest.raises(Exception, match="append-only"):
        async with database.begin() as work:
            await work.exec_driver_sql(statement)
    assert await auditor.time_line("segments/au-stays") == ["made"]
