"""The fit that runs: in a process of its own, because it computes for seconds and the consumer shares ours.

The child gets a `FitOrder` on its standard input and answers `Fitted` on its standard output. A fit is leased: a
process of ours that dies stops renewing, and the next one begins that fit again.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import structlog

from services.scoring import metrics
from services.scoring.domain.model import Model
from services.scoring.domain.terms import Terms
from services.scoring.service.fitting import FitOrder, Fitted
from services.scoring.service.models import Models
from services.scoring.store import models as store
from services.scoring.store.models import Version
from shared.audit import of_process
from shared.clock import Clock
from shared.db import Database, Work, is_away
from shared.settings import DatabaseSettings

log = structlog.get_logger(__name__)

COMMAND = (sys.executable, "-m", "services.scoring.service.fitting")

ROOT = Path(__file__).parents[3]
"""Where `services` is found, wherever we were started from."""

SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""A fit is all vectors: threads would mostly wait for each other, and take processors from the consumer meanwhile."""

FITTER = of_process("fits")
"""The actor, in the audit, of what a fit brings about when it ends."""

TRIES = 3
"""A fit that is cut short (killed, out of memory, no database) is begun again; not for ever."""


class Interrupted(Exception):
    """The fitting process ended without an answer. The text says how."""


@dataclass
class Running:
    """A fit at work, since when, on the monotonic clock, and its process's task."""

    version: Version
    began: float
    task: asyncio.Task[Fitted]


class Fits:
    """Carries out, one at a time, the fits that were asked for. `step` is called again and again."""

    def __init__(
        self,
        *,
        database: Database,
        settings: DatabaseSettings,
        models: Models,
        terms: Terms,
        lease: float,
        clock: Clock,
        after: Callable[[], None] = lambda: None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.database = database
        self.settings = settings
        self.models = models
        self.terms = terms
        self.lease = timedelta(seconds=lease)
        self.clock = clock
        self.after = after
        self.command = command
        self.running: Running | None = None

    async def step(self) -> int:
        """Begin the next fit, or stay with the one that runs, or write down what came of it. Gives the fits ended."""
        if self.running is None:
            await self._begin()
            return 0
        if not self.running.task.done():
            running = self.running
            await self.database.retrying(lambda work: store.renew(work, running.version.id, self._until()))
            return 0
        await self._end(self.running)
        self.running = None
        return 1

    async def close(self) -> None:
        """End a fit that runs, and leave it to whoever starts next."""
        running, self.running = self.running, None
        if running is None:
            return
        running.task.cancel()
        await asyncio.wait([running.task])
        try:
            async with self.database.begin() as work:
                await store.release(work, running.version.id, forgiven=True)
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("a fit was not handed back; its lease runs out by itself", model=running.version.id)

    async def _begin(self) -> None:
        async with self.database.begin() as work:
            version = await store.claim(work, now=self.clock(), until=self._until())
        if version is None:
            return
        log.info("a fit begins", model=version.id, attempt=version.attempts)
        task = asyncio.create_task(_carried_out(self.command, self._order(version)))
        task.add_done_callback(lambda _: self.after())
        self.running = Running(version, time.monotonic(), task)

    async def _end(self, running: Running) -> None:
        seconds = time.monotonic() - running.began
        if running.task.cancelled():  # not by us: `close` leaves nothing that runs
            await self._interrupted(running.version, "it was cancelled", seconds)
            return
        try:
            fitted = running.task.result()
        except Interrupted as error:
            await self._interrupted(running.version, str(error), seconds)
            return
        if fitted.model is None:
            await self._failed(running.version, fitted.reason or "the fit gave no model", seconds)
        else:
            await self._ready(running.version, fitted.model, seconds)

    async def _ready(self, version: Version, model: Model, seconds: float) -> None:
        async def write(work: Work) -> None:
            if version.activate:
                await store.activating(work)  # before the audit's own lock, as whoever activates
            ours = await store.finish(work, version.id, model, now=self.clock(), seconds=seconds)
            if ours:
                await self._note(work, "fitted", version)
            # Of two that were to be activated the one asked for last stays, whichever ends last.
            active = await store.active(work)
            if ours and version.activate and (active is None or active.id < version.id):
                await self.models.activated(work, version.id, FITTER)

        await self.database.retrying(write)
        metrics.REFITS_READY.inc()
        metrics.REFIT_SECONDS.observe(seconds)
        log.info("a fit is ready", model=version.id, customers=model.customers, seconds=round(seconds, 3))

    async def _interrupted(self, version: Version, how: str, seconds: float) -> None:
        metrics.REFITS_INTERRUPTED.inc()
        if version.attempts >= TRIES:
            await self._failed(version, f"it was interrupted {TRIES} times, the last time because {how}", seconds)
            return
        log.warning("a fit was interrupted and begins again", model=version.id, why=how)
        await self.database.retrying(lambda work: store.release(work, version.id, forgiven=False))

    async def _failed(self, version: Version, reason: str, seconds: float) -> None:
        async def write(work: Work) -> None:
            await store.fail(work, version.id, reason, now=self.clock(), seconds=seconds)
            await self._note(work, "failed", version)

        await self.database.retrying(write)
        metrics.REFITS_FAILED.inc()
        log.warning("a fit failed", model=version.id, reason=reason)

    async def _note(self, work: Work, action: str, before: Version) -> None:
        after = await store.get(work, before.id)
        if after is not None:
            await self.models.note(work, FITTER, action, before, after)

    def _order(self, version: Version) -> FitOrder:
        return FitOrder(
            database_url=self.settings.url.get_secret_value(),
            db_schema=self.settings.db_schema,
            as_of=version.as_of,
            zone=str(self.terms.zone),
            minimum=self.terms.minimum,
        )

    def _until(self) -> datetime:
        return self.clock() + self.lease


async def _carried_out(command: Sequence[str], order: FitOrder) -> Fitted:
    """Run the fitting process to its end; end it where we are cancelled. Raises Interrupted."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, cwd=ROOT, env=os.environ | SINGLE_THREADED
        )
    except OSError as error:
        raise Interrupted(f"the fitting process did not start: {error}") from error
    try:
        answer, _ = await process.communicate(msgspec.json.encode(order))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Interrupted(f"the fitting process ended with code {process.returncode}")
    try:
        return msgspec.json.decode(answer, type=Fitted)
    except msgspec.DecodeError as error:
        raise Interrupted(f"the fitting process answered what is no model: {error}") from error
