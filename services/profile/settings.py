"""What can be set in profile: `TEMAS_PROFILE_*`."""

from __future__ import annotations

from typing import Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.profile.domain.graph import Limits
from shared.identifiers import ANONYMOUS, Identifier, normal
from shared.settings import (
    DatabaseSettings,
    KafkaSettings,
    ServiceSettings,
    database_settings,
    kafka_settings,
)

SERVICE: Final = "profile"


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TEMAS_PROFILE_", frozen=True, populate_by_name=True)

    port: int = 8002
    # Where the account's calendar is: days of orders are dates there. One setting for all services.
    time_zone: ZoneInfo = Field(
        default=ZoneInfo("UTC"),
        validation_alias=AliasChoices("TEMAS_PROFILE_TIME_ZONE", "TEMAS_TIME_ZONE"),
    )
    # How many anonymous ids one profile takes; past that, an id is shared by many and is no device.
    anonymous_limit: int = Field(default=1000, ge=1)
    # How many emails, phones and external ids one profile takes, each kind for itself.
    identifier_limit: int = Field(default=5, ge=1)
    # The same for single kinds, {"email": 3, "crm": 1}: they go before the two above.
    limits_by_kind: dict[str, Annotated[int, Field(ge=1)]] = Field(default={})
    # Identifiers that link nothing, ["anonymous_id:kiosk-1"], beside those that name nobody to all services (null, 00).
    # Whose a touchpoint is, all services agree on, so it does not change by this: a touchpoint sent under nothing else
    # has a profile of its own, which nothing is linked to. What was linked before stays until `relink`.
    blocked: frozenset[str] = frozenset()
    # Profiles in one publication: larger is cheaper for each, and later for the first. Each takes an advisory lock.
    publish_batch: int = Field(default=500, ge=1, le=2_000)
    # Seconds from one publication to the next, while less than a batch waits: what changes meanwhile is told together.
    # It is the half of it, on average, that a change shows later.
    publish_every: float = Field(default=0.05, ge=0)
    # Seconds that changes are held back at most while more waits than is told: the busier, the more is told together.
    publish_hold: float = Field(default=0.5, ge=0)
    # Seconds that new scores wait to be told: with what else changes meanwhile, and at the latest then.
    scores_within: float = Field(default=0.5, ge=0)
    # Profiles marked in one transaction while a saved segment fills, or time passes; and how many may wait meanwhile.
    fill_batch: int = Field(default=1_000, ge=1)
    # Touchpoints of the past looked at in one transaction while a computed trait fills: some ten milliseconds.
    past_batch: int = Field(default=1_000, ge=1)
    # Whole months of history that timelines keep beside the present one; none: for ever. What is older still counts in
    # every profile.
    timeline_months: int | None = Field(default=None, ge=1)
    # Seconds that a read with ?after= waits before it says `not_yet`.
    patience: float = 2.0

    kafka: KafkaSettings = Field(default_factory=lambda: kafka_settings(SERVICE))
    database: DatabaseSettings = Field(default_factory=lambda: database_settings(SERVICE))

    @property
    def limits(self) -> Limits:
        return Limits(
            by_kind={ANONYMOUS: self.anonymous_limit} | self.limits_by_kind,
            others=self.identifier_limit,
            blocked=frozenset(normal(Identifier.parse(each)) for each in self.blocked),
        )

    @field_validator("blocked")
    @classmethod
    def _are_identifiers(cls, blocked: frozenset[str]) -> frozenset[str]:
        for each in blocked:
            Identifier.parse(each)
        return blocked
