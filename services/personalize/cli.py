"""What an operator types: `python -m services.personalize serve | migrate`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from services.personalize.app import build
from services.personalize.settings import SERVICE, Settings
from shared import http, topics
from shared.db import migrate as migrate_database
from shared.dead_letter_commands import dead_letter_commands
from shared.kafka import admin
from shared.settings import DatabaseSettings, KafkaSettings, from_environment

MIGRATIONS = Path(__file__).parent / "migrations"


def _servers() -> tuple[DatabaseSettings, KafkaSettings]:
    settings = from_environment(Settings)
    return settings.database, settings.kafka


main = typer.Typer(help="Personalize: what to offer whom.", no_args_is_help=True, add_completion=False)
main.add_typer(dead_letter_commands(_servers), name="dead-letters")


@main.command()
def serve() -> None:
    """Consume, learn and answer, until told to stop."""
    settings = from_environment(Settings)
    http.serve(build(settings), settings, SERVICE)


@main.command()
def migrate() -> None:
    """Bring the database schema up to date, and create the topics that personalize gives."""
    settings = from_environment(Settings)
    migrate_database(settings.database, MIGRATIONS)
    asyncio.run(_create_topics(settings))


async def _create_topics(settings: Settings) -> None:
    async with admin(settings.kafka) as client:
        await topics.create(
            client, topics.given_by(SERVICE), prefix=settings.kafka.prefix, replication=settings.kafka.replication
        )
