"""What an operator types: `python -m services.ingest ...`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from services.ingest.app import build
from services.ingest.errors import NotImported
from services.ingest.settings import SERVICE, Settings
from shared import db, http, kafka, topics
from shared.dead_letter_commands import dead_letter_commands
from shared.settings import DatabaseSettings, KafkaSettings, from_environment


def _servers() -> tuple[DatabaseSettings, KafkaSettings]:
    settings = from_environment(Settings)
    return settings.database, settings.kafka


main = typer.Typer(help="ingest: takes in every touchpoint.", no_args_is_help=True, add_completion=False)
main.add_typer(dead_letter_commands(_servers), name="dead-letters")


@main.command()
def serve() -> None:
    """Answer until SIGTERM."""
    settings = from_environment(Settings)
    http.serve(build(settings), settings, SERVICE)


@main.command()
def migrate() -> None:
    """Bring the database's schema up to date, and create the topics that this service gives."""
    settings = from_environment(Settings)
    db.migrate(settings.database, Path(__file__).parent / "migrations")
    asyncio.run(_create_topics(settings))


async def _create_topics(settings: Settings) -> None:
    async with kafka.admin(settings.kafka) as admin:
        wanted = topics.given_by(SERVICE)
        await topics.create(admin, wanted, prefix=settings.kafka.prefix, replication=settings.kafka.replication)


@main.command("import")
def import_files(
    files: Annotated[list[str], Argument(help="NDJSON, CSV (both also as .gz or .zst) or Parquet; - reads NDJSON.")],
    *,
    source: Annotated[str, Option(help="The source that the rows come from: one of GET /v1/sources.")],
    map: Annotated[list[str] | None, Option(help="Field[:type]=column, as properties.total:number=amount.")] = None,
    set: Annotated[list[str] | None, Option(help="Field=value for all rows, as type=track.")] = None,
    mapping: Annotated[Path | None, Option(help="map, set and the options below, from a JSON file.")] = None,
    rest: Annotated[str | None, Option(help="The field that all other columns go into, as properties.")] = None,
    zone: Annotated[str | None, Option(help="Of times without one, as Europe/Istanbul; UTC otherwise.")] = None,
    time_format: Annotated[str | None, Option(help="Of times that are not ISO 8601, as '%d.%m.%Y %H:%M'.")] = None,
    decimal: Annotated[str | None, Option(help="The sign before decimals; the other one of . and , may group.")] = None,
    delimiter: Annotated[
        str | None, Option(help="Of CSV. What separates the names in the first line otherwise.")
    ] = None,
    encoding: Annotated[str | None, Option(help="Of CSV, as cp1254; UTF-8 otherwise.")] = None,
    format: Annotated[str | None, Option(help="ndjson, csv or parquet, where the name does not tell.")] = None,
    since: Annotated[str | None, Option(help="Leave out rows from before, as 2026-03-01.")] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Judge all rows, show what is wrong, write nothing.")] = False,
    max_rejected: Annotated[int, Option(help="Stop where more rows are rejected than that.")] = 1_000,
    restart: Annotated[bool, Option("--restart", help="From the first row, whatever was done before.")] = False,
    progress: Annotated[Path | None, Option(help="Where to keep how far it is; FILE.import otherwise.")] = None,
    patience: Annotated[float, Option(help="Seconds that Kafka may be away before it is given up.")] = 600.0,
) -> None:
    """Take in files, as if their rows had come over HTTP.

    Where an import is stopped or killed, the same command goes on. Rows that come
    in twice within 30 days, by whichever file, count once.

    Without --map, columns are named after the fields of a call (userId,
    properties.total:number), and lines of NDJSON are calls. Types are text, number,
    integer, boolean, time and json.

    Exit code 0: all rows were taken. 1: some were rejected (see GET /v1/rejected).
    2: this can't be done as asked. 3: stopped before the end.
    """
    # Only here: what files need (numpy, rich, pyarrow) would lie in the memory of every process that answers requests.
    from services.ingest.service.importing.command import Order, carried_out  # noqa: PLC0415
    from services.ingest.service.importing.options import options  # noqa: PLC0415

    spellings = {
        "rest": rest, "zone": zone, "time_format": time_format, "decimal": decimal,
        "delimiter": delimiter, "encoding": encoding, "format": format, "since": since,
    }  # fmt: skip
    try:
        chosen = options(source, map=map or (), set=set or (), notes=mapping, **spellings)
        sys.exit(carried_out(Order(files, chosen, progress, restart, dry_run, max_rejected, patience)))
    except NotImported as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
