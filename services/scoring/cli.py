"""What an operator types: `python -m services.scoring serve | migrate | refit`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.scoring.app import build
from services.scoring.service.models import Models
from services.scoring.settings import SERVICE, Settings
from shared import http, topics
from shared.audit import of_operator
from shared.clock import system_clock
from shared.db import Database
from shared.db import migrate as migrate_database
from shared.dead_letter_commands import dead_letter_commands
from shared.errors import TemasError
from shared.kafka import admin
from shared.settings import DatabaseSettings, KafkaSettings, from_environment

MIGRATIONS = Path(__file__).parent / "migrations"


def _servers() -> tuple[DatabaseSettings, KafkaSettings]:
    settings = from_environment(Settings)
    return settings.database, settings.kafka


main = typer.Typer(help="Scoring: what each customer is worth.", no_args_is_help=True, add_completion=False)
main.add_typer(dead_letter_commands(_servers), name="dead-letters")


@main.command()
def serve() -> None:
    """Consume, publish and answer, until told to stop."""
    settings = from_environment(Settings)
    http.serve(build(settings), settings, SERVICE)


@main.command()
def migrate() -> None:
    """Bring the database schema up to date, and create the topics that scoring gives."""
    settings = from_environment(Settings)
    migrate_database(settings.database, MIGRATIONS)
    asyncio.run(_create_topics(settings))


async def _create_topics(settings: Settings) -> None:
    async with admin(settings.kafka) as client:
        await topics.create(
            client, topics.given_by(SERVICE), prefix=settings.kafka.prefix, replication=settings.kafka.replication
        )


@main.command()
def refit(
    as_of: Annotated[datetime | None, typer.Option(help="Fit on what was known then (UTC); now when left out.")] = None,
    activate: Annotated[bool, typer.Option(help="Make the scores with it as soon as it is ready.")] = False,
) -> None:
    """Ask for a new model. The running service fits it; `GET /v1/models/{id}` tells how far it is."""
    try:
        settings = from_environment(Settings)
        print(asyncio.run(_refit(settings, as_of.replace(tzinfo=UTC) if as_of else None, activate=activate)))
    except TemasError as error:
        sys.exit(error.message)


async def _refit(settings: Settings, as_of: datetime | None, *, activate: bool) -> str:
    async with Database.open(settings.database) as database:
        return (await Models(database, system_clock).refit(as_of, of_operator(), activate=activate)).id
