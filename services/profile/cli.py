"""What an operator types: `python -m services.profile ...`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from services.profile.app import build
from services.profile.service.absorbing import Profiles
from services.profile.service.ruling import Rulings
from services.profile.settings import SERVICE, Settings
from shared import db, http, kafka, topics
from shared.clock import system_clock
from shared.db import Database
from shared.identifiers import Identifier, normal

main = typer.Typer(help="profile: the unified view of each customer.", no_args_is_help=True, add_completion=False)


@main.command()
def serve() -> None:
    """Consume, publish and answer until SIGTERM."""
    settings = Settings()  # from the environment
    http.serve(build(settings), settings, SERVICE)


@main.command()
def migrate() -> None:
    """Bring the database's schema up to date, and create the topics that this service gives."""
    settings = Settings()  # from the environment
    db.migrate(settings.database, Path(__file__).parent / "migrations")
    asyncio.run(_create_topics(settings))


@main.command()
def relink(identifiers: list[str]) -> None:
    """Decide anew whose these are (kind:value), after a limit or a blocked value was changed in the settings."""
    settings = Settings()  # from the environment
    asyncio.run(_relink(settings, [normal(Identifier.parse(each)) for each in identifiers]))


async def _relink(settings: Settings, identifiers: list[Identifier]) -> None:
    rulings = Rulings(Profiles(limits=settings.limits, zone=settings.time_zone, clock=system_clock), system_clock)
    async with Database.open(settings.database) as database:
        await database.retrying(lambda work: rulings.relink(identifiers, work))


async def _create_topics(settings: Settings) -> None:
    async with kafka.admin(settings.kafka) as admin:
        wanted = topics.given_by(SERVICE)
        await topics.create(admin, wanted, prefix=settings.kafka.prefix, replication=settings.kafka.replication)
