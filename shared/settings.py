"""Settings that every service has. Each service's `settings.py` adds its own under its own prefix.

Read from the environment once, at start, then frozen. A setting without a default must be given: there are no
default credentials.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class KafkaSettings(BaseSettings):
    """How to reach Kafka: `TEMAS_KAFKA_*`."""

    model_config = SettingsConfigDict(env_prefix="TEMAS_KAFKA_", frozen=True)

    # host:port, comma separated.
    bootstrap: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    # The authority that signed the brokers' certificates; the system's own when empty.
    ca_file: str | None = None
    # A client certificate and its key, where the brokers ask for one.
    certificate_file: str | None = None
    certificate_key_file: str | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password: SecretStr | None = None
    # Put before every topic and consumer group, so that several installations share one cluster.
    prefix: str = ""
    # Copies of each partition when topics are created. One broker: 1. Production: 3, with min.insync.replicas=2.
    replication: int = 1
    # Seconds after which an unacknowledged append is answered "unknown, send again".
    deadline: float = 10.0
    # Bytes of records that may wait for Kafka in one process; past that, appends are refused at once.
    waiting_limit: int = 64 * 1024 * 1024


class ServiceSettings(BaseSettings):
    """What each service's `Settings` starts from. Subclasses set `env_prefix="TEMAS_<SERVICE>_"` and frozen."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True)

    host: str = "127.0.0.1"
    port: int
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # The key of servers and operators: everything may be read and changed with it.
    secret_key: SecretStr = Field(validation_alias=AliasChoices("secret_key", "TEMAS_SECRET_KEY"))
    # Seconds that a request may take to arrive, from its first byte to its last.
    request_seconds: float = 30.0
    # Seconds that a stopping process gives its requests and batches to end.
    drain: float = 10.0


class UserTokenSettings(BaseSettings):
    """What verifies user tokens: `TEMAS_USER_TOKEN_*`, the same for every service that takes them.

    A service's `Settings` has this as a base, beside `ServiceSettings`.
    """

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True)

    # What the company's backend signs user tokens with (HS256). While one secret takes another's place, both, with a
    # comma between them: tokens of either are accepted. So a secret has no comma in it.
    user_token_secret: SecretStr | None = Field(
        None, validation_alias=AliasChoices("user_token_secret", "TEMAS_USER_TOKEN_SECRET")
    )
    # The backend's public keys (RS256, ES256) as a JWKS: a path, or an https address. Several keys have names (`kid`),
    # and tokens say the name of theirs.
    user_token_jwks: str | None = Field(None, validation_alias=AliasChoices("user_token_jwks", "TEMAS_USER_TOKEN_JWKS"))
    # Seconds between two readings of it. A key that was taken out of it holds that long; for one that a token names and
    # it lacks it is read again at once.
    user_token_jwks_every: float = Field(
        300.0, gt=0, validation_alias=AliasChoices("user_token_jwks_every", "TEMAS_USER_TOKEN_JWKS_EVERY")
    )
    # Seconds that a user token may go on to hold, at most: one that ends later is refused.
    user_token_longest: int = Field(
        86_400, gt=0, validation_alias=AliasChoices("user_token_longest", "TEMAS_USER_TOKEN_LONGEST")
    )

    @property
    def user_token_secrets(self) -> list[str]:
        """The secrets one by one."""
        given = "" if self.user_token_secret is None else self.user_token_secret.get_secret_value()
        return [secret.strip() for secret in given.split(",") if secret.strip()]

    @property
    def takes_user_tokens(self) -> bool:
        """Whether there is anything to verify them with."""
        return bool(self.user_token_secrets) or self.user_token_jwks is not None


class DatabaseSettings(BaseSettings):
    """How to reach PostgreSQL: `TEMAS_<SERVICE>_DATABASE_URL`, else `TEMAS_DATABASE_URL`. See `database_settings`."""

    model_config = SettingsConfigDict(frozen=True)

    # postgresql://user:password@host:port/name
    url: SecretStr
    # The schema that the service owns: its name.
    db_schema: str
    pool_size: int = 8
    # Milliseconds after which PostgreSQL gives up on a statement, and on waiting for a lock.
    statement_timeout: int = 30_000
    lock_timeout: int = 5_000


def database_settings(service: str) -> DatabaseSettings:
    """The database of `service`, from the environment. Raises ValidationError naming what is missing."""

    class FromEnvironment(DatabaseSettings):
        model_config = SettingsConfigDict(env_prefix=f"TEMAS_{service.upper()}_DATABASE_", frozen=True)
        url: SecretStr = Field(
            validation_alias=AliasChoices(f"TEMAS_{service.upper()}_DATABASE_URL", "TEMAS_DATABASE_URL")
        )

    return FromEnvironment(db_schema=service)
