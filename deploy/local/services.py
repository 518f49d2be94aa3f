"""The four services: their environment, and how each is started, made ready and probed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from deploy.local.environment import of_service, of_the_machine
from deploy.local.errors import NotReady, Refused
from deploy.local.home import Home, write_private
from deploy.local.keys import ADMIN, WITH_DATABASE, Keys, url
from deploy.local.processes import Command, run_once
from deploy.local.program import Program, Task
from deploy.local.settings import LOOPBACK, SERVICES, Settings

Environment = Mapping[str, str]

DRAIN = 20.0
"""Seconds that a service gets to end its requests and batches: its own setting is 10."""


def port(service: str, settings: Settings, given: Environment = os.environ) -> int:
    """Where `service` listens: as its own setting says, else at its usual place."""
    said = given.get(f"TEMAS_{service.upper()}_PORT")
    if said and not said.isdecimal():
        raise Refused(f"TEMAS_{service.upper()}_PORT={said} is not a port: mend or unset it.")
    return int(said) if said else settings.port(service)


def shared(settings: Settings, keys: Keys, given: Environment = os.environ) -> dict[str, str]:
    """What this stack's keys and addresses are.

    Keys that are given from outside stay; addresses of what this stack starts itself are its own.
    """
    generated = {
        "TEMAS_SECRET_KEY": keys.secret_key,
        "TEMAS_WRITE_KEY": keys.write_key,
        "TEMAS_USER_TOKEN_SECRET": keys.user_token_secret,
        "TEMAS_KEY_SIGNING_SECRET": keys.key_signing_secret,
    }
    kafka = f"{LOOPBACK}:{settings.port('kafka')}" if settings.starts_kafka else settings.kafka_bootstrap
    return {
        **{name: given.get(name) or value for name, value in generated.items()},
        **{f"TEMAS_{each.upper()}_URL": f"http://{LOOPBACK}:{port(each, settings, given)}" for each in SERVICES},
        "TEMAS_KAFKA_BOOTSTRAP": str(kafka),
    }


def databases(settings: Settings, keys: Keys) -> dict[str, str]:
    """The URL of each service's own role, where the database is ours; where it is given, so are its URLs."""
    if not settings.starts_postgres:
        return {}
    at = settings.port("postgres")
    return {f"TEMAS_{role.upper()}_DATABASE_URL": url(at, keys.passwords[role], role) for role in WITH_DATABASE}


def environment_of(service: str, settings: Settings, keys: Keys, given: Environment = os.environ) -> dict[str, str]:
    """All that `service` is told, of what is given from outside and what is ours: no secret that it does not use."""
    everything = {
        **given,
        **shared(settings, keys, given),
        **databases(settings, keys),
        f"TEMAS_{service.upper()}_PORT": str(port(service, settings, given)),
    }
    # Here each service has one port, which the supervisor looks at.
    everything.pop(f"TEMAS_{service.upper()}_OPERATIONS_PORT", None)
    return of_the_machine(given) | of_service(service, everything)


def write_environment(home: Home, settings: Settings, keys: Keys) -> None:
    """Write `local.env`: all that a client, a test or a person needs to reach the stack."""
    administrator = url(settings.port("postgres"), keys.passwords[ADMIN])
    told = {
        **shared(settings, keys),
        "TEMAS_DATABASE_URL": administrator if settings.starts_postgres else str(settings.database_url),
        **databases(settings, keys),
    }
    heading = "# Written by `make up`: how to reach this stack. Keep it to yourself."
    write_private(home.secret_key, told["TEMAS_SECRET_KEY"])
    write_private(home.environment, "\n".join([heading, *(f"{name}={value}" for name, value in told.items()), ""]))


def migration(service: str, home: Home, environment: Environment) -> Task:
    """Bring the service's schema up to date and create the topics it gives."""
    command = Command(service, (sys.executable, "-m", f"services.{service}", "migrate"), environment)
    return Task(f"{service}: schema and topics", lambda: run_once(command, home))


def program(service: str, at: int, environment: Environment) -> Program:
    """The service itself, on the port `at`."""
    argv = (sys.executable, "-m", f"services.{service}", "serve")
    key = environment["TEMAS_SECRET_KEY"]
    return Program(service, Command(service, argv, environment, patience=DRAIN), at, ready=lambda: ready(at, key))


async def ready(at: int, key: str) -> None:
    """Return once the service on the port `at` says that it can take traffic."""
    if reason := await asyncio.to_thread(complaint, at, key):
        raise NotReady(reason)


def complaint(at: int, key: str) -> str | None:
    """Say what is wrong with the service on the port `at`, which tells it to `key`; None when all is well."""
    connection = HTTPConnection(LOOPBACK, at, timeout=10)
    try:
        connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return (
            None if answer.status == HTTPStatus.OK else f"{answer.status} {answer.read(300).decode(errors='replace')}"
        )
    except (OSError, HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
