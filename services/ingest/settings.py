"""What an operator can turn: `TEMAS_INGEST_*`, and what all services share."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import (
    DatabaseSettings,
    KafkaSettings,
    PublicKey,
    ServiceSettings,
    UserTokenSettings,
    database_settings,
    kafka_settings,
)

SERVICE: Final = "ingest"


class Settings(ServiceSettings, UserTokenSettings):
    """What user tokens are verified with matters only where a source asks for proof of who somebody is."""

    model_config = SettingsConfigDict(env_prefix="TEMAS_INGEST_", frozen=True, populate_by_name=True)

    port: int = 8001
    # A public key of browsers and apps, beside those in the database: with it one can write, and nothing else. Its
    # source is `web`.
    write_key: PublicKey | None = Field(None, validation_alias="TEMAS_WRITE_KEY")
    # Bytes of a request's body. RudderStack's clients send batches of 4 MB, and overshoot.
    body_limit: int = 4_500_000
    # Bytes of a body once it is unpacked: a small gzip can hold anything.
    unpacked_limit: int = 8_000_000
    # Bytes of bodies that may be on their way in at one moment; past that, requests are refused at once.
    arriving_limit: int = 64_000_000
    # The address at which browsers and apps reach this service, such as https://events.example.com: SDKs that ask where
    # to send are told this. Without it they are told the address that they asked at, and no cache may keep that answer.
    public_url: str | None = None
    # Days that rejected events are kept for somebody to mend them, and how many at most; the oldest go first.
    rejected_days: int = 30
    rejected_limit: int = 1_000_000
    # Bytes that they may have together.
    rejected_bytes: int = 4_000_000_000
    kafka: KafkaSettings = Field(default_factory=lambda: kafka_settings(SERVICE))
    database: DatabaseSettings = Field(default_factory=lambda: database_settings(SERVICE))
