"""What an operator types: `python -m services.profile ...`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from services.profile.app import build
from services.profile.errors import ExtraMissing
from services.profile.service.absorbing import Profiles
from services.profile.service.ruling import Rulings
from services.profile.service.timekeeping import Timekeeping
from services.profile.settings import SERVICE, Settings
from services.profile.upkeep import Timekeeper
from shared import db, http, kafka, topics
from shared.audit import of_operator
from shared.clock import Clock, system_clock
from shared.db import Database
from shared.dead_letter_commands import dead_letter_commands
from shared.identifiers import Identifier, normal
from shared.settings import DatabaseSettings, KafkaSettings, from_environment

MIGRATIONS = Path(__file__).parent / "migrations"


def _servers() -> tuple[DatabaseSettings, KafkaSettings]:
    settings = from_environment(Settings)
    return settings.database, settings.kafka


main = typer.Typer(help="profile: the unified view of each customer.", no_args_is_help=True, add_completion=False)
main.add_typer(dead_letter_commands(_servers), name="dead-letters")


@main.command()
def serve() -> None:
    """Consume, publish and answer until SIGTERM."""
    settings = from_environment(Settings)
    http.serve(build(settings), settings, SERVICE)


@main.command()
def migrate() -> None:
    """Bring the database's schema up to date, and create the topics that this service gives."""
    settings = from_environment(Settings)
    db.migrate(settings.database, MIGRATIONS)
    asyncio.run(_create_topics(settings))


@main.command()
def relink(identifiers: list[str]) -> None:
    """Decide anew whose these are (kind:value), after a limit or a blocked value was changed in the settings."""
    named = [normal(_identifier(each, "IDENTIFIERS")) for each in identifiers]
    settings = from_environment(Settings)
    asyncio.run(_relink(settings, named))


async def _relink(settings: Settings, identifiers: list[Identifier]) -> None:
    rulings = _rulings(settings, system_clock)
    async with Database.open(settings.database) as database:
        await database.retrying(lambda work: rulings.relink(identifiers, of_operator(), work))


@main.command()
def rebuild(
    *,
    person: Annotated[str | None, Option(help="Only this person (kind:value), for good; absorbing waits.")] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Compare with the log, and change nothing.")] = False,
    afresh: Annotated[bool, Option("--afresh", help="From the log's first record, whatever was begun before.")] = False,
    revert: Annotated[bool, Option("--revert", help="Put back what was there before the last rebuild.")] = False,
    forget: Annotated[bool, Option("--forget", help="Drop what was there before the last rebuild.")] = False,
    show: Annotated[bool, Option("--show", help="Print identifiers as they are, not digests of them.")] = False,
) -> None:
    """Make anew, from the log, everything that follows from it, while the service goes on.

    It is made beside what is served, compared with it, and put in its place in one
    short step; what was there is kept until --forget. Where a rebuild is stopped or
    killed, the same command goes on. What the log no longer tells is kept.

    Exit code 0: what is served is what the log says, as far as it reaches back.
    1: it is not, and --dry-run left it so. 2: this can't be done as asked.
    """
    # Only here: what a terminal needs would lie in the memory of every process that answers requests.
    from services.profile.service.rebuilding.command import Order, carried_out  # noqa: PLC0415

    order = Order(
        # Text that is empty is a variable that was not set: it must not become a rebuild of everybody.
        person=None if person is None else _identifier(person, "--person"),
        dry_run=dry_run,
        afresh=afresh,
        revert=revert,
        forget=forget,
        show=show,
    )
    sys.exit(asyncio.run(carried_out(order, from_environment(Settings), MIGRATIONS, timekeeper)))


def _identifier(text: str, where: str) -> Identifier:
    """Raises BadParameter, which names the option or argument `where` it stood, for what is none."""
    try:
        return Identifier.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=where) from error


def timekeeper(settings: Settings, database: Database, clock: Clock) -> Timekeeper:
    """Who makes the partitions that batches need."""
    return Timekeeper(timekeeping=Timekeeping(months=settings.timeline_months, clock=clock), database=database)


def _rulings(settings: Settings, clock: Clock) -> Rulings:
    return Rulings(Profiles(limits=settings.limits, zone=settings.time_zone, clock=clock), clock)


def _likelihood(value: float) -> float:
    """Raises BadParameter outside of [.5, 1): the weights of evidence have no end, so that nothing is certain."""
    if not 0.5 <= value < 1:
        raise typer.BadParameter(f"a probability from 0.5 up to, but without, 1, such as 0.999; got {value:g}")
    return value


@main.command()
def duplicates(
    *,
    at_least: Annotated[
        float,
        Option(callback=_likelihood, help="How likely two profiles must be one person's to be proposed: .5 to .999..."),
    ] = 0.99,
    limit: Annotated[int, Option(min=1, max=1_000_000, help="How many to propose at most: the likeliest.")] = 10_000,
    dry_run: Annotated[bool, Option("--dry-run", help="Only show what would be proposed.")] = False,
) -> None:
    """Look for profiles that are likely one person's, and propose them to people, who accept or refuse."""
    # Only here, as above.
    from services.profile.service.matching.command import looked_for  # noqa: PLC0415
    from services.profile.service.matching.report import show  # noqa: PLC0415

    settings = from_environment(Settings)
    rulings = _rulings(settings, system_clock)
    try:
        looked, revision = asyncio.run(looked_for(settings, rulings, at_least, limit, dry_run=dry_run))
    except ExtraMissing as missing:
        typer.echo(str(missing), err=True)
        raise typer.Exit(1) from None
    show(looked, revision, dry_run=dry_run)


async def _create_topics(settings: Settings) -> None:
    async with kafka.admin(settings.kafka) as admin:
        wanted = topics.given_by(SERVICE)
        await topics.create(admin, wanted, prefix=settings.kafka.prefix, replication=settings.kafka.replication)
