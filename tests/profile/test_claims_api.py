"""The attacks with a public key, as they were made, on the running service; and that everybody sees who says what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from services.profile.domain.identity import profile_id
from shared.events import Touchpoint
from shared.identifiers import Identifier
from tests.builders import Json, after, aliased, identified, joined, ordered, touchpoint, viewed
from tests.profile.service import Service

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)

PAGE: dict[str, Any] = {"trust": "client", "source": "page"}
CRM: dict[str, Any] = {"trust": "server", "source": "crm"}


def id_of(name: str) -> str:
    return profile_id(Identifier.parse(name))


def backdated(user: str, minutes: float, **rest: Any) -> Touchpoint:
    """An identify of a client, received so long after the start, that says it happened in the year 2001."""
    return identified(user, at=LONG_AGO, received_at=after(minutes), **PAGE, **rest)


async def explained(service: Service, person: str) -> Json:
    answer = await service.send("GET", f"/v1/profiles/{quote(person, safe='')}/identity", params={"limit": 500})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def values(view: Json, kind: str) -> list[str]:
    return [each["value"] for each in view["identifiers"] if each["kind"] == kind]


@pytest.mark.parametrize("sender", [PAGE, CRM], ids=["from a page", "from the CRM"])
async def test_a_backdated_identify_moves_nothing_of_the_victim(service: Service, sender: dict[str, Any]) -> None:
    name = f"bd-{sender['source']}"
    crm = Identifier("crm", f"{name}-7")
    await service.shows(
        f"user_id:{name}-victim",
        identified(
            f"{name}-victim", f"{name}-a", traits={"email": f"{name}@example.com"}, external_ids=(crm,), **sender
        ),
    )
    stolen = backdated(
        f"{name}-thief", 60, anonymous=f"{name}-a", traits={"email": f"{name}@example.com"}, external_ids=(crm,)
    )
    thief = await service.shows(f"user_id:{name}-thief", stolen)
    assert [each["value"] for each in thief["identifiers"]] == [f"{name}-thief"]
    for each in (f"email:{name}@example.com", str(crm), f"anonymous_id:{name}-a"):
        assert (await service.view(each))["profile_id"] == id_of(f"user_id:{name}-victim")

    edges = {
        (each["kind"], each["trust"]): each for each in (await explained(service, f"user_id:{name}-thief"))["edges"]
    }
    assert not edges["login", "client"]["holds"]
    assert edges["login", "client"]["why"]["code"] == ("later" if sender == PAGE else "less_trusted")
    assert edges["login", "client"]["at"] == "2026-03-01T11:00:00.000Z", "it counts from its receipt"
    assert edges["login", "client"]["happened_at"] == "2001-01-01T00:00:00.000Z"


async def test_a_server_takes_back_what_a_client_had_claimed_before(service: Service) -> None:
    await service.shows("user_id:tb-thief", identified("tb-thief", traits={"email": "tb@example.com"}, **PAGE))
    victim = await service.shows(
        "user_id:tb-victim", identified("tb-victim", at=after(60), traits={"email": "tb@example.com"}, **CRM)
    )
    assert values(victim, "email") == ["tb@example.com"]
    assert [each["trust"] for each in victim["identifiers"]] == ["server", "server"]
    thief = await service.becomes("user_id:tb-thief", "touchpoints.count", 1)
    assert values(thief, "email") == []


async def test_twelve_hundred_identifies_push_out_nothing_of_the_victim(service: Service) -> None:
    mine = identified("fl-victim", "fl-device", traits={"email": "fl@example.com"}, **CRM)
    await service.shows("user_id:fl-victim", mine)
    flood = [
        backdated("fl-victim", 60 + number, anonymous=f"fl-{number}", traits={"email": f"fl-{number}@example.com"})
        for number in range(1200)
    ]
    for start in range(0, 1200, 300):
        await service.tell(*flood[start : start + 300], key="fl-victim")
    seen = await service.becomes("user_id:fl-victim", "touchpoints.count", 1201)
    assert "fl@example.com" in values(seen, "email")
    for each in ("anonymous_id:fl-device", "email:fl@example.com"):
        assert (await service.view(each))["profile_id"] == id_of("user_id:fl-victim")
    again = identified("fl-victim", "fl-new-device", at=after(days=3), traits={"email": "fl-new@example.com"}, **CRM)
    later = await service.shows("user_id:fl-victim", again)
    assert {"fl@example.com", "fl-new@example.com"} <= set(values(later, "email"))
    assert (await service.view("anonymous_id:fl-new-device"))["profile_id"] == id_of("user_id:fl-victim")


async def test_an_sdk_s_alias_at_the_first_login_joins_no_users(service: Service) -> None:
    visit = viewed(anonymous="fa-device", **PAGE)
    login = aliased("fa-device", "fa-victim", anonymous="fa-device", at=after(1), **PAGE)
    posing = identified("fa-device", at=after(2), **PAGE)
    victim = await service.shows("user_id:fa-victim", visit, login, posing)
    assert [(each["kind"], each["value"]) for each in victim["identifiers"]] == [
        ("anonymous_id", "fa-device"),
        ("user_id", "fa-victim"),
    ]
    assert victim["root"] == "anonymous_id:fa-device"
    assert (await service.view("user_id:fa-device"))["profile_id"] == id_of("user_id:fa-device")


async def test_no_trait_consent_or_group_that_a_server_stated_is_replaced(service: Service) -> None:
    told = [
        identified("tr-u", traits={"plan": "free"}, **CRM),
        touchpoint("Consent Changed", user="tr-u", properties={"purpose": "marketing", "granted": False}, **CRM),
        joined("tr-acme", user="tr-u", **CRM),
    ]
    await service.shows("user_id:tr-u", *told)
    claimed = [
        identified("tr-u", at=after(9), traits={"plan": "vip", "city": "Izmir"}, **PAGE),
        touchpoint(
            "Consent Changed",
            user="tr-u",
            at=after(9),
            properties={"purpose": "marketing", "granted": True},
            **PAGE,
        ),
        touchpoint("Group Left", user="tr-u", at=after(9), properties={"group_id": "tr-acme"}, **PAGE),
        joined("tr-other", user="tr-u", at=after(9), **PAGE),
    ]
    seen = await service.shows("user_id:tr-u", *claimed)
    assert {name: (each["value"], each["trust"], each["source"]) for name, each in seen["traits"].items()} == {
        "plan": ("free", "server", "crm"),
        "city": ("Izmir", "client", "page"),
    }
    assert (seen["consent"]["marketing"]["*"]["granted"], seen["consent"]["marketing"]["*"]["trust"]) == (
        False,
        "server",
    )
    assert [(each["id"], each["trust"]) for each in seen["groups"]] == [("tr-acme", "server"), ("tr-other", "client")]

    words = (await service.send("GET", "/v1/profiles/user_id:tr-u/traits/plan")).json()["words"]
    assert [(each["value"], each["trust"], each["wins"]) for each in words] == [
        ("vip", "client", False),
        ("free", "server", True),
    ]
    present = (await service.send("GET", "/v1/profiles/user_id:tr-u/traits")).json()["traits"]
    assert {each["trait"]: each["trust"] for each in present} == {"plan": "server", "city": "client"}


async def test_a_timeline_says_which_source_every_touchpoint_is_of_and_its_trust(service: Service) -> None:
    await service.shows("user_id:tl-u", ordered(5, user="tl-u", **CRM), viewed(user="tl-u", at=after(1), **PAGE))
    page = (await service.send("GET", "/v1/profiles/user_id:tl-u/timeline")).json()
    assert [(each["type"], each["source"], each["trust"]) for each in page["touchpoints"]] == [
        ("page", "page", "client"),
        ("track", "crm", "server"),
    ]


async def test_segments_and_computed_traits_may_count_only_what_servers_say(service: Service) -> None:
    await service.shows(
        "user_id:cs-u",
        ordered(5, order="1", user="cs-u", **CRM),
        ordered(1_000_000, order="2", user="cs-u", at=after(1), **PAGE),
        identified("cs-u", at=after(2), traits={"cs_plan": "vip"}, **PAGE),
    )
    formula = {"name": "Spent", "event": "Order Completed", "aggregate": "sum", "property": "total"}
    for id, filter in (("cs_spent", 'trust == "server"'), ("cs_paged", 'source == "page"')):
        saved = await service.send("PUT", f"/v1/computed/{id}", json={**formula, "filter": filter})
        assert saved.status_code == 200, saved.text
    for id, rule in (
        ("cs-told", 'provenance.traits.cs_plan.trust == "server"'),
        ("cs-claimed", 'traits.cs_plan == "vip" && provenance.traits.cs_plan.source == "page"'),
    ):
        saved = await service.send("PUT", f"/v1/segments/{id}", json={"name": id, "rule": rule})
        assert saved.status_code == 200, saved.text
    await service.becomes("user_id:cs-u", "computed.cs_spent", 5)
    await service.becomes("user_id:cs-u", "computed.cs_paged", 1_000_000)
    seen = await service.shows(
        "user_id:cs-u",
        ordered(7, order="3", user="cs-u", at=after(3), **CRM),
        ordered(9, order="4", user="cs-u", at=after(4), **PAGE),
    )
    assert (seen["computed"]["cs_spent"], seen["computed"]["cs_paged"]) == (12, 1_000_009)
    assert [each["id"] for each in seen["segments"] if each["id"].startswith("cs-")] == ["cs-claimed"]


async def test_what_a_phone_sends_only_when_it_is_online_again_keeps_its_order(service: Service) -> None:
    """A visit, a login and another person's login on one device, all received hours later in one batch."""
    batch = [
        viewed(anonymous="of-phone", at=after(1), received_at=after(600), id="of-z", **PAGE),
        identified("of-first", "of-phone", at=after(2), received_at=after(600), id="of-y", **PAGE),
        identified("of-second", "of-phone", at=after(3), received_at=after(600), id="of-x", **PAGE),
    ]
    first = await service.shows("user_id:of-first", *batch)
    assert first["root"] == "anonymous_id:of-phone"
    assert first["touchpoints"]["count"] == 2
    assert first["touchpoints"]["first_at"] == "2026-03-01T10:01:00.000Z"
    assert [each["value"] for each in (await service.view("user_id:of-second"))["identifiers"]] == ["of-second"]
