"""Where the stack lives and what it starts, from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.errors import Refused

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: programs start here, so that `python -m services.<name>` finds the services."""

SERVICES = ("ingest", "profile", "scoring", "personalize")

PORTS = {
    "ingest": 8001,
    "profile": 8002,
    "scoring": 8003,
    "personalize": 8004,
    "postgres": 25432,
    "kafka": 29092,
    "controller": 29093,  # Kafka's own metadata quorum, of one
}

LOOPBACK = "127.0.0.1"


class Settings(BaseSettings):
    """`TEMAS_*`, read once at the start of a command."""

    model_config = SettingsConfigDict(env_prefix="TEMAS_", frozen=True, env_ignore_empty=True)

    # The state folder: databases, keys, logs.
    home: Path = ROOT / ".temas"
    # What is downloaded once for all stacks of this user.
    cache: Path = Path("~/.cache/temas")
    # Added to every port, so that two stacks run side by side.
    port_offset: int = Field(default=0, ge=0, le=30_000)
    # A PostgreSQL and a Kafka that are there already: what is given is not started here.
    database_url: str | None = None
    kafka_bootstrap: str | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """The settings. Raises Refused, naming the variable, where one can't be read."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            variable = f"TEMAS_{str(first['loc'][0]).upper()}"
            raise Refused(f"{variable}={first['input']} can't be used ({first['msg']}): mend or unset it.") from error

    def port(self, name: str) -> int:
        return PORTS[name] + self.port_offset

    @property
    def database_address(self) -> str:
        """host:port of the PostgreSQL in use. Raises Refused where the URL that is given can't be read."""
        if self.database_url is None:
            return f"{LOOPBACK}:{self.port('postgres')}"
        try:
            host, port = urlsplit(self.database_url).hostname, urlsplit(self.database_url).port
        except ValueError as error:
            raise Refused(
                f"TEMAS_DATABASE_URL can't be read ({error}): write postgresql://user:password@host:port/name."
            ) from error
        return f"{host or 'localhost'}:{port or 5432}"

    @property
    def starts_postgres(self) -> bool:
        """Whether PostgreSQL is ours to start: none is given, or the one given is our own, from a sourced local.env."""
        return self.database_address == f"{LOOPBACK}:{self.port('postgres')}"

    @property
    def starts_kafka(self) -> bool:
        """Whether Kafka is ours to start, likewise."""
        return self.kafka_bootstrap in (None, f"{LOOPBACK}:{self.port('kafka')}")
