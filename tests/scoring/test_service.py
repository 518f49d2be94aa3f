"""CDNOW through the running service: told in any order over Kafka, fitted beside the consumer, asked over HTTP."""

from __future__ import annotations

import asyncio
import random
import shlex
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from services.scoring.service.fits import COMMAND
from shared import topics
from shared.clock import system_clock
from shared.events import Touchpoint
from tests.builders import ordered
from tests.scoring import cdnow
from tests.scoring.office import Office, latest, make_topics, membership, open_office, settings
from tests.servers import Servers
from tests.waiting import until

CALIBRATED, UNTIL = "1997-10-01T00:00:00Z", "1998-07-01T00:00:00Z"


@pytest.fixture(scope="module")
async def shop(servers: Servers) -> AsyncIterator[Office]:
    """A service that has been told all of CDNOW, in any order, and has fitted a model on the first 39 weeks."""
    async with servers.installation() as installation:
        await make_topics(installation)
        async with open_office(settings(installation)) as office:
            received = system_clock()
            orders = [_received(each, received) for each in cdnow.touchpoints()]
            random.Random(5).shuffle(orders)
            said = [membership(f"user_id:{each.owner.value}") for each in {str(o.owner): o for o in orders}.values()]
            half = len(said) // 2
            await office.say(*said[:half])
            await office.tell(*orders)
            await office.tell(*orders[:1000])  # a client's retry
            await office.say(*said[half:])
            await office.applied(topics.TOUCHPOINTS, len(orders) + 1000)
            await office.applied(topics.IDENTITIES, len(said))
            model = await office.refit(as_of=CALIBRATED, activate=True)
            assert model["status"] == "active", model
            await office.quiet()
            yield office


def _received(order: Touchpoint, at: datetime) -> Touchpoint:
    return replace(order, data=replace(order.data, received_at=at))


async def test_the_model_fitted_over_http_is_the_published_one(shop: Office) -> None:
    (model,) = (await shop.get("/v1/models"))["models"]
    assert (model["status"], model["as_of"], model["customers"]) == ("active", "1997-10-01T00:00:00.000Z", 2357)
    assert [model["bg_nbd"][name] for name in ("r", "alpha", "a", "b")] == pytest.approx(
        [0.242593, 4.413532, 0.792886, 2.425752], rel=0.005
    )
    assert model["bg_nbd"]["log_likelihood"] == pytest.approx(-9582.4256, abs=0.01)
    assert [model["mbg_nbd"][name] for name in ("r", "alpha", "a", "b")] == pytest.approx(
        [0.52484, 6.18299, 0.89136, 1.61400], rel=0.005
    )
    assert [model["gamma_gamma"][name] for name in ("p", "q", "v")] == pytest.approx(
        [6.24880, 3.74459, 15.44775], rel=0.005
    )
    assert model["gamma_gamma"]["log_likelihood"] == pytest.approx(-4055.923, abs=0.01)
    assert (model["first_day"], model["last_day"], model["repeaters"]) == ("1997-01-01", "1997-09-30", 946)
    assert model["holdout"]["naive"]["error"] == pytest.approx(0.557, abs=0.001)
    assert model["holdout"]["model"]["correlation"] >= 0.62


async def test_scores_as_of_then_are_the_published_ones(shop: Office) -> None:
    first = await shop.scores("user_id:cdnow-0001", as_of=CALIBRATED, weeks=39)
    assert first["engagement"] is None
    assert first["as_of"] == "1997-10-01T00:00:00.000Z"
    assert first["purchases"] == {
        "x": 2, "t_x": pytest.approx(30.43, abs=0.005), "T": pytest.approx(38.86, abs=0.005),
        "mean_value": pytest.approx(22.35, abs=0.006), "count": 3, "value": 74.02,
    }  # fmt: skip
    assert first["ltv"]["value"] == pytest.approx(36.2785, rel=0.001)
    assert first["ltv"]["expected_value"] == pytest.approx(24.6586, rel=0.001)
    assert first["forecast"] == {
        "weeks": 39,
        "purchases": pytest.approx(1.225910, rel=0.001),
        "bg_nbd_p_alive": pytest.approx(0.726609, rel=0.001),
    }
    third = await shop.scores("user_id:cdnow-0003", as_of=CALIBRATED, weeks=39)
    assert third["ltv"]["value"] == pytest.approx(8.3441, rel=0.001)
    assert third["forecast"]["purchases"] == pytest.approx(0.194781, rel=0.001)
    earlier = await shop.scores("user_id:cdnow-0001", as_of="1997-01-10T00:00:00Z")
    assert (earlier["purchases"]["x"], earlier["purchases"]["count"]) == (0, 1)


async def test_what_was_expected_stands_beside_what_happened(shop: Office) -> None:
    report = await shop.get("/v1/metrics/value", as_of=CALIBRATED, until=UNTIL)
    assert report["ltv"] == pytest.approx(71_509.90, rel=0.0005)
    purchases = report["purchases"]
    assert (purchases["weeks"], purchases["customers"], purchases["actual"]) == (39, 2357, 1882)
    assert purchases["naive"]["error"] == pytest.approx(0.557, abs=0.001)
    assert purchases["naive"]["correlation"] == pytest.approx(0.584, abs=0.001)
    assert abs(purchases["model"]["error"]) < 0.15
    assert purchases["model"]["correlation"] >= 0.62
    assert report["cumulative"]["predicted"] == pytest.approx(report["cumulative"]["actual"], rel=0.05)
    plain = await shop.get("/v1/metrics/value", as_of=CALIBRATED)
    assert (plain["purchases"], plain["cumulative"], plain["later_value"]) == (None, None, None)
    backwards = await shop.send("GET", "/v1/metrics/value", params={"as_of": UNTIL, "until": CALIBRATED})
    assert backwards.status_code == 400


async def test_the_best_customers_are_named_with_what_they_did(shop: Office) -> None:
    best = (await shop.get("/v1/metrics/value/top", as_of=CALIBRATED, until=UNTIL, limit=20))["customers"]
    worths = [each["ltv"] for each in best]
    assert len(best) == 20
    assert worths == sorted(worths, reverse=True)
    top = best[0]
    there = await shop.scores(top["identifier"], as_of=CALIBRATED, weeks=39)
    assert there["ltv"]["value"] == pytest.approx(top["ltv"])
    assert there["forecast"]["purchases"] == pytest.approx(top["expected_purchases"])
    after = await shop.scores(top["identifier"], as_of=UNTIL)
    assert after["purchases"]["x"] - there["purchases"]["x"] == top["actual_purchases"]
    everybody = (await shop.get("/v1/metrics/value/top", as_of=CALIBRATED, limit=500))["customers"]
    assert [each["profile_id"] for each in everybody[:20]] == [each["profile_id"] for each in best]
    assert everybody[0]["actual_purchases"] is None


async def test_rfm_over_http_is_the_published_one(shop: Office) -> None:
    report = await shop.get("/v1/metrics/rfm", as_of=CALIBRATED, until=UNTIL)
    assert report["cuts"] == {
        "recency": [99, 198, 219, 242], "frequency": [1, 1, 2, 3], "monetary": [14.96, 27.99, 45.976, 93.722],
    }  # fmt: skip
    assert report["scores"]["frequency"] == {"counts": {"1": 1411, "2": 0, "3": 439, "4": 214, "5": 293}, "empty": [2]}
    assert report["best"] == {"customers": 454, "later_value_share": pytest.approx(0.636, abs=0.0005)}
    assert sum(segment["customers"] for segment in report["segments"]) == 2357


async def test_activating_a_model_scores_everybody_who_buys_again_and_can_be_undone(shop: Office) -> None:
    first = (await shop.get("/v1/models"))["models"][-1]["id"]
    second = await shop.refit(as_of="1998-01-01T00:00:00Z", activate=False)
    assert second["status"] == "ready"
    assert {each.model for each in latest(await shop.sent()).values()} == {first}

    activated = await shop.send("POST", f"/v1/models/{second['id']}/activate")
    assert activated.json()["status"] == "active"
    await shop.quiet()
    sent = latest(await shop.sent())
    assert len(sent) == 2357
    assert {each.model for each in sent.values()} == {second["id"]}
    models = {each["id"]: each["status"] for each in (await shop.get("/v1/models"))["models"]}
    assert (models[first], models[second["id"]]) == ("retired", "active")
    page = await shop.get("/v1/models", limit=1)
    assert [each["id"] for each in page["models"]] == [second["id"]]
    assert [each["id"] for each in (await shop.get("/v1/models", limit=1, cursor=page["next"]))["models"]] == [first]
    named = await shop.scores("user_id:cdnow-0001", as_of=CALIBRATED, model=first)
    assert named["ltv"]["value"] == pytest.approx(36.2785, rel=0.001)

    await shop.send("POST", f"/v1/models/{first}/activate")
    await shop.quiet()
    assert {each.model for each in latest(await shop.sent()).values()} == {first}


async def test_the_consumer_goes_on_while_a_model_is_fitted(
    shop: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = tmp_path / "ends"
    held = f"while ! test -e {ends}; do sleep 0.1; done; exec {shlex.join(COMMAND)}"
    monkeypatch.setattr(shop.app.state.fits, "command", ("/bin/sh", "-c", held))
    await shop.say(membership("user_id:meanwhile"))
    fit = asyncio.create_task(shop.refit(as_of=CALIBRATED))
    await until(lambda: shop.rows("SELECT 1 FROM model WHERE leased_until IS NOT NULL"))
    for during in range(1, 4):
        await shop.tell(_order(during))
        await until(partial(_count_is, shop, "user_id:meanwhile", during))
    assert not fit.done()
    ends.touch()
    assert (await fit)["status"] == "ready"


# --- telling and looking ---------------------------------------------------------------------------------------------


def _order(days_ago: int) -> Touchpoint:
    now = system_clock()
    return ordered(1, user="meanwhile", at=now - timedelta(days=days_ago), received_at=now)


async def _count_is(office: Office, name: str, count: int) -> bool:
    answer = await office.send("GET", f"/v1/scores/{name}")
    purchases = answer.json().get("purchases") if answer.status_code == 200 else None
    return bool(purchases and purchases["count"] == count)
