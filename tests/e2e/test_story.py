"""One visitor's whole story, told to the running system by HTTP, as the demo tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.builders import Json, identify, order, page, track
from tests.e2e.temas import Temas, connected, identifiers, lost, shown, unique
from tests.servers import Stack
from tests.waiting import until

WEB = {"channel": "web"}

"""Seconds. What is asserted is that things change; how fast, `make bench` says."""


@pytest.fixture
async def temas(stack: Stack) -> AsyncIterator[Temas]:
    async with connected(stack) as temas:
        yield temas


async def _stranger(temas: Temas, placement: str) -> tuple[str, Json]:
    """A visitor whom nobody knows and who is not held out, and the first decision for them."""
    for _ in range(50):
        visitor = unique("visitor")
        decision = await temas.decide(f"anonymous_id:{visitor}", placement)
        if not decision["holdout"]:
            return visitor, decision
    raise AssertionError("fifty strangers in a row are in a holdout of 5 %")


async def test_from_stranger_to_customer(temas: Temas) -> None:
    placement, user = unique("hero"), unique("ayse")
    welcome, loyal = unique("welcome"), unique("loyal")
    await temas.offer(welcome, placements=[placement], purpose=None, value=10.0)
    await temas.offer(loyal, placements=[placement], purpose=None, value=50.0, eligibility="computed.order_count >= 1")

    async def both_known() -> bool:
        decision = await temas.decide("anonymous_id:nobody", placement)
        return set(lost(await temas.decision(decision["decision_id"]))) == {welcome, loyal}

    await until(both_known)

    # A stranger is offered what strangers may have.
    visitor, first = await _stranger(temas, placement)
    assert (shown(first), first["profile_id"]) == ([welcome], None)
    assert lost(await temas.decision(first["decision_id"])) == {welcome: None, loyal: "eligibility"}

    # Two page views make a profile.
    position = await temas.send(*(page(name, anonymous=visitor, context=WEB) for name in ("Home", "Shoes")))
    view = await until(lambda: temas.profile(f"anonymous_id:{visitor}", after=position))
    assert (view["touchpoints"]["count"], view["touchpoints"]["channels"]) == (2, {"web": 2})

    # The login unites what the visitor did with who they are.
    position = await temas.send(identify(user, {"email": f"{user}@example.com", "plan": "pro"}, anonymous=visitor))
    view = await until(lambda: temas.profile(f"user_id:{user}", after=position))
    assert {f"user_id:{user}", f"anonymous_id:{visitor}", f"email:{user}@example.com"} == identifiers(view)
    assert view["touchpoints"]["count"] == 3
    assert view["traits"]["plan"]["value"] == "pro"
    await until(lambda: _is_one(temas, f"user_id:{user}", f"anonymous_id:{visitor}", f"email:{user}@example.com"))

    # An order changes the profile, the scores, and the next decision.
    position = await temas.send(order(120.5, id=unique("o"), user=user))
    view = await until(lambda: temas.profile(f"user_id:{user}", after=position))
    assert (view["computed"]["order_count"], view["computed"]["order_value"]) == (1, 120.5)
    await until(lambda: _bought(temas, user))
    second = await until(lambda: _offered(temas, user, placement, loyal))
    assert second["profile_id"] == view["profile_id"]
    assert lost(await temas.decision(second["decision_id"])) == {welcome: None, loyal: None}

    # A click makes the offer more promising than it was; what is dismissed is not shown again.
    before = await _chance_of_a_click(temas, second, loyal)
    await temas.send(*(_feedback(told, second, loyal, user) for told in ("Offer Shown", "Offer Clicked")))

    async def more_promising() -> bool:
        decision = await temas.decide(f"user_id:{user}", placement, limit=2)
        return await _chance_of_a_click(temas, decision, loyal) > before

    await until(more_promising)
    await temas.send(_feedback("Offer Dismissed", second, loyal, user))
    third = await until(lambda: _no_longer(temas, user, placement, loyal))
    assert lost(await temas.decision(third["decision_id"]))[loyal] == "fatigue"
    outcomes = (await temas.decision(second["decision_id"]))["outcomes"]
    assert [(each["offer_id"], bool(each["clicked_at"]), bool(each["dismissed_at"])) for each in outcomes] == [
        (loyal, True, True)
    ]


async def _is_one(temas: Temas, *names: str) -> bool:
    """Whether all names give the same view. Not at once, perhaps: its scores may come between two looks."""
    first, *others = [await temas.profile(name) for name in names]
    return all(other == first for other in others)


def _feedback(told: str, decision: Json, offer: str, user: str) -> Json:
    return track(told, {"decision_id": decision["decision_id"], "offer_id": offer}, user=user)


async def _bought(temas: Temas, user: str) -> bool:
    scores = await temas.scores(f"user_id:{user}")
    return scores["purchases"] is not None and (scores["purchases"]["count"], scores["purchases"]["value"]) == (
        1,
        120.5,
    )


async def _offered(temas: Temas, user: str, placement: str, offer: str) -> Json | None:
    decision = await temas.decide(f"user_id:{user}", placement, limit=2)
    return decision if offer in shown(decision) else None


async def _no_longer(temas: Temas, user: str, placement: str, offer: str) -> Json | None:
    decision = await temas.decide(f"user_id:{user}", placement, limit=2)
    return None if offer in shown(decision) else decision


async def _chance_of_a_click(temas: Temas, decision: Json, offer: str) -> float:
    record = await temas.decision(decision["decision_id"])
    [numbers] = [each["numbers"] for each in record["candidates"] if each["offer_id"] == offer]
    chance: float = numbers["p_click"]
    return chance


async def test_a_shared_tablet_does_not_merge_two_people(temas: Temas) -> None:
    tablet, ayse, mert = unique("tablet"), unique("ayse"), unique("mert")
    await temas.send(page(anonymous=tablet))
    await temas.send(identify(ayse, anonymous=tablet))
    position = await temas.send(identify(mert, anonymous=tablet))
    theirs = await until(lambda: temas.profile(f"user_id:{mert}", after=position))
    hers = await temas.profile(f"user_id:{ayse}")
    assert hers["profile_id"] != theirs["profile_id"]
    assert f"anonymous_id:{tablet}" in identifiers(hers)
    assert f"anonymous_id:{tablet}" not in identifiers(theirs)


async def test_what_can_not_be_used_is_refused_by_name_and_kept(temas: Temas) -> None:
    answer = await temas.post({"type": "track", "messageId": unique("m"), "event": "Nobody Did This"})
    assert answer.status_code == 400
    assert {detail["path"].rpartition(".")[2] for detail in answer.json()["details"]} & {"userId", "anonymousId"}
    assert (await temas.post(page(anonymous="a"), key="TEMAS_USER_TOKEN_SECRET")).status_code == 401
