"""Everything about scoring that an operator may set: `TEMAS_SCORING_*`, read once at start."""

from __future__ import annotations

from typing import Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from services.scoring.domain.engagement import WEIGHTS, Signals
from services.scoring.domain.lifetime_value import Horizon
from services.scoring.domain.terms import Counted, Terms
from shared.settings import (
    DatabaseSettings,
    KafkaSettings,
    ServiceSettings,
    database_settings,
    kafka_settings,
)

SERVICE: Final = "scoring"

Weight = Annotated[float, Field(ge=-1e6, le=1e6)]
# Days; under one, sums would keep thousands of digits.
HalfLife = Annotated[float, Field(ge=1.0)]


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TEMAS_SCORING_", frozen=True, populate_by_name=True)

    port: int = 8003
    kafka: KafkaSettings = Field(default_factory=lambda: kafka_settings(SERVICE))
    database: DatabaseSettings = Field(default_factory=lambda: database_settings("scoring"))
    # Where the account's days begin and end; one for all services.
    time_zone: ZoneInfo = Field(
        default=ZoneInfo("UTC"),
        validation_alias=AliasChoices("TEMAS_SCORING_TIME_ZONE", "TEMAS_TIME_ZONE"),
    )

    # Days after which a touchpoint counts half for engagement; and for some events otherwise: {"Complaint Opened": 90}.
    half_life: HalfLife = 30.0
    half_lives: dict[str, HalfLife] = Field(default_factory=dict)
    # Points by event name (calls other than track by their type), over the defaults; below zero speaks against.
    weights: dict[str, Weight] = Field(default_factory=dict)
    # Points of a track event that has no weight of its own.
    other_weight: float = Field(default=1.0, ge=0)
    # The decayed points that show as an engagement of 50.
    engagement_k: float = Field(default=10.0, gt=0)

    # Whose touchpoints count, for purchases and engagement: `all`, or `server`, only those of sources that keep their
    # key to themselves. It holds for what is absorbed from then on; what was counted before stays counted.
    trust: Counted = "all"

    # Weeks within which a customer must return, or counts as lost.
    churn_weeks: int = Field(default=13, ge=1, le=520)
    # Months ahead that lifetime value looks, its discount a month, and the share of a sale's money that stays.
    ltv_months: int = Field(default=12, ge=1, le=120)
    monthly_discount: float = Field(default=0.01, ge=0, le=1)
    margin: float = Field(default=1.0, gt=0)
    # Customers, and customers who bought again, under which no model is fitted.
    minimum_customers: int = Field(default=50, ge=10)

    # Profiles scored at once: more is cheaper each, fewer lets requests in between sooner.
    publish_batch: int = Field(default=250, ge=1, le=5000)
    # Seconds after which a fit that no process reports on is begun again by another.
    fit_lease: float = Field(default=30.0, gt=0)

    def terms(self) -> Terms:
        """What of this the domain needs to know."""
        signals = Signals(
            weights={**WEIGHTS, **self.weights},
            other=self.other_weight,
            half_life=self.half_life,
            half_lives=self.half_lives,
            k=self.engagement_k,
        )
        horizon = Horizon(self.ltv_months, self.monthly_discount, self.margin, self.churn_weeks)
        return Terms(self.time_zone, signals, horizon, self.minimum_customers, self.trust)
