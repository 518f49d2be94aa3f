"""What HTTP promises: who may ask, what is refused and how it is told, and that offers are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.clock import system_clock
from tests.builders import touchpoint
from tests.personalize.desk import SECRET, Desk, make_topics, open_desk, settings, user_token, view
from tests.servers import Installation, Servers
from tests.waiting import until


@pytest.fixture(scope="module")
async def installation(servers: Servers) -> AsyncIterator[Installation]:
    """One for all tests of this module: none of them looks at what another one made."""
    async with servers.installation() as mine:
        await make_topics(mine)
        yield mine


@pytest.fixture(scope="module")
async def desk(installation: Installation) -> AsyncIterator[Desk]:
    async with open_desk(settings(installation)) as desk:
        yield desk


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {}


GOOD = {"name": "Tea", "kind": "content", "placements": ["shelf"]}

# --- offers ----------------------------------------------------------------------------------------------------------


async def test_an_offer_is_put_changed_listed_and_withdrawn(desk: Desk) -> None:
    first = await desk.put_offer("o-tea", content={"title": "Tea"}, valid_to="2099-01-01T02:00:00+02:00")
    assert (first["id"], first["version"], first["valid_to"]) == ("o-tea", 1, "2099-01-01T00:00:00.000Z")
    assert (await desk.put_offer("o-tea", value=3.0))["version"] == 2
    await desk.put_offer("o-coffee")

    page = (await desk.send("GET", "/v1/offers?limit=1")).json()
    listed = page["offers"]
    while page["next"]:
        page = (await desk.send("GET", f"/v1/offers?limit=1&cursor={page['next']}")).json()
        listed += page["offers"]
    assert [offer["id"] for offer in listed] == sorted(offer["id"] for offer in listed)
    assert {"o-tea", "o-coffee"} <= {offer["id"] for offer in listed}
    assert next(offer for offer in listed if offer["id"] == "o-tea")["value"] == 3.0

    assert (await desk.send("DELETE", "/v1/offers/o-tea")).status_code == 204
    assert (await desk.send("GET", "/v1/offers/o-tea")).json()["code"] == "offer_not_found"
    assert (await desk.send("DELETE", "/v1/offers/o-tea")).status_code == 404

    async def gone() -> bool:
        return "o-tea" not in await desk.candidates()

    await until(gone)
    assert (await desk.put_offer("o-tea"))["version"] == 4, "put again, it goes on counting"


async def test_a_rule_that_is_none_is_refused_with_its_place(desk: Desk) -> None:
    for rule in ("computed.order_count >=", 'computed.last_order_at > now - duration("30d")'):
        answer = await desk.send("PUT", "/v1/offers/broken", GOOD | {"eligibility": rule})
        assert (answer.status_code, answer.json()["code"]) == (422, "rule_refused")
    assert {"path", "line", "column", "message"} <= answer.json()["details"][0].keys()
    assert (await desk.send("GET", "/v1/offers/broken")).status_code == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"kind": "bribe"}, "body.kind"),
        ({"placements": []}, "body.placements"),
        ({"value": -1}, "body.value"),
        ({"eligability": "false"}, "body.eligability"),
        ({"caps": [{"count": 0, "days": 1}]}, "body.caps.0.count"),
        ({"name": "a\0b"}, "body.name"),
        ({"content": nested(33)}, "body.content"),
        ({"valid_from": "2026-01-01T00:00:00"}, "body.valid_from"),
        ({"valid_from": "2026-01-02T00:00:00Z", "valid_to": "2026-01-01T00:00:00Z"}, "body"),
    ],
)
async def test_a_bad_offer_is_refused_by_the_name_of_its_field(desk: Desk, body: dict[str, Any], path: str) -> None:
    answer = await desk.send("PUT", "/v1/offers/bad", GOOD | body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [detail["path"] for detail in answer.json()["details"]] == [path]


# --- questions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        ({"profile": "u-17"}, 400, "profile"),
        ({"profile": "user_id:"}, 400, "profile"),
        ({"profile": "user_id:\0"}, 422, "body.profile"),
        ({"placement": ""}, 422, "body.placement"),
        ({"limit": 0}, 422, "body.limit"),
        ({"context": {"weights": {"content": -1}}}, 422, "body.context"),
        ({"context": {"a": "x" * 40_000}}, 422, "body.context"),
    ],
)
async def test_a_bad_question_is_refused_by_the_name_of_its_field(
    desk: Desk, body: dict[str, Any], status: int, path: str
) -> None:
    answer = await desk.send("POST", "/v1/decide", {"profile": "user_id:u", "placement": "shelf", **body})
    assert (answer.status_code, answer.json()["code"]) == (status, "invalid_request")
    assert [detail["path"] for detail in answer.json()["details"]] == [path]


async def test_feedback_whose_time_a_client_left_empty_is_feedback_like_any_other(desk: Desk) -> None:
    """In Go that is the first moment of the year 1; PostgreSQL's driver has its own idea of it."""
    await desk.put_offer("zero")
    decision, now = await desk.decide("anonymous_id:zero"), desk.clock()
    said: dict[str, Any] = {"decision_id": decision["decision_id"], "offer_id": "zero"}
    told: dict[str, Any] = {"anonymous": "zero", "properties": said, "received_at": now}
    empty = datetime.min.replace(tzinfo=UTC)
    await desk.tell(
        touchpoint("Offer Shown", at=empty, **told),
        touchpoint("Offer Clicked", at=empty, **told),
        touchpoint("Offer Shown", at=now, id="zero-again", **told),
        touchpoint("Offer Accepted", at=now, **told),
    )

    async def outcome() -> Any:
        [found] = [each for each in (await desk.record(decision))["outcomes"] if each["offer_id"] == "zero"]
        return found if found["accepted_at"] else None

    found = await until(outcome)
    assert found["shown_at"].startswith("0001-01-01T00:00:00")
    assert found["clicked_at"] == found["shown_at"]
    await desk.decide("anonymous_id:zero")  # what was seen of them is read, and compared with now
    rest = (await desk.candidates("anonymous_id:zero"))["zero"]
    assert rest["gate"] is not None


async def test_text_that_is_no_text_is_refused(desk: Desk) -> None:
    body = b'{"profile": "user_id:u", "placement": "shelf", "context": {"a": "\\ud800"}}'
    headers = {"content-type": "application/json"}
    answer = await desk.client.post("/v1/decide", content=body, headers=headers, auth=(SECRET, ""))
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/decide"),
        ("GET", "/v1/decisions/d-1"),
        ("PUT", "/v1/offers/tea"),
        ("GET", "/v1/offers"),
        ("GET", "/v1/offers/tea"),
        ("DELETE", "/v1/offers/tea"),
        ("GET", "/v1/lift"),
    ],
)
async def test_only_the_secret_key_opens(desk: Desk, method: str, path: str) -> None:
    assert (await desk.client.request(method, path)).status_code == 401
    assert (await desk.client.request(method, path, auth=("another key", ""))).status_code == 403
    token = {"authorization": f"Bearer {user_token('u-1')}"}
    assert (await desk.client.request(method, path, headers=token)).status_code == 403


async def test_a_person_asks_for_themselves_with_a_token_and_for_nobody_else(desk: Desk) -> None:
    await desk.put_offer("mine", placements=["me"], eligibility="computed.order_count == 7")
    await desk.know(view("user_id:ayse", computed={"order_count": 7}))

    async def ask(token: str | None) -> Any:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return await desk.client.get("/v1/decide?placement=me&channel=web&limit=2", headers=headers)

    mine = (await ask(user_token("ayse"))).json()
    assert (mine["profile_id"], [offer["offer_id"] for offer in mine["offers"]]) == ("p-ayse", ["mine"])
    assert (await ask(user_token("mert"))).json()["silence"] == "all_gated"
    past = system_clock() - timedelta(seconds=1)
    bad = (user_token("ayse", exp=past), user_token("ayse", aud="x"), user_token("ayse", exp=None))
    for token in (None, "no token", *bad):
        assert (await ask(token)).status_code == 401


async def test_a_decision_that_was_never_made_is_not_found(desk: Desk) -> None:
    answer = await desk.send("GET", "/v1/decisions/0000")
    assert (answer.status_code, answer.json()["code"]) == (404, "decision_not_found")


async def test_a_placement_without_offers_is_silent(desk: Desk) -> None:
    decision = await desk.decide(placement="nowhere")
    assert (decision["offers"], decision["silence"]) == ([], "no_offers")


async def test_lift_compares_those_who_get_offers_with_those_who_get_none(installation: Installation) -> None:
    async with open_desk(settings(installation, holdout=0.5)) as desk:
        bought = {"order_count": 1, "order_value": 5.0}
        await desk.know(*(view(f"user_id:lift-{number}", computed=bought) for number in range(12)))

        async def counted() -> Any:
            lift = (await desk.send("GET", "/v1/lift")).json()
            return lift if lift["holdout"]["people"] + lift["treated"]["people"] >= 12 else None

        lift = await until(counted)
        assert lift["holdout"]["people"] > 0
        assert (lift["holdout"]["converted"], lift["holdout"]["mean_value"]) == (lift["holdout"]["people"], 5.0)
        assert lift["conversion"]["low"] < lift["conversion"]["difference"] + 1e-9


async def test_metrics_name_known_placements_only_and_no_person(desk: Desk) -> None:
    await desk.put_offer("counted", placements=["known place"])
    await desk.decide("email:somebody@example.com", placement="known place")
    await desk.decide("email:somebody@example.com", placement="made up by anybody")
    text = (await desk.send("GET", "/metrics")).text
    assert 'temas_personalize_decisions_total{outcome="offers",placement="known place"}' in text
    assert 'temas_personalize_decisions_total{outcome="no_offers",placement="other"}' in text
    assert "made up" not in text
    assert "somebody@" not in text
