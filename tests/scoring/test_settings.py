"""Settings: what an operator may change, and what is refused at start instead of failing at night."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.scoring.settings import Settings
from shared.settings import DatabaseSettings, KafkaSettings
from tests.secrets import KEY_SIGNING_SECRET, SECRET_KEY


def settings(**rest: Any) -> Settings:
    database = DatabaseSettings(url="postgresql://localhost/none", db_schema="scoring")
    return Settings(
        secret_key=SECRET_KEY,
        key_signing_secret=KEY_SIGNING_SECRET,
        kafka=KafkaSettings(bootstrap="localhost:1"),
        database=database,
        **rest,
    )


def test_weights_are_over_the_defaults() -> None:
    signals = settings(weights={"Store Visited": 6, "page": 0}).terms().signals
    assert (signals.weights["Store Visited"], signals.weights["page"], signals.weights["Order Completed"]) == (6, 0, 10)


def test_everything_reaches_the_domain() -> None:
    horizon = {"churn_weeks": 8, "ltv_months": 24, "monthly_discount": 0.02, "margin": 0.4}
    terms = settings(time_zone="Europe/Istanbul", trust="server", **horizon).terms()
    assert terms.counted == "server"
    assert str(terms.zone) == "Europe/Istanbul"
    assert (terms.horizon.churn_weeks, terms.horizon.ltv_months) == (8, 24)
    assert (terms.horizon.monthly_discount, terms.horizon.margin) == (0.02, 0.4)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMAS_TIME_ZONE", "Asia/Tokyo")
    monkeypatch.setenv("TEMAS_SCORING_HALF_LIFE", "14")
    monkeypatch.setenv("TEMAS_SCORING_WEIGHTS", '{"Store Visited": 6}')
    terms = settings().terms()
    assert str(terms.zone) == "Asia/Tokyo"
    assert terms.signals.half_life == 14
    assert terms.signals.weights["Store Visited"] == 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_zone": "Europe/Atlantis"},
        {"half_life": 0},
        {"margin": 0},
        {"half_lives": {"page": 0.1}},
        {"trust": "client"},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)
