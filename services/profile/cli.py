"""What an operator types: `python -m services.profile ...`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from services.profile.app import build
from services.profile.settings import SERVICE, Settings
from shared import db, http, kafka, topics

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


async def _create_topics(settings: Settings) -> None:
    async with kafka.admin(settings.kafka) as admin:
        wanted = topics.given_by(SERVICE)
        await topics.create(admin, wanted, prefix=settings.kafka.prefix, replication=settings.kafka.replication)
