"""What can be set in personalize: `TEMAS_PERSONALIZE_*`."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.personalize.domain.decision import Policy
from services.personalize.domain.gates import Rests
from services.personalize.domain.learner import Prior
from services.personalize.domain.outcomes import Windows
from shared.settings import (
    DatabaseSettings,
    KafkaSettings,
    ServiceSettings,
    UserTokenSettings,
    database_settings,
    kafka_settings,
)

SERVICE: Final = "personalize"


class Settings(ServiceSettings, UserTokenSettings):
    model_config = SettingsConfigDict(env_prefix="TEMAS_PERSONALIZE_", frozen=True, populate_by_name=True)

    port: int = 8004
    # The share of people who get no offers, so that what offers do can be measured; and what the draw depends on.
    holdout: float = Field(default=0.05, ge=0, le=1)
    holdout_salt: str = Field(default="temas", min_length=1, max_length=64)
    # Days that an offer is not shown again to somebody who dismissed it, or accepted it.
    dismissal_rest: float = Field(default=30.0, ge=0, le=90)
    acceptance_rest: float = Field(default=30.0, ge=0, le=90)
    # Joint draws a decision: more make propensities finer and decisions slower. And the share that is left to chance.
    draws: int = Field(default=128, ge=1, le=10_000)
    explore: float = Field(default=0.02, ge=0, le=1)
    # What a unit of an offer's cost weighs against a unit of expected value. 0: no budget presses yet.
    cost_price: float = Field(default=0.0, ge=0)
    # Minutes that a decision's offers may be shown.
    shown_for: float = Field(default=30.0, gt=0)

    # Base rates to begin with: clicks of a placement, and acceptances of those.
    click_rate: float = Field(default=0.02, gt=0, lt=1)
    acceptance_rate: float = Field(default=0.1, gt=0, lt=1)
    # Minutes after which an offer shown and not clicked counts as ignored; days, where the company speaks first.
    click_window: float = Field(default=30.0, gt=0)
    outbound_click_window: float = Field(default=3.0, gt=0)
    # Days after which an offer clicked and not accepted counts as declined.
    acceptance_window: float = Field(default=7.0, gt=0)
    # Days that decisions, their outcomes and exposures are kept. What they taught stays.
    kept: float = Field(default=100.0, ge=91)
    # Outcomes that silence settles, and old rows that are deleted, in one transaction; and seconds between two looks.
    sweep_batch: int = Field(default=1_000, ge=1)
    sweep_every: float = Field(default=1.0, gt=0)
    # Seconds between two looks for changed offers and evidence; this process's own feedback doesn't wait for them.
    refresh_every: float = Field(default=0.25, gt=0)

    # Seconds to wait for the read model before deciding from what is in memory. That says nothing of consent and caps:
    # waiting a little longer costs less than going without the offers that ask for them.
    patience: float = Field(default=0.2, gt=0)
    # People whose last answer from the read model is kept in memory.
    remembered: int = Field(default=5_000, ge=0)
    # Bytes of decision records that may wait for Kafka. Past that the newest are dropped, and counted.
    records_limit: int = Field(default=32 * 1024 * 1024, ge=0)

    kafka: KafkaSettings = Field(default_factory=lambda: kafka_settings(SERVICE))
    database: DatabaseSettings = Field(default_factory=lambda: database_settings(SERVICE))

    @model_validator(mode="after")
    def _people_can_ask(self) -> Self:
        if not self.takes_user_tokens:
            raise ValueError("set TEMAS_USER_TOKEN_SECRET or TEMAS_USER_TOKEN_JWKS: they verify people's tokens")
        return self

    @property
    def policy(self) -> Policy:
        return Policy(
            rests=Rests(timedelta(days=self.dismissal_rest), timedelta(days=self.acceptance_rest)),
            draws=self.draws,
            explore=self.explore,
            cost_price=self.cost_price,
            holdout=self.holdout,
            salt=self.holdout_salt,
        )

    @property
    def windows(self) -> Windows:
        return Windows(
            click=timedelta(minutes=self.click_window),
            outbound_click=timedelta(days=self.outbound_click_window),
            acceptance=timedelta(days=self.acceptance_window),
        )

    @property
    def priors(self) -> tuple[Prior, Prior]:
        """Of a click, and of an acceptance after it."""
        return Prior(self.click_rate), Prior(self.acceptance_rate)
