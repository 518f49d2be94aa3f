"""`import`, from its options to its exit code: opens what is needed, and takes file after file."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.errors import KafkaError
from msgspec.structs import replace
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from services.ingest.domain.plan import Plan
from services.ingest.domain.sources import Source
from services.ingest.errors import NotImported, Unfinished
from services.ingest.service.counts import Counts
from services.ingest.service.importing.bar import Bar
from services.ingest.service.importing.delivering import Delivery
from services.ingest.service.importing.judging import Judging
from services.ingest.service.importing.opening import STDIN, Opened, opened
from services.ingest.service.importing.options import Options
from services.ingest.service.importing.progress import Mark, Progress, begun, fingerprint
from services.ingest.service.importing.reading import Table, comma_separated, ndjson
from services.ingest.service.importing.running import Run
from services.ingest.service.importing.summary import summary
from services.ingest.service.registry import Registry
from services.ingest.settings import SERVICE, Settings
from shared import logs, topics
from shared.audit import Audit, of_operator
from shared.clock import system_clock
from shared.db import Database, Work, is_away
from shared.errors import Fatal
from shared.health import Health
from shared.kafka import Kafka
from shared.settings import complaints

SOME_REJECTED = 1


@dataclass(frozen=True)
class Order:
    """`progress` is where to keep how far a file is; beside the file where it is None. Seconds of `patience`."""

    files: Sequence[str]
    options: Options
    progress: Path | None = None
    restart: bool = False
    dry_run: bool = False
    max_rejected: int | None = None
    patience: float = 600.0


def carried_out(order: Order) -> int:
    """The exit code. Raises NotImported, which has its own."""
    try:
        settings = Settings()  # from the environment
    except ValidationError as error:
        wrong = "; ".join(complaints(error, Settings))
        raise NotImported(f"{wrong}; the settings are those of `serve`, from the environment") from None
    if order.progress is not None and len(order.files) != 1:
        raise NotImported("--progress is for one file: leave it out, and each has its own beside it")
    logs.configure(SERVICE, "error")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it would say, the bar says
    return asyncio.run(_all(settings, order))


async def _all(settings: Settings, order: Order) -> int:
    async with _running(settings, order) as importer:
        codes = [await importer.take(name) for name in order.files]
    return max(codes, default=0)


@asynccontextmanager
async def _running(settings: Settings, order: Order) -> AsyncIterator[Importer]:
    """All that an import needs; Kafka only where something is written. Raises NotImported."""
    health, stop = Health(), asyncio.Event()
    async with AsyncExitStack() as open_:
        database = await open_.enter_async_context(Database.open(settings.database))
        source, plan = await _known(settings, database, health, order.options.source)
        importer = Importer(order, source, plan, database, Counts(database, system_clock, health), stop)
        if not order.dry_run:
            importer.kafka = await _kafka(open_, settings, health)
            open_.push_async_callback(importer.counts.flush)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, loop, stop)
        yield importer


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """The first signal lets what is under way arrive; the next one is nobody's, and ends the process."""
    stop.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


async def _kafka(open_: AsyncExitStack, settings: Settings, health: Health) -> Kafka:
    try:
        kafka = await open_.enter_async_context(Kafka.open(settings.kafka, health))
        await kafka.require(topics.given_by(SERVICE))
    except (KafkaError, Fatal) as error:
        raise Unfinished(f"Kafka at {settings.kafka.bootstrap}: {error}; nothing was written") from None
    return kafka


async def _known(settings: Settings, database: Database, health: Health, name: str) -> tuple[Source, Plan]:
    """The source and the plan, as they stand now: a file is judged by one plan. Raises NotImported."""
    registry = Registry(settings, database, health, system_clock)
    try:
        await registry.load()
    except (SQLAlchemyError, OSError) as error:
        if not is_away(error):
            raise
        raise Unfinished(f"PostgreSQL does not answer: {error}; nothing was written") from None
    source = registry.current.sources.get(name)
    if source is None:
        known = ", ".join(sorted(registry.current.sources)) or "none yet"
        raise NotImported(f"there is no source {name!r} (there is {known}): make it with PUT /v1/sources/{name}")
    # No file brings user tokens along: whoever has the service's settings vouches for what is in it.
    return replace(source, identity_proof="none"), registry.current.plan


@dataclass
class Importer:
    """What all files of one command share."""

    order: Order
    source: Source
    plan: Plan
    database: Database
    counts: Counts
    stop: asyncio.Event
    kafka: Kafka | None = None

    async def take(self, name: str) -> int:
        """Import one file, and say what became of it. Raises NotImported."""
        progress, mark = await self._begun(name)
        if mark.done:
            print(f"{name}: imported already, {mark.rows:,} rows (--restart does it again)")
            return SOME_REJECTED if mark.rejected else 0
        if not self.order.dry_run:
            await self._note(name, mark)
        with opened(name) as file:
            table = _table(file, self.order.options, name)
            with Bar(Path(name).name, table.total) as bar:
                run = self._run(name, table, bar, progress, mark)
                try:
                    await run.run()
                except Unfinished as error:
                    raise Unfinished(f"{name}: {error}. {_to_go_on(run, progress)}") from None
                except NotImported as error:
                    raise NotImported(f"{name}: {error}") from None
                finally:
                    bar.stop()
                    print(summary(name, run, rehearsal=self.order.dry_run), flush=True)
        return SOME_REJECTED if run.mark.rejected else 0

    async def _note(self, name: str, mark: Mark) -> None:
        """Write down, before the first row, that this file is taken in: however it ends, some of it may be."""
        after = {"file": Path(name).name, "rows_before": mark.rows}

        async def write(work: Work) -> None:
            await Audit(system_clock).note(work, of_operator(), "imported", f"sources/{self.source.name}", after=after)

        try:
            await self.database.retrying(write)
        except Exception as error:
            if not is_away(error):
                raise
            raise Unfinished(f"PostgreSQL does not answer: {error}; nothing of {name} was written") from None

    async def _begun(self, name: str) -> tuple[Progress | None, Mark]:
        """Where to go on, and where to keep how far it is; a rehearsal and a pipe have neither."""
        options = self.order.options.told()
        if name == STDIN or self.order.dry_run:
            return None, Mark(file=name, options=options, begun_at=system_clock())
        path = self.order.progress or Path(f"{name}.import")
        progress = Progress(path)
        fresh = Mark(file=await fingerprint(Path(name)), options=options, begun_at=system_clock())
        return progress, begun(progress.read(), fresh, path, restart=self.order.restart)

    def _run(self, name: str, table: Table, bar: Bar, progress: Progress | None, mark: Mark) -> Run:
        if name == STDIN and not self.order.dry_run:
            bar.say("standard input can't go on where it was stopped: sent again from its start, no row counts twice")
        return Run(
            table,
            Judging(
                Path(name).name,
                table,
                source=self.source,
                plan=self.plan,
                earliest=self.order.options.earliest,
                clock=system_clock,
            ),
            self._delivery(bar),
            mark,
            keep=progress.write if progress else lambda mark: None,
            limit=None if self.order.dry_run else self.order.max_rejected,
            bar=bar,
            stop=self.stop,
        )

    def _delivery(self, bar: Bar) -> Delivery | None:
        if self.kafka is None:
            return None
        return Delivery(
            touchpoints=self.kafka.log(topics.TOUCHPOINTS),
            rejected=self.kafka.log(topics.REJECTED),
            counts=self.counts,
            patience=self.order.patience,
            bar=bar,
            stop=self.stop,
        )


def _table(file: Opened, options: Options, name: str) -> Table:
    form = options.format_of(name)
    try:
        if form == "parquet":
            from services.ingest.service.importing.parquet import parquet  # noqa: PLC0415 - an extra

            return parquet(file, options)
        return ndjson(file, options) if form == "ndjson" else comma_separated(file, options)
    except ModuleNotFoundError:
        raise NotImported(f"{name}: Parquet needs pyarrow: pip install pyarrow") from None
    except NotImported as error:
        raise NotImported(f"{name}: {error}") from None


def _to_go_on(run: Run, progress: Progress | None) -> str:
    if run.delivery is None:
        return "Nothing was written"
    if progress is None:
        return f"{run.mark.rows:,} rows are in; send all of them once more, which changes nothing for these"
    return f"{run.mark.rows:,} rows are in; the same command goes on after them"
