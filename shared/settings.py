"""Settings that every service has. Each service's `settings.py` adds its own under its own prefix.

Read from the environment once, at start, then frozen. A setting without a default must be given: there are no
default credentials, and secrets that can be guessed are refused. Nothing that was given is shown in an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from shared.secrets import MAKE_ONE, SHORTEST, SHORTEST_PUBLIC, equal_pair, weakness

S = TypeVar("S", bound=BaseSettings)

NOT_STARTED = 2
"""The exit code where a setting is missing or wrong."""


def _strong(shortest: int, *, several: bool = False) -> AfterValidator:
    def checked(secret: SecretStr) -> SecretStr:
        for each in one_by_one(secret) if several else [secret.get_secret_value()]:
            if wrong := weakness(each, shortest):
                raise ValueError(f"{wrong}; {MAKE_ONE}")
        return secret

    return AfterValidator(checked)


def one_by_one(secrets: SecretStr | None) -> list[str]:
    """The secrets of a setting that takes several, in their order. So a secret has no comma in it."""
    given = "" if secrets is None else secrets.get_secret_value()
    return [each.strip(" ") for each in given.split(",") if each.strip()]


Secret = Annotated[SecretStr, _strong(SHORTEST)]
"""A secret of ours: long, random, and none that stands in an example."""

Secrets = Annotated[SecretStr, _strong(SHORTEST, several=True)]
"""Several, with a comma between them, while one takes another's place. See `one_by_one`."""

PublicKey = Annotated[SecretStr, _strong(SHORTEST_PUBLIC)]
"""A key that pages and apps show, so that it is no secret; but nobody should find it by chance."""


class KafkaSettings(BaseSettings):
    """How to reach Kafka: `TEMAS_KAFKA_*`. See `kafka_settings`."""

    model_config = SettingsConfigDict(env_prefix="TEMAS_KAFKA_", frozen=True, hide_input_in_errors=True)

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


def kafka_settings(service: str) -> KafkaSettings:
    """How `service` reaches Kafka: by `TEMAS_<SERVICE>_KAFKA_*` where given, else by `TEMAS_KAFKA_*`.

    So each can have a user of its own, whose rights are what it needs. Raises ValidationError naming what is missing.
    """

    class FromEnvironment(KafkaSettings):
        model_config = SettingsConfigDict(title=KafkaSettings.__name__)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return EnvSettingsSource(settings_cls, env_prefix=f"TEMAS_{service.upper()}_KAFKA_"), env_settings

    return FromEnvironment()


class ServiceSettings(BaseSettings):
    """What each service's `Settings` starts from. Subclasses set `env_prefix="TEMAS_<SERVICE>_"` and frozen."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int
    # A port of its own for `/healthz`, `/readyz`, `/metrics` and `/docs`, which are then answered there alone and take
    # no key: only operators may reach it. Without it they are on `port`, and say more than yes or no only to keys.
    operations_port: int | None = None
    operations_host: str = "127.0.0.1"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # The key of servers and operators: everything may be read and changed with it.
    secret_key: Secret = Field(validation_alias="TEMAS_SECRET_KEY")
    # What ingest signs records of keys with, and all services verify them with: the same for a whole installation, and
    # for no other. While one takes another's place, both, with a comma between them: the first one signs.
    key_signing_secret: Secrets = Field(validation_alias="TEMAS_KEY_SIGNING_SECRET")
    # Seconds that a request may take to arrive, from its first byte to its last.
    request_seconds: float = 30.0
    # Seconds that a stopping process gives its requests and batches to end.
    drain: float = 10.0

    @field_validator("key_signing_secret")
    @classmethod
    def _one_signs(cls, secrets: SecretStr) -> SecretStr:
        if not one_by_one(secrets):
            raise ValueError(f"is empty; {MAKE_ONE}")
        return secrets

    @model_validator(mode="after")
    def _secrets_differ(self) -> Self:
        """Refuse one secret for two purposes: whoever is given it for one would have the other."""
        given = [(name, getattr(self, name)) for name in sorted(type(self).model_fields)]
        secrets = [(name, each) for name, each in given if isinstance(each, SecretStr)]
        if pair := equal_pair((name, text) for name, each in secrets for text in one_by_one(each)):
            one, other = (f"TEMAS_{name.upper()}" for name in pair)
            raise ValueError(f"{one} and {other} are the same: give each its own; {MAKE_ONE}")
        return self

    @property
    def key_signing_secrets(self) -> list[str]:
        """The secrets one by one, that which signs first."""
        return one_by_one(self.key_signing_secret)


class UserTokenSettings(BaseSettings):
    """What verifies user tokens: `TEMAS_USER_TOKEN_*`, the same for every service that takes them.

    A service's `Settings` has this as a base, beside `ServiceSettings`.
    """

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, hide_input_in_errors=True)

    # What the company's backend signs user tokens with (HS256). While one secret takes another's place, both, with a
    # comma between them: tokens of either are accepted. So a secret has no comma in it.
    user_token_secret: Secrets | None = Field(None, validation_alias="TEMAS_USER_TOKEN_SECRET")
    # The backend's public keys (RS256, ES256) as a JWKS: a path, or an https address. Several keys have names (`kid`),
    # and tokens say the name of theirs.
    user_token_jwks: str | None = Field(None, validation_alias="TEMAS_USER_TOKEN_JWKS")
    # Seconds between two readings of it. A key that was taken out of it holds that long; for one that a token names and
    # it lacks it is read again at once.
    user_token_jwks_every: float = Field(300.0, gt=0, validation_alias="TEMAS_USER_TOKEN_JWKS_EVERY")
    # Seconds that a user token may go on to hold, at most: one that ends later is refused.
    user_token_longest: int = Field(86_400, gt=0, validation_alias="TEMAS_USER_TOKEN_LONGEST")

    @property
    def user_token_secrets(self) -> list[str]:
        """The secrets one by one."""
        return one_by_one(self.user_token_secret)

    @property
    def takes_user_tokens(self) -> bool:
        """Whether there is anything to verify them with."""
        return bool(self.user_token_secrets) or self.user_token_jwks is not None


class DatabaseSettings(BaseSettings):
    """How to reach PostgreSQL: `TEMAS_<SERVICE>_DATABASE_URL`, else `TEMAS_DATABASE_URL`. See `database_settings`."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

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
        model_config = SettingsConfigDict(
            env_prefix=f"TEMAS_{service.upper()}_DATABASE_", frozen=True, hide_input_in_errors=True
        )
        url: SecretStr = Field(
            validation_alias=AliasChoices(f"TEMAS_{service.upper()}_DATABASE_URL", "TEMAS_DATABASE_URL")
        )

    return FromEnvironment(db_schema=service)


def from_environment(kind: type[S]) -> S:
    """The settings of a command. Where they can't be used, say so on standard error, by variable, and end."""
    try:
        return kind()
    except ValidationError as error:
        for line in complaints(error, kind):
            print(line, file=sys.stderr)
        sys.exit(NOT_STARTED)


def complaints(error: ValidationError, kind: type[BaseSettings]) -> Iterator[str]:
    """Each variable that is missing or wrong, with why."""
    prefix = "TEMAS_KAFKA_" if error.title == KafkaSettings.__name__ else kind.model_config.get("env_prefix", "")
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        reason = each["msg"].removeprefix("Value error, ")
        reason = reason[0].lower() + reason[1:] if each["type"] == "missing" else reason
        name = str(each["loc"][0]) if each["loc"] else ""
        variable = name if name.startswith("TEMAS_") else f"{prefix}{name.upper()}"
        yield f"{variable}: {reason}" if name else reason
