"""Profile on real servers: from the log to the view and to the topics. What HTTP promises beside that is in
`tests/profile/test_api.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from services.profile.domain.identity import profile_id
from shared import topics
from shared.events import Identified, Profiled, ShownScores, Signalled, Touchpoint
from shared.identifiers import Identifier
from tests.builders import Json, after, aliased, identified, ordered, touchpoint, viewed
from tests.profile import oracle
from tests.profile.service import Service, make_topics, running, settings, share
from tests.servers import Installation, Servers
from tests.waiting import until


@pytest.fixture(scope="module")
async def installed(servers: Servers) -> AsyncIterator[Installation]:
    async with servers.installation() as installation:
        await make_topics(installation)
        yield installation


@pytest.fixture(scope="module")
async def service(installed: Installation) -> AsyncIterator[Service]:
    """One for all tests of this file: each speaks of people of its own."""
    async with running(settings(installed)) as service:
        yield service


def plain(view: Mapping[str, Any]) -> Json:
    """A view without what depends on when it was published."""
    seen = {name: value for name, value in view.items() if name not in ("version", "segments", "stage")}
    return {**seen, "segments": [each["id"] for each in view["segments"]], "stage": view["stage"]["name"]}


def id_of(kind: str, value: str) -> str:
    return profile_id(Identifier(kind, value))


# --- who is who ------------------------------------------------------------------------------------------------------


async def test_a_login_makes_one_profile_of_two_and_the_old_id_still_answers(service: Service) -> None:
    before = await service.shows(
        "anonymous_id:in-a", viewed(anonymous="in-a"), viewed("Shop", anonymous="in-a", at=after(1))
    )
    merged = await service.shows(
        "user_id:in-u", identified("in-u", "in-a", at=after(2), traits={"email": "In@Example.com"})
    )

    assert [(each["kind"], each["value"]) for each in merged["identifiers"]] == [
        ("anonymous_id", "in-a"),
        ("email", "in@example.com"),
        ("user_id", "in-u"),
    ]
    assert merged["touchpoints"]["count"] == 3
    assert merged["root"] == before["root"] == "anonymous_id:in-a", "stable across login"
    assert merged["version"] > before["version"], "whichever id they are asked for by, it never falls"
    for name in ("anonymous_id:in-a", "email:IN@example.com ", f"profile_id:{before['profile_id']}"):
        assert await service.view(name) == merged

    async def told() -> list[Identified]:
        memberships = await service.read(topics.IDENTITIES, Identified, before["profile_id"])
        return memberships if memberships[-1].data.redirect else []

    assert (await until(told))[-1].data.redirect == merged["profile_id"]
    views = await service.read(topics.PROFILES, Profiled, before["profile_id"])
    assert views[-1].data.redirect == merged["profile_id"]
    assert views[-1].data.identifiers == ()


async def test_a_shared_tablet_does_not_merge_two_people(service: Service) -> None:
    life = [
        viewed(anonymous="tablet"),
        identified("ta-ayse", "tablet", at=after(1), traits={"city": "İzmir"}),
        identified("ta-mert", "tablet", at=after(2), traits={"city": "Ankara"}),
    ]
    mert = await service.shows("user_id:ta-mert", *life)
    ayse = await service.view("user_id:ta-ayse")
    assert ayse["profile_id"] != mert["profile_id"]
    assert (await service.view("anonymous_id:tablet"))["profile_id"] == ayse["profile_id"]
    assert [each["value"] for each in mert["identifiers"]] == ["ta-mert"]
    assert (ayse["traits"]["city"]["value"], mert["traits"]["city"]["value"]) == ("İzmir", "Ankara")


async def test_alias_makes_one_person_of_two_users_named_by_the_first_seen(service: Service) -> None:
    two = [identified("al-new", at=after(5)), identified("al-old", at=after(1))]
    await service.shows("user_id:al-old", *two)
    merged = await service.shows("user_id:al-new", aliased("al-new", "al-old", at=after(9)))
    assert merged["profile_id"] == id_of("user_id", "al-old")
    assert (
        merged == await service.view("user_id:al-old") == await service.view(f"profile_id:{id_of('user_id', 'al-new')}")
    )


async def test_an_earlier_login_that_arrives_late_moves_the_device(service: Service) -> None:
    await service.shows(
        "anonymous_id:mv-a", identified("mv-second", "mv-a", at=after(5)), viewed(anonymous="mv-a", at=after(6))
    )
    first = await service.shows("anonymous_id:mv-a", identified("mv-first", "mv-a", at=after(1)))
    assert first["profile_id"] == id_of("user_id", "mv-first")
    assert first["touchpoints"]["count"] == 2
    second = await service.becomes("user_id:mv-second", "touchpoints.count", 1)
    assert [each["value"] for each in second["identifiers"]] == ["mv-second"]


async def test_a_name_that_turns_out_to_be_the_later_one_gives_way_and_can_come_back(service: Service) -> None:
    """Two aliases: whoever was seen first names the profile, also when that is only learnt later."""
    life = [identified("nm-a", at=after(3)), aliased("nm-b", "nm-a", at=after(4)), viewed(user="nm-b", at=after(5))]
    assert (await service.shows("user_id:nm-b", *life))["profile_id"] == id_of("user_id", "nm-a")
    assert (await service.shows("user_id:nm-a", viewed(user="nm-b", at=after(2))))["profile_id"] == id_of(
        "user_id", "nm-b"
    )
    last = await service.shows("user_id:nm-b", viewed(user="nm-a", at=after(1)))
    assert last["profile_id"] == id_of("user_id", "nm-a")
    assert await service.view(f"profile_id:{id_of('user_id', 'nm-b')}") == last
    versions = [each.data.version for each in await service.read(topics.PROFILES, Profiled, last["profile_id"])]
    assert versions == sorted(set(versions)), "a version is told once, and only ever a higher one"


# --- state is a function of the set ----------------------------------------------------------------------------------


def a_life(name: str) -> list[Touchpoint]:
    """Everything that may collide in one person's life; ids and times are the same for every `name`."""
    user, web, phone = f"{name}-user", f"{name}-web", f"{name}-phone"
    life = [
        viewed("Home", anonymous=web),
        viewed("Shop", anonymous=phone, at=after(2), channel="app"),
        identified(user, web, at=after(10), traits={"plan": "free", "email": f"{name}@example.com"}),
        identified(user, phone, at=after(20), traits={"plan": "pro", "city": None}),
        identified(f"{name}-other", web, at=after(30), traits={"plan": "none of theirs"}),
        ordered(10.10, order="o-1", user=user, at=after(40)),
        ordered(0.20, order="o-2", user=user, at=after(41)),
        touchpoint("Order Refunded", user=user, at=after(days=2), properties={"total": 0.1}),
        touchpoint(
            "Consent Changed",
            user=user,
            at=after(50),
            properties={"purpose": "marketing", "channel": "email", "granted": True},
        ),
        touchpoint(
            "Consent Changed",
            user=user,
            at=after(55),
            properties={"purpose": "marketing", "channel": "email", "granted": False},
        ),
        aliased(f"{name}-older", user, at=after(60)),
        viewed("Help", user=f"{name}-older", at=after(5), channel="store"),
    ]
    return [_renamed(each, f"{name}-{number}") for number, each in enumerate(life)]


def _renamed(each: Touchpoint, id: str) -> Touchpoint:
    return touchpoint(
        each.data.name,
        kind=each.data.type,
        user=each.data.user_id,
        anonymous=each.data.anonymous_id,
        previous=each.data.previous_id,
        at=each.at,
        id=id,
        channel=each.data.channel,
        traits=each.data.traits,
        properties=each.properties(),
    )


async def test_four_shuffles_with_duplicates_in_different_batches_give_the_same_profile(service: Service) -> None:
    views = []
    for number in range(4):
        name, random = f"sh{number}", Random(number)
        sent = [*(life := a_life(name)), *random.sample(life, 5)]
        random.shuffle(sent)
        cuts = sorted(random.sample(range(1, len(sent)), number))
        for start, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            await service.tell(*sent[start:stop], key=f"any {random.random()}")
        seen = await service.becomes(f"user_id:{name}-user", "touchpoints.count", 11)
        views.append(_anonymised(plain(seen), name))
    assert views[0] == views[1] == views[2] == views[3]
    assert views[0]["traits"]["plan"]["value"] == "pro"
    assert views[0]["computed"]["order_value"] == 10.2
    assert views[0]["consent"]["marketing"]["email"]["granted"] is False
    assert views[0]["touchpoints"]["channels"] == {"app": 1, "store": 1, "web": 9}


def _anonymised(view: Json, name: str) -> Json:
    """With the person's name taken out, so that four of them can be compared; the id follows from the name."""
    found: Json = json.loads(json.dumps({**view, "profile_id": ""}).replace(name, "somebody"))
    return found


async def test_two_consumers_and_every_event_three_times_count_once(installed: Installation, service: Service) -> None:
    """Two processes of the service; the copies of an event go to any partitions, so both often have it at once."""
    names = [f"tw{number:02}" for number in range(12)]
    events = [each for name in names for each in a_life(name)]
    random = Random(7)
    async with running(settings(installed)):
        await until(lambda: share(installed, 2))
        for _ in range(3):
            random.shuffle(events)
            for start in range(0, len(events), 24):
                await service.tell(*events[start : start + 24], key=f"any {random.random()}")
        for name in names:
            await service.becomes(f"user_id:{name}-user", "touchpoints.count", 11)
        seen = {name: plain(await service.view(f"user_id:{name}-user")) for name in names}
    views = [_anonymised(view, name) for name, view in seen.items()]
    assert all(view == views[0] for view in views)
    for name, view in seen.items():
        life = oracle.known(each for each in a_life(name) if each.data.user_id != f"{name}-other")
        assert {trait: word["value"] for trait, word in view["traits"].items()} == life["traits"]
        assert (view["computed"]["order_count"], view["computed"]["order_value"]) == (
            life["order_count"],
            life["order_value"],
        )
        assert view["touchpoints"]["channels"] == life["channels"]


# --- consent, scores, segments, signals ------------------------------------------------------------------------------


async def test_consent_counts_by_the_time_it_was_given(service: Service) -> None:
    def said(granted: bool, minutes: float) -> Touchpoint:
        properties = {"purpose": "marketing", "channel": "email", "granted": granted}
        return touchpoint("Consent Changed", user="co-u", at=after(minutes), properties=properties)

    withdrawn, granted = said(False, 9), said(True, 1)
    await service.shows("user_id:co-u", withdrawn)
    seen = await service.shows("user_id:co-u", granted)
    assert seen["consent"]["marketing"]["email"] == {
        "granted": False,
        "at": "2026-03-01T10:09:00.000Z",
        "touchpoint_id": withdrawn.id,
        "trust": "server",
    }


async def test_the_newest_scores_show_and_rules_see_them(service: Service) -> None:
    await service.send(
        "PUT",
        "/v1/segments/sc-likely",
        json={"name": "Likely", "rule": "scores.ltv > 100.0 && scores.churn_risk < 0.5"},
    )
    seen = await service.shows("user_id:sc-u", viewed(user="sc-u"))
    assert (seen["scores"], seen["segments"]) == (None, [])
    await service.score(seen["profile_id"], ShownScores(engagement=61.2, ltv=240.1, churn_risk=0.12, version=9))
    await service.score(seen["profile_id"], ShownScores(engagement=1.0, ltv=1.0, churn_risk=0.9, version=8))
    seen = await service.becomes("user_id:sc-u", "scores.version", 9)
    assert seen["scores"] == {"engagement": 61.2, "ltv": 240.1, "churn_risk": 0.12, "version": 9}
    assert [each["id"] for each in seen["segments"]] == ["sc-likely"]
    await service.score(seen["profile_id"], ShownScores(engagement=61.2, version=10))
    assert (await service.becomes("user_id:sc-u", "scores.version", 10))["segments"] == []


async def test_entering_and_leaving_a_segment_is_signalled(service: Service) -> None:
    rule = {"name": "Big spenders", "rule": "computed.order_value > 100.0"}
    saved = await service.send("PUT", "/v1/segments/big-spenders", json=rule)
    assert saved.status_code == 200
    assert {name: saved.json()[name] for name in ("id", "name", "rule")} == {"id": "big-spenders", **rule}

    await service.shows("user_id:sg-u", viewed(user="sg-u"))
    seen = await service.shows("user_id:sg-u", ordered(150, user="sg-u", at=after(1)))
    assert [each["id"] for each in seen["segments"]] == ["big-spenders"]
    members = (await service.send("GET", "/v1/segments/big-spenders/profiles")).json()
    assert {"profile_id": seen["profile_id"], "since": seen["segments"][0]["since"]} in members["profiles"]

    refund = touchpoint("Order Refunded", user="sg-u", at=after(2), properties={"total": 100})
    assert (await service.shows("user_id:sg-u", refund))["segments"] == []

    async def told() -> Sequence[tuple[str, Mapping[str, Any]]]:
        signals = [each.data for each in await service.read(topics.SIGNALS, Signalled, seen["profile_id"])]
        said = [
            (each.name, each.attributes) for each in signals if each.attributes.get("segment") in (None, "big-spenders")
        ]
        return said if ("segment_left", {"segment": "big-spenders"}) in said else []

    assert await until(told) == [
        ("stage_changed", {"from": None, "to": "acquire"}),
        ("segment_entered", {"segment": "big-spenders"}),
        ("stage_changed", {"from": "acquire", "to": "onboard"}),
        ("segment_left", {"segment": "big-spenders"}),
    ]


async def test_a_saved_segment_fills_with_those_who_were_there_before(
    installed: Installation, service: Service
) -> None:
    people = [f"fl-{number:02}" for number in range(25)]
    await service.shows(f"user_id:{people[-1]}", *(identified(name, traits={"plan": "gold"}) for name in people))
    for name in people:
        await service.becomes(f"user_id:{name}", "touchpoints.count", 1)
    await service.send("PUT", "/v1/segments/fl-gold", json={"name": "Gold", "rule": 'traits.plan == "gold"'})

    async def filled() -> bool:
        members = (await service.send("GET", "/v1/segments/fl-gold/profiles", params={"limit": "10"})).json()
        return bool(members["count"] == len(people))

    await until(filled)
    found, cursor = [], None
    while True:
        query = {"limit": "10", **({"cursor": cursor} if cursor else {})}
        page = (await service.send("GET", "/v1/segments/fl-gold/profiles", params=query)).json()
        found += [each["profile_id"] for each in page["profiles"]]
        if (cursor := page["next"]) is None:
            break
    assert found == sorted(id_of("user_id", name) for name in people)

    async def still_filling() -> bool:
        return bool((await service.send("GET", "/v1/segments/fl-gold")).json()["filling"])

    await until(lambda: _not(still_filling()))
    await service.send("PUT", "/v1/segments/fl-gold", json={"name": "Golden", "rule": 'traits.plan == "gold"'})
    assert not await still_filling(), "the same rule changes nobody"
    await service.send("PUT", "/v1/segments/fl-gold", json={"name": "Golden", "rule": "false"})

    async def empty() -> bool:
        return bool((await service.send("GET", "/v1/segments/fl-gold/profiles")).json()["count"] == 0)

    await until(empty)


async def _not(answer: Any) -> bool:
    return not await answer
