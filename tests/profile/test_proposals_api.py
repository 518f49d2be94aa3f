"""Proposals over HTTP: found, accepted or refused by a person, and remembered."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from services.profile.cli import main
from services.profile.domain.identity import profile_id
from services.profile.domain.proposals import Revision
from services.profile.service.absorbing import Profiles
from services.profile.service.matching.command import looked_for
from services.profile.service.ruling import Rulings
from shared.identifiers import Identifier
from tests.builders import Json, after, identified
from tests.profile.service import Service

PERSON = {"firstName": "Ayşe", "lastName": "Yılmaz", "birthday": "1980-03-04", "phone": "+90 532 123 45 67"}


async def look(service: Service, **rest: Any) -> Revision:
    limits, zone = service.settings.limits, service.settings.time_zone
    rulings = Rulings(Profiles(limits=limits, zone=zone, clock=service.hands), service.hands)
    _, revision = await looked_for(service.settings, rulings, 0.99, 1_000, **rest)
    return revision


async def twice(service: Service, name: str, **other: Any) -> tuple[str, str]:
    """Somebody who is there as two users, one of them told sloppily; of a name and a birthday of their own."""
    person = {**PERSON, "lastName": f"Yılmaz{name}", "phone": f"0532{int.from_bytes(name.encode()):07}"}
    sloppy = {**person, "firstName": "AYSE ", **other}
    first = identified(f"{name}-1", at=after(1), traits=person)
    await service.shows(f"user_id:{name}-1", first)
    await service.shows(f"user_id:{name}-2", identified(f"{name}-2", at=after(2), traits=sloppy))
    return f"user_id:{name}-1", f"user_id:{name}-2"


async def proposals(service: Service, **query: Any) -> Json:
    answer = await service.send("GET", "/v1/identities/proposals", params=query)
    assert answer.status_code == 200, answer.text
    page: Json = answer.json()
    return page


async def proposed(service: Service, *two: str, status: str = "open") -> Json | None:
    page = await proposals(service, status=status, limit=500)
    return next((each for each in page["proposals"] if set(each["identifiers"]) == set(two)), None)


async def decide(service: Service, proposal: Json, answer: str, why: str = "she said so") -> httpx.Response:
    path = f"/v1/identities/proposals/{proposal['proposal_id']}/{answer}"
    return await service.send("POST", path, json={"why": why})


async def test_a_proposal_that_is_accepted_makes_one_person_and_unmerge_takes_it_back(service: Service) -> None:
    one, other = await twice(service, "ac")
    assert (await look(service, dry_run=True)).new >= 1
    assert await proposed(service, one, other) is None, "a dry run writes nothing"

    await look(service)
    found = await proposed(service, one, other)
    assert found is not None
    assert found["probability"] >= 0.99
    says = {each["compared"]: each["says"] for each in found["reasons"]}
    assert (says["given_name"], says["surname"], says["born"]) == ("is the same",) * 3
    assert "Yılmaz" not in str(found), "the values are in the profiles"

    answer = await decide(service, found, "accept")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["why"]) == ("accepted", "she said so")
    assert (await decide(service, found, "accept", "again")).json() == answer.json(), "saying it twice changes nothing"
    assert (await service.view(one))["profile_id"] == (await service.view(other))["profile_id"]
    whole = (await service.send("GET", "/v1/identities/rulings")).json()["rulings"]
    assert ("merge", "she said so") in [(each["ruling"], each["why"]) for each in whole]

    conflict = await decide(service, found, "refuse")
    assert (conflict.status_code, conflict.json()["code"]) == (409, "proposal_decided")
    body = {"identifier": other, "from": one, "why": "a mistake"}
    assert (await service.send("POST", "/v1/identities/unmerge", json=body)).status_code == 200
    assert (await service.view(one))["profile_id"] != (await service.view(other))["profile_id"]
    await look(service)
    assert await proposed(service, one, other) is None, "it was decided, and ruled otherwise since"


async def test_two_who_were_taken_apart_are_merged_again_by_accepting_once_more(service: Service) -> None:
    one, other = await twice(service, "ag")
    await look(service)
    found = await proposed(service, one, other)
    assert found is not None
    assert (await decide(service, found, "accept", "at first")).status_code == 200
    body = {"identifier": other, "from": one, "why": "a mistake"}
    assert (await service.send("POST", "/v1/identities/unmerge", json=body)).status_code == 200
    assert (await service.view(one))["profile_id"] != (await service.view(other))["profile_id"]

    again = await decide(service, found, "accept", "no mistake")
    assert (again.status_code, again.json()["status"], again.json()["why"]) == (200, "accepted", "no mistake")
    assert (await service.view(one))["profile_id"] == (await service.view(other))["profile_id"]
    assert (await decide(service, found, "accept", "once more")).json() == again.json()
    whole = (await service.send("GET", "/v1/identities/rulings")).json()["rulings"]
    ruled = [(each["ruling"], each["why"]) for each in whole if {each["identifier"], each["other"]} == {one, other}]
    assert ruled == [("merge", "no mistake"), ("split", "a mistake"), ("merge", "at first")]


async def test_what_was_refused_is_not_proposed_again(service: Service) -> None:
    one, other = await twice(service, "re")
    await look(service)
    found = await proposed(service, one, other)
    assert found is not None
    refused = await decide(service, found, "refuse", "twins")
    assert (refused.status_code, refused.json()["status"], refused.json()["who"]) == (200, "refused", "settings:secret")
    assert (await decide(service, found, "refuse")).json() == refused.json()

    assert (await look(service)).decided >= 1
    assert await proposed(service, one, other) is None
    assert await proposed(service, one, other, status="refused") == refused.json()
    assert (await service.view(one))["profile_id"] != (await service.view(other))["profile_id"]
    conflict = await decide(service, found, "accept")
    assert (conflict.status_code, conflict.json()["code"]) == (409, "proposal_decided")
    assert "refused" in conflict.json()["message"]


async def test_a_rerun_proposes_the_same_under_the_same_id_and_closes_what_is_gone(service: Service) -> None:
    one, other = await twice(service, "ru")
    await look(service)
    first = await proposed(service, one, other)
    assert first is not None
    assert (await look(service)).new == 0
    assert await proposed(service, one, other) == first

    sayings = {"firstName": "Mert", "lastName": "Demir", "birthday": "1999-12-31", "phone": "02125550000"}
    await service.shows(other, identified("ru-2", at=after(5), traits=sayings))
    await look(service)
    assert await proposed(service, one, other) is None
    gone = await proposed(service, one, other, status="gone")
    assert gone is not None
    assert gone["proposal_id"] == first["proposal_id"]
    answer = await decide(service, gone, "accept")
    assert (answer.status_code, answer.json()["code"]) == (409, "proposal_decided")


async def test_a_merge_that_a_ruling_forbids_leaves_the_proposal_open(service: Service) -> None:
    one, other = await twice(service, "co")
    await look(service)
    found = await proposed(service, one, other)
    assert found is not None
    await service.shows("user_id:co-3", identified("co-3", at=after(3)))
    for path, key, whom in (("merge", "into", one), ("unmerge", "from", one), ("merge", "into", other)):
        body = {"identifier": "user_id:co-3", key: whom, "why": "as it is"}
        assert (await service.send("POST", f"/v1/identities/{path}", json=body)).status_code == 200
    answer = await decide(service, found, "accept")
    assert (answer.status_code, answer.json()["code"]) == (409, "ruling_contradicted")
    assert await proposed(service, one, other) == found


async def test_two_who_became_one_by_way_of_somebody_else_are_accepted_all_the_same(service: Service) -> None:
    one, other = await twice(service, "tg")
    await look(service)
    found = await proposed(service, one, other)
    assert found is not None
    await service.shows("user_id:tg-3", identified("tg-3", at=after(3)))
    for whom in (one, other):
        body = {"identifier": "user_id:tg-3", "into": whom, "why": "as it is"}
        assert (await service.send("POST", "/v1/identities/merge", json=body)).status_code == 200
    before = (await service.send("GET", "/v1/identities/rulings")).json()
    answer = await decide(service, found, "accept")
    assert (answer.status_code, answer.json()["status"]) == (200, "accepted"), answer.text
    assert (await service.send("GET", "/v1/identities/rulings")).json() == before, "nothing was left to rule"


async def test_one_who_was_absorbed_by_somebody_else_brings_them_along(service: Service) -> None:
    one, other = await twice(service, "al")
    await look(service)
    found = await proposed(service, one, other)
    assert found is not None
    await service.shows("user_id:al-3", identified("al-3", at=after(0)))
    body = {"identifier": other, "into": "user_id:al-3", "why": "as it is"}
    assert (await service.send("POST", "/v1/identities/merge", json=body)).status_code == 200
    assert (await decide(service, found, "accept")).json()["status"] == "accepted"
    assert len({(await service.view(each))["profile_id"] for each in (one, other, "user_id:al-3")}) == 1


async def test_pages_hold_the_heaviest_first_and_skip_nothing(service: Service) -> None:
    for name in ("pa", "pb", "pc"):
        await twice(service, name, **({"birthday": "1980-03-05"} if name == "pb" else {}))
    await look(service)
    whole = (await proposals(service, limit=500))["proposals"]
    assert len(whole) >= 3
    assert [each["weight"] for each in whole] == sorted((each["weight"] for each in whole), reverse=True)
    paged, cursor = [], None
    while True:
        page = await proposals(service, limit=2, **({"cursor": cursor} if cursor else {}))
        paged += page["proposals"]
        if (cursor := page["next"]) is None:
            break
    assert paged == whole


async def test_an_absorbed_profile_is_not_looked_at(service: Service) -> None:
    one, other = await twice(service, "ab")
    body = {"identifier": other, "into": one, "why": "the same"}
    assert (await service.send("POST", "/v1/identities/merge", json=body)).status_code == 200
    await service.view(one)
    await service.view(f"profile_id:{profile_id(Identifier.parse(other))}")
    await look(service)
    assert await proposed(service, one, other) is None


async def test_what_is_not_there_is_not_found(service: Service) -> None:
    for method, path in (("GET", ""), ("POST", "/accept"), ("POST", "/refuse")):
        rest = {"json": {"why": "x"}} if method == "POST" else {}
        answer = await service.send(method, f"/v1/identities/proposals/nothing{path}", **rest)
        assert (answer.status_code, answer.json()["code"]) == (404, "proposal_not_found")
    answer = await service.send("GET", "/v1/identities/proposals", params={"cursor": "made up"})
    assert (answer.status_code, answer.json()["details"][0]["code"]) == (400, "invalid_cursor")


async def test_an_operator_is_shown_what_was_found(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    await twice(service, "op")
    monkeypatch.setattr("services.profile.cli.Settings", lambda: service.settings)
    shown = await asyncio.to_thread(CliRunner().invoke, main, ["duplicates", "--at-least", "0.99", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "user_id:op-1" in shown.output
    assert "too few to learn from" in shown.output


async def test_without_the_extra_an_operator_is_told_what_to_install(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.profile.cli.Settings", lambda: service.settings)
    monkeypatch.setitem(sys.modules, "splink", None)
    told = await asyncio.to_thread(CliRunner().invoke, main, ["duplicates"])
    assert told.exit_code == 1
    assert "pip install splink" in told.output
