"""What an operator types: `python -m services.profile ...`."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from services.profile.app import build
from services.profile.domain.proposals import Revision
from services.profile.errors import ExtraMissing
from services.profile.service.absorbing import Profiles
from services.profile.service.matching.pool import Looked, pool
from services.profile.service.matching.report import show
from services.profile.service.proposing import Proposals
from services.profile.service.ruling import Rulings
from services.profile.settings import SERVICE, Settings
from shared import db, http, kafka, topics
from shared.clock import Clock, system_clock
from shared.db import Database, Work
from shared.identifiers import Identifier, normal

CHUNK = 2_000
"""Views read in one transaction: a few megabytes."""

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
    rulings = _rulings(settings, system_clock)
    async with Database.open(settings.database) as database:
        await database.retrying(lambda work: rulings.relink(identifiers, work))


def _rulings(settings: Settings, clock: Clock) -> Rulings:
    return Rulings(Profiles(limits=settings.limits, zone=settings.time_zone, clock=clock), clock)


@main.command()
def duplicates(
    at_least: Annotated[
        float, typer.Option(min=0.5, max=1, help="How likely two profiles must be one person's to be proposed.")
    ] = 0.99,
    limit: Annotated[int, typer.Option(min=1, help="How many to propose at most: the likeliest.")] = 10_000,
    dry_run: Annotated[bool, typer.Option(help="Only show what would be proposed.")] = False,
) -> None:
    """Look for profiles that are likely one person's, and propose them to people, who accept or refuse."""
    settings = Settings()  # from the environment
    try:
        looked, revision = asyncio.run(look_for_duplicates(settings, at_least, limit, dry_run=dry_run))
    except ExtraMissing as missing:
        typer.echo(str(missing), err=True)
        raise typer.Exit(1) from None
    show(looked, revision, dry_run=dry_run)


async def look_for_duplicates(
    settings: Settings, at_least: float, limit: int, *, dry_run: bool = False, clock: Clock = system_clock
) -> tuple[Looked, Revision]:
    """Propose likely duplicates, or with `dry_run` only say what would be. Raises ExtraMissing."""
    proposals = Proposals(_rulings(settings, clock), clock)
    with pool() as waiting:
        async with Database.open(settings.database) as database:
            chunk = await database.retrying(lambda work: proposals.descriptions(None, CHUNK, work))
            waiting.add(chunk.descriptions)
            while after := chunk.last:
                chunk = await database.retrying(partial(proposals.descriptions, after, CHUNK))
                waiting.add(chunk.descriptions)

            looked = waiting.look(at_least=at_least, limit=limit)

            async def propose(work: Work) -> Revision:
                revision = await proposals.revise(looked.found, work, complete=looked.complete)
                if not dry_run:
                    await proposals.keep(revision, work)
                return revision

            return looked, await database.retrying(propose)


async def _create_topics(settings: Settings) -> None:
    async with kafka.admin(settings.kafka) as admin:
        wanted = topics.given_by(SERVICE)
        await topics.create(admin, wanted, prefix=settings.kafka.prefix, replication=settings.kafka.replication)
