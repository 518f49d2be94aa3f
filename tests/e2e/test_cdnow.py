"""Published figures out of the running system: 2,357 real customers posted as touchpoints, models asked for by HTTP.

CDNOW's 1/10 sample; Fader, Hardie & Lee (2005) and Fader & Hardie (2013) print most of these figures, the others were
computed with the `lifetimes` package.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Json, order
from tests.e2e.temas import Temas, connected
from tests.servers import Stack
from tests.waiting import until

FILE = Path(__file__).resolve().parents[1] / "data" / "CDNOW_sample.txt"

CALIBRATED = "1997-10-01T00:00:00.000Z"
"""The first 39 weeks have passed."""

ENDED = "1998-07-01T00:00:00.000Z"
"""And 39 more."""

BATCH = 250


def orders() -> list[Json]:
    """The file's orders as calls, at noon of their day."""
    calls = []
    for number, line in enumerate(FILE.read_text().splitlines()):
        _, customer, day, _, dollars = line.split()
        noon = datetime.strptime(day, "%Y%m%d").replace(hour=12, tzinfo=UTC)
        calls.append(order(float(dollars), id=f"cdnow-{number}", user=f"cdnow-{int(customer)}", timestamp=noon))
    return calls


@pytest.fixture(scope="module")
async def temas(stack: Stack) -> AsyncIterator[Temas]:
    async with connected(stack) as temas:
        calls = orders()
        random.Random(1).shuffle(calls)
        batches = [calls[start : start + BATCH] for start in range(0, len(calls), BATCH)]
        await asyncio.gather(*(temas.send(*batch) for batch in batches))
        await temas.settled()
        yield temas


@pytest.fixture(scope="module")
async def model(temas: Temas) -> Json:
    """The model of the first 39 weeks. It is not made the active one: that is for other tests to do."""
    asked = {"as_of": CALIBRATED, "activate": False}
    id = (await temas.ask("scoring", "/v1/models/refit", method="POST", json=asked))["id"]

    async def fitted() -> Json | None:
        found: Json = await temas.ask("scoring", f"/v1/models/{id}")
        assert found["status"] != "failed", found["reason"]
        return None if found["status"] == "fitting" else found

    return await until(fitted)


def near(figure: float | list[float], share: float = 0.005) -> Any:
    return pytest.approx(figure, rel=share)


def test_who_the_model_was_fitted_on(model: Json) -> None:
    assert (model["customers"], model["repeaters"]) == (2357, 946)
    assert (model["first_day"], model["last_day"]) == ("1997-01-01", "1997-09-30")


def test_bg_nbd_is_the_papers(model: Json) -> None:
    fitted = model["bg_nbd"]
    assert [fitted[name] for name in ("r", "alpha", "a", "b")] == near([0.242593, 4.413532, 0.792886, 2.425752])
    assert fitted["log_likelihood"] == pytest.approx(-9582.4256, abs=0.01)


def test_mbg_nbd(model: Json) -> None:
    fitted = model["mbg_nbd"]
    assert [fitted[name] for name in ("r", "alpha", "a", "b")] == near([0.52484, 6.18299, 0.89136, 1.61400])


def test_gamma_gamma_is_the_papers(model: Json) -> None:
    fitted = model["gamma_gamma"]
    assert [fitted[name] for name in ("p", "q", "v")] == near([6.24880, 3.74459, 15.44775])
    assert fitted["log_likelihood"] == pytest.approx(-4055.923, abs=0.01)


@pytest.mark.parametrize(
    ("customer", "state", "alive", "purchases", "spends", "value"),
    [(1, (2, 30.43, 38.86), 0.726609, 1.225910, 24.6586, 36.2785), (3, (0, 0, 38.86), 1, 0.194781, 35.1710, 8.3441)],
)
async def test_a_customers_figures(
    temas: Temas,
    model: Json,
    customer: int,
    state: tuple[float, float, float],
    alive: float,
    purchases: float,
    spends: float,
    value: float,
) -> None:
    found = await temas.scores(f"user_id:cdnow-{customer}", as_of=CALIBRATED, model=model["id"], weeks=39)
    assert [found["purchases"][name] for name in ("x", "t_x", "T")] == pytest.approx(state, abs=0.005)
    assert found["forecast"]["bg_nbd_p_alive"] == near(alive)
    assert found["forecast"]["purchases"] == near(purchases)
    assert found["ltv"]["expected_value"] == near(spends)
    assert found["ltv"]["value"] == near(value)
    assert found["ltv"]["low"] < found["ltv"]["value"] < found["ltv"]["high"]
    assert found["model"] == model["id"]
    assert found["engagement"] is None  # of the past it is not known


async def test_all_customers_together(temas: Temas, model: Json) -> None:
    query = {"as_of": CALIBRATED, "until": ENDED, "model": model["id"]}
    report = await temas.ask("scoring", "/v1/metrics/value", params=query)
    assert report["customers"] == 2357
    assert report["ltv"] == near(71_509.90)
    forecast = report["purchases"]
    assert forecast["model"]["correlation"] >= 0.62
    assert forecast["naive"]["error"] == pytest.approx(0.557, abs=0.005)
    assert abs(forecast["model"]["error"]) < abs(forecast["naive"]["error"])
    assert report["cumulative"]["predicted"] == near(report["cumulative"]["actual"], 0.05)


async def test_recency_frequency_and_money(temas: Temas, model: Json) -> None:
    query = {"as_of": CALIBRATED, "until": ENDED, "model": model["id"]}
    report = await temas.ask("scoring", "/v1/metrics/rfm", params=query)
    assert report["cuts"]["recency"] == [99, 198, 219, 242]
    assert report["cuts"]["frequency"] == [1, 1, 2, 3]
    assert report["cuts"]["monetary"] == pytest.approx([14.96, 27.99, 45.976, 93.722], abs=0.005)
    frequencies = report["scores"]["frequency"]
    assert {score: count for score, count in frequencies["counts"].items() if count} == {
        "1": 1411,
        "3": 439,
        "4": 214,
        "5": 293,
    }
    assert frequencies["empty"] == [2]
    assert report["best"]["customers"] == 454
    assert report["best"]["later_value_share"] == pytest.approx(0.636, abs=0.0005)
