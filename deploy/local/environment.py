"""What programs of the stack inherit of the environment of whoever starts it, and what they do not."""

from __future__ import annotations

import os
from collections.abc import Mapping

OURS = "TEMAS_"
"""Settings of Temas, secrets among them, begin so."""

INHERITED = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
})  # fmt: skip
"""Where things are on this machine and how its network is reached, in capitals and in small letters."""

INHERITED_PREFIXES = ("LC_", "SSL_", "XDG_", "PYTHON", "OTEL_", "OMP_", "OPENBLAS_", "MALLOC_")
"""The same, by how such names begin; and how Python, its libraries and the memory are tuned."""

EVERY_SERVICES = ("TEMAS_KAFKA_", "TEMAS_SECRET_KEY", "TEMAS_KEY_SIGNING_SECRET", "TEMAS_TIME_ZONE")
"""Settings that every service has, by how they begin. Its own begin with its name."""

SOME_SERVICES: Mapping[str, tuple[str, ...]] = {
    "TEMAS_WRITE_KEY": ("ingest",),
    "TEMAS_USER_TOKEN_": ("ingest", "personalize"),
}
"""Settings that several know, or that are named after what they are, by the services that use them."""

DATABASE = "TEMAS_DATABASE_URL"
"""What a service without a URL of its own goes by."""


def of_the_machine(given: Mapping[str, str]) -> dict[str, str]:
    """What of `given` a service inherits that is no setting of Temas."""
    return {
        name: value
        for name, value in given.items()
        if name.upper() in INHERITED or name.upper().startswith(INHERITED_PREFIXES)
    }


def of_service(service: str, given: Mapping[str, str]) -> dict[str, str]:
    """The settings in `given` that `service` uses: no other's, and so no other's secrets."""
    own = f"TEMAS_{service.upper()}_"
    named = (*EVERY_SERVICES, own, *(name for name, users in SOME_SERVICES.items() if service in users))
    used = {name: value for name, value in given.items() if name.startswith(named)}
    if DATABASE in given and f"{own}DATABASE_URL" not in used:
        used[DATABASE] = given[DATABASE]
    return used


def of_servers() -> dict[str, str]:
    """The environment of PostgreSQL and Kafka: ours, without any setting of Temas."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
