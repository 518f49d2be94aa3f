"""What an operator types: `python -m services.ingest ...`."""

from __future__ import annotations

import asyncio

import typer

from services.ingest.app import build
from services.ingest.settings import SERVICE, Settings
from shared import http, kafka, topics

main = typer.Typer(help="ingest: takes in every touchpoint.", no_args_is_help=True, add_completion=False)


@main.command()
def serve() -> None:
    """Answer until SIGTERM."""
    settings = Settings()  # from the environment
    http.serve(build(settings), settings, SERVICE)


@main.command()
def migrate() -> None:
    """Create the topics that this service gives."""
    asyncio.run(_create_topics(Settings()))  # from the environment


async def _create_topics(settings: Settings) -> None:
    async with kafka.admin(settings.kafka) as admin:
        wanted = topics.given_by(SERVICE)
        await topics.create(admin, wanted, prefix=settings.kafka.prefix, replication=settings.kafka.replication)
