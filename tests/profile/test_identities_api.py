"""Identity over HTTP: taken apart and put together again, by whom and why, and explained."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from services.profile.domain.identity import profile_id
from shared import topics
from shared.events import Identified
from shared.identifiers import Identifier
from tests.builders import Json, after, aliased, identified, ordered, viewed
from tests.profile.service import Service, running, settings
from tests.servers import Installation
from tests.waiting import until


def id_of(name: str) -> str:
    return profile_id(Identifier.parse(name))


async def unmerge(service: Service, identifier: str, other: str, why: str = "shared tablet") -> httpx.Response:
    return await service.send(
        "POST", "/v1/identities/unmerge", json={"identifier": identifier, "from": other, "why": why}
    )


async def merge(service: Service, identifier: str, into: str, why: str = "the same after all") -> httpx.Response:
    return await service.send("POST", "/v1/identities/merge", json={"identifier": identifier, "into": into, "why": why})


async def explained(service: Service, person: str, **query: Any) -> Json:
    answer = await service.send("GET", f"/v1/profiles/{quote(person, safe='')}/identity", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def plain(view: Json) -> Json:
    return {name: value for name, value in view.items() if name != "version"}


# --- taken back ------------------------------------------------------------------------------------------------------


async def test_unmerge_and_then_merge_give_the_first_state_again(service: Service) -> None:
    life = [
        viewed(anonymous="un-a"),
        identified("un-u", "un-a", at=after(1), traits={"email": "un@example.com"}),
        ordered(12.5, user="un-u", at=after(2)),
    ]
    before = await service.shows("user_id:un-u", *life)

    answer = await unmerge(service, "anonymous_id:un-a", "user_id:un-u")
    assert answer.status_code == 200, answer.text
    assert answer.json()["profiles"] == [
        {"identifier": "anonymous_id:un-a", "profile_id": id_of("anonymous_id:un-a")},
        {"identifier": "user_id:un-u", "profile_id": id_of("user_id:un-u")},
    ]
    left, alone = await service.view("user_id:un-u"), await service.view("anonymous_id:un-a")
    assert (left["touchpoints"]["count"], alone["touchpoints"]["count"]) == (2, 1)
    assert left["computed"] == before["computed"]
    assert [each["value"] for each in alone["identifiers"]] == ["un-a"]
    assert await service.view(f"profile_id:{id_of('anonymous_id:un-a')}") == alone, "it lives again under its old id"

    answer = await merge(service, "anonymous_id:un-a", "user_id:un-u")
    assert {each["profile_id"] for each in answer.json()["profiles"]} == {before["profile_id"]}
    again = await service.view("anonymous_id:un-a")
    assert plain(again) == plain(before)
    assert before["version"] < left["version"] < again["version"]
    assert await service.view(f"profile_id:{id_of('anonymous_id:un-a')}") == again, "an old id answers for ever"


async def test_who_is_in_a_segment_is_merged_by_the_profile_id_that_it_lists(service: Service) -> None:
    saved = await service.send("PUT", "/v1/segments/ms-twins", json={"name": "Twins", "rule": "traits.ms == true"})
    assert saved.status_code == 200, saved.text
    life = [identified(f"ms-{n}", at=after(n), traits={"ms": True}) for n in range(2)]
    await service.shows("user_id:ms-1", *life)

    async def listed() -> list[str]:
        page = (await service.send("GET", "/v1/segments/ms-twins/profiles")).json()["profiles"]
        return [each["profile_id"] for each in page] if len(page) == 2 else []

    one, other = await until(listed)
    answer = await merge(service, f"profile_id:{one}", f"profile_id:{other}")
    assert answer.status_code == 200, answer.text
    assert {each["profile_id"] for each in answer.json()["profiles"]} == {id_of("user_id:ms-0")}
    assert {each["identifier"] for each in answer.json()["profiles"]} == {"user_id:ms-0", "user_id:ms-1"}
    answer = await unmerge(service, f"profile_id:{one}", f"profile_id:{other}")
    assert {each["profile_id"] for each in answer.json()["profiles"]} == {one, other}

    answer = await merge(service, f"profile_id:{id_of('user_id:nobody')}", f"profile_id:{other}")
    assert (answer.status_code, answer.json()["code"]) == (404, "profile_not_found")
    assert id_of("user_id:nobody") in answer.json()["message"]


async def test_the_topic_of_identities_is_told(service: Service) -> None:
    await service.shows("user_id:tp-u", identified("tp-u", "tp-a"))
    await unmerge(service, "anonymous_id:tp-a", "user_id:tp-u")
    await service.view("anonymous_id:tp-a")
    await service.view("user_id:tp-u")

    async def told(name: str) -> list[Any]:
        events = await service.read(topics.IDENTITIES, Identified, id_of(name))
        versions = [each.data.version for each in events]
        assert versions == sorted(set(versions))
        return [(each.data.redirect, [str(identifier) for identifier in each.data.identifiers]) for each in events]

    async def both() -> bool:
        return (await told("anonymous_id:tp-a"))[-1:] == [(None, ["anonymous_id:tp-a"])] and (
            await told("user_id:tp-u")
        )[-1] == (None, ["user_id:tp-u"])

    await until(both)
    await merge(service, "anonymous_id:tp-a", "user_id:tp-u")

    async def together() -> bool:
        last = (await told("anonymous_id:tp-a"))[-1]
        return bool(last == (id_of("user_id:tp-u"), []))

    await until(together)


async def test_users_that_an_alias_joined_are_taken_apart(service: Service) -> None:
    life = [identified("al-u", at=after(1)), identified("al-v", at=after(2)), aliased("al-v", "al-u", at=after(3))]
    assert (await service.shows("user_id:al-v", *life))["profile_id"] == id_of("user_id:al-u")
    assert (await unmerge(service, "user_id:al-v", "user_id:al-u")).status_code == 200
    assert (await service.view("user_id:al-v"))["profile_id"] == id_of("user_id:al-v")
    again = identified("al-v", at=after(5))
    assert (await service.shows("user_id:al-v", again))["profile_id"] == id_of("user_id:al-v"), "it lasts"


async def test_every_ruling_is_kept_with_who_and_why(service: Service) -> None:
    await service.shows("user_id:au-u", identified("au-u", "au-a"))
    for number in range(2):
        await unmerge(service, "anonymous_id:au-a", "user_id:au-u", f"no {number}")
        await merge(service, "anonymous_id:au-a", "user_id:au-u", f"yes {number}")
    whole, cursor = [], None
    while True:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = (await service.send("GET", "/v1/identities/rulings", params=query)).json()
        whole += page["rulings"]
        if (cursor := page["next"]) is None:
            break
    mine = [each for each in whole if each["identifier"] == "anonymous_id:au-a"]
    assert [(each["ruling"], each["why"]) for each in mine] == [
        ("merge", "yes 1"),
        ("split", "no 1"),
        ("merge", "yes 0"),
        ("split", "no 0"),
    ]
    assert {each["who"] for each in mine} == {"settings:secret"}


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("unmerge", {"identifier": "anonymous_id:rf-x", "from": "user_id:rf-u", "why": "w"}, 404, "profile_not_found"),
        ("merge", {"identifier": "anonymous_id:rf-a", "into": "user_id:rf-x", "why": "w"}, 404, "profile_not_found"),
        ("unmerge", {"identifier": "anonymous_id:rf-a", "from": "user_id:rf-v", "why": "w"}, 409, "not_merged"),
        ("merge", {"identifier": "anonymous_id:rf-a", "into": "user_id:rf-u", "why": "w"}, 409, "already_merged"),
        ("merge", {"identifier": "user_id:null", "into": "user_id:rf-u", "why": "w"}, 422, "ruling_refused"),
        ("merge", {"identifier": "phone:-1", "into": "user_id:rf-u", "why": "w"}, 422, "ruling_refused"),
        ("merge", {"identifier": "user_id:rf-u", "into": "user_id:rf-u", "why": "w"}, 422, "ruling_refused"),
        ("merge", {"identifier": "rf-u", "into": "user_id:rf-u", "why": "w"}, 422, "invalid_request"),
        ("merge", {"identifier": "user_id:rf-u", "into": "user_id:rf-v", "why": " "}, 422, "invalid_request"),
        ("unmerge", {"identifier": "user_id:rf-u", "from": "user_id:rf-v"}, 422, "invalid_request"),
        ("unmerge", {"identifier": "user_id:rf\0", "from": "user_id:rf-v", "why": "w"}, 422, "invalid_request"),
    ],
)
async def test_what_can_not_be_ruled_is_refused_by_name(
    service: Service, path: str, body: Json, status: int, code: str
) -> None:
    await service.shows("user_id:rf-v", identified("rf-u", "rf-a"), identified("rf-v"))
    answer = await service.send("POST", f"/v1/identities/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_merge_that_a_split_forbids_names_the_split(service: Service) -> None:
    life = [identified(name, at=after(n)) for n, name in enumerate(("fb-u", "fb-v", "fb-w"))]
    await service.shows("user_id:fb-w", *life, aliased("fb-v", "fb-u", at=after(5)))
    split = (await unmerge(service, "user_id:fb-v", "user_id:fb-u")).json()["ruling"]
    assert (await merge(service, "user_id:fb-w", "user_id:fb-v")).status_code == 200
    answer = await merge(service, "user_id:fb-w", "user_id:fb-u")
    assert (answer.status_code, answer.json()["code"]) == (409, "ruling_contradicted")
    assert answer.json()["details"][0]["ruling_id"] == split["ruling_id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "identities/merge"),
        ("POST", "identities/unmerge"),
        ("GET", "identities/rulings"),
        ("GET", "profiles/user_id:u/identity"),
    ],
)
async def test_every_route_needs_the_secret_key(service: Service, method: str, path: str) -> None:
    assert (await service.client.request(method, f"/v1/{path}")).status_code == 401
    wrong = {"Authorization": f"Basic {base64.b64encode(b'another key:').decode()}"}
    assert (await service.client.request(method, f"/v1/{path}", headers=wrong)).status_code == 403


# --- explained -------------------------------------------------------------------------------------------------------


async def test_every_link_tells_why_it_holds_or_not(service: Service) -> None:
    first, second, third = (
        identified("ex-u", "ex-a", at=after(1), traits={"email": "ex@example.com"}),
        identified("ex-v", "ex-a", at=after(2)),
        identified("ex-u", "ex-b", at=after(3)),
    )
    await service.shows("user_id:ex-u", first, second, third, aliased("ex-ghost", "ex-u", at=after(4)))
    apart = (await unmerge(service, "anonymous_id:ex-b", "user_id:ex-u", "not hers")).json()["ruling"]
    told = await explained(service, "email:ex@example.com")

    assert told["profile_id"] == id_of("user_id:ex-u")
    assert told["conflicts"] == 2, "another user on her device, and she on one that is not hers"
    because = {f"{each['kind']}:{each['value']}": each["because"]["code"] for each in told["identifiers"]}
    assert because == {"anonymous_id:ex-a": "login", "email:ex@example.com": "claim", "user_id:ex-u": "named"}
    assert told["identifiers"][0]["because"]["touchpoint_id"] == first.id

    edges = {(each["kind"], each["member"], each["owner"]): each for each in told["edges"]}
    assert {key for key, each in edges.items() if each["holds"]} == {
        ("login", "anonymous_id:ex-a", "user_id:ex-u"),
        ("claim", "email:ex@example.com", "user_id:ex-u"),
    }
    lost = edges["login", "anonymous_id:ex-a", "user_id:ex-v"]
    assert (lost["touchpoint_id"], lost["at"]) == (second.id, "2026-03-01T10:02:00.000Z")
    assert (lost["why"]["code"], lost["why"]["touchpoint_id"]) == ("later", first.id)
    split = edges["login", "anonymous_id:ex-b", "user_id:ex-u"]["why"]
    assert (split["code"], split["ruling_id"]) == ("split", apart["ruling_id"])
    unseen = {edges[kind, f"{of}:ex-ghost", "user_id:ex-u"]["why"]["code"] for kind, of in GHOSTLY}
    assert unseen == {"never_seen"}
    assert told["rulings"] == [{**apart, "holds": True, "no_effect": None}]

    from_the_other_side = await explained(service, "user_id:ex-v")
    assert [each["why"]["code"] for each in from_the_other_side["edges"]] == ["later"]
    assert from_the_other_side["conflicts"] == 1


GHOSTLY = (("alias", "user_id"), ("login", "anonymous_id"))


async def test_over_the_limit_and_ruled_elsewhere_are_told(installed: Installation) -> None:
    async with running(settings(installed, identifier_limit=1)) as service:
        life = [identified("ol-u", at=after(n), traits={"email": f"ol{n}@example.com"}) for n in range(3)]
        await service.shows("user_id:ol-u", *life, identified("ol-v"))
        assert (await merge(service, "email:ol0@example.com", "user_id:ol-v")).status_code == 200
        assert (await merge(service, "email:ol2@example.com", "user_id:ol-u")).status_code == 200
        told = await explained(service, "user_id:ol-u")
        codes = {each["member"]: each["why"] and each["why"]["code"] for each in told["edges"]}
        assert codes == {
            "email:ol0@example.com": "merge",
            "email:ol1@example.com": "over_limit",
            "email:ol2@example.com": "merge",
        }
        assert [each["because"]["code"] for each in told["identifiers"]] == ["merge", "named"]


async def test_an_email_that_found_no_room_with_its_first_claimant_is_told_to_be_nobodys(service: Service) -> None:
    full = [identified("nr-u", at=after(n), traits={"email": f"nr{n}@example.com"}) for n in range(7)]
    later = [identified("nr-v", at=after(9 + n), traits={"email": f"nr{n}@example.com"}) for n in (0, 6)]
    await service.shows("user_id:nr-v", *full, *later)
    assert (await service.ask("email:nr6@example.com")).status_code == 404
    edges = {each["member"]: each for each in (await explained(service, "user_id:nr-v"))["edges"]}
    assert not any(each["holds"] for each in edges.values())
    owned, nobodys = edges["email:nr0@example.com"]["why"], edges["email:nr6@example.com"]["why"]
    assert (owned["code"], owned["touchpoint_id"]) == ("later", full[0].id)
    assert owned["message"].startswith("email:nr0@example.com belongs to user_id:nr-u")
    assert (nobodys["code"], nobodys["touchpoint_id"]) == ("over_limit", full[6].id)
    assert nobodys["message"].endswith("a profile takes 5 of email. So email:nr6@example.com is nobody's")


async def test_a_merge_that_a_later_split_undoes_tells_so_on_both_sides(service: Service) -> None:
    life = [identified(f"ne-{name}", at=after(number)) for number, name in enumerate("abc")]
    await service.shows("user_id:ne-c", *life)
    one = (await merge(service, "user_id:ne-c", "user_id:ne-b")).json()["ruling"]
    other = (await merge(service, "user_id:ne-b", "user_id:ne-a")).json()["ruling"]
    split = (await unmerge(service, "user_id:ne-a", "user_id:ne-c")).json()["ruling"]
    assert (await service.view("user_id:ne-b"))["profile_id"] != (await service.view("user_id:ne-a"))["profile_id"]

    for person in ("user_id:ne-a", "user_id:ne-b"):
        told = {each["ruling_id"]: each["no_effect"] for each in (await explained(service, person))["rulings"]}
        assert (told[other["ruling_id"]]["code"], told[other["ruling_id"]]["ruling_id"]) == (
            "split",
            split["ruling_id"],
        )
        del told[other["ruling_id"]]
        assert set(told.values()) == {None}
    assert one["ruling_id"] in told, "that one stands: it was said before"

    await merge(service, "user_id:ne-a", "user_id:ne-c")
    rulings = (await explained(service, "user_id:ne-b"))["rulings"]
    why = {each["ruling_id"]: each["no_effect"] and each["no_effect"]["code"] for each in rulings}
    assert why.pop(split["ruling_id"]) == "superseded", "the merge took it back"
    assert set(why.values()) == {None}


async def test_of_two_merges_of_one_email_the_last_has_its_effect(service: Service) -> None:
    await service.shows("user_id:tw-v", identified("tw-u", traits={"email": "tw@example.com"}), identified("tw-v"))
    await unmerge(service, "email:tw@example.com", "user_id:tw-u")
    first = (await merge(service, "email:tw@example.com", "user_id:tw-u")).json()["ruling"]
    second = (await merge(service, "email:tw@example.com", "user_id:tw-v")).json()["ruling"]
    told = {each["ruling_id"]: each["no_effect"] for each in (await explained(service, "user_id:tw-u"))["rulings"]}
    why = told[first["ruling_id"]]
    assert (why["code"], why["ruling_id"]) == ("merge", second["ruling_id"])


async def test_a_thousand_identifiers_are_explained_page_by_page(service: Service) -> None:
    life = [identified("pg-u", f"pg-{number:04}", at=after(number)) for number in range(1000)]
    await service.shows("user_id:pg-u", *life)
    await unmerge(service, "anonymous_id:pg-0007", "user_id:pg-u")
    identifiers, edges, rulings, cursor = [], [], [], None
    while True:
        page = await explained(service, "user_id:pg-u", limit=400, **({"cursor": cursor} if cursor else {}))
        assert sum(len(page[name]) for name in ("identifiers", "edges", "rulings")) <= 400
        identifiers += page["identifiers"]
        edges += page["edges"]
        rulings += page["rulings"]
        if (cursor := page["next"]) is None:
            break
    values = [each["value"] for each in identifiers]
    assert values == [*(f"pg-{number:04}" for number in range(1000) if number != 7), "pg-u"]
    assert [each["member"] for each in edges] == [f"anonymous_id:pg-{number:04}" for number in range(1000)]
    assert [each["member"] for each in edges if not each["holds"]] == ["anonymous_id:pg-0007"]
    assert len(rulings) == 1


async def test_the_explanation_of_nobody_is_not_found(service: Service) -> None:
    answer = await service.send("GET", "/v1/profiles/user_id:nobody/identity")
    assert (answer.status_code, answer.json()["code"]) == (404, "profile_not_found")
    answer = await service.send("GET", "/v1/profiles/user_id:nobody/identity", params={"cursor": "made up"})
    assert (answer.status_code, answer.json()["details"][0]["code"]) == (400, "invalid_cursor")


async def test_every_route_has_an_example(service: Service) -> None:
    described = (await service.send("GET", "/openapi.json")).json()
    schemas = described["components"]["schemas"]
    assert all("example" in schemas[name] for name in ("Merge", "Unmerge", "RuledBody", "IdentityPage"))
    assert {"/v1/identities/merge", "/v1/identities/unmerge", "/v1/profiles/{person}/identity"} <= described[
        "paths"
    ].keys()
