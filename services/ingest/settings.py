"""What an operator can turn: `TEMAS_INGEST_*`, and what all services share."""

from __future__ import annotations

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.settings import KafkaSettings, ServiceSettings

SERVICE = "ingest"


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TEMAS_INGEST_", frozen=True, populate_by_name=True)

    port: int = 8001
    # The public key of browsers and apps: with it one can write, and nothing else. Its source is `web`.
    write_key: SecretStr = Field(validation_alias=AliasChoices("write_key", "TEMAS_WRITE_KEY"))
    # Bytes of a request's body. RudderStack's clients send batches of 4 MB, and overshoot.
    body_limit: int = 4_500_000
    # Bytes of a body once it is unpacked: a small gzip can hold anything.
    unpacked_limit: int = 8_000_000
    # Bytes of bodies that may be on their way in at one moment; past that, requests are refused at once.
    arriving_limit: int = 64_000_000
    # Seconds that a body may take to arrive.
    body_seconds: float = 30.0
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
