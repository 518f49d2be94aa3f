"""The supervisor: starts programs in order of readiness, keeps them running, and ends them in the reverse order.

A library was looked for first: circus and honcho start processes and restart them, but neither waits until one serves
before it starts the next, and that is most of what is needed here.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from deploy.local.errors import NotReady, Refused
from deploy.local.home import Home
from deploy.local.processes import Child, complaint
from deploy.local.program import Program, Stage, Task, until_ready
from deploy.local.report import Board, Kept

log = logging.getLogger(__name__)

TRIES = 3
"""How often a program may end before it has served at all. After that the fault is in it, not in its surroundings."""


@dataclass(frozen=True)
class Pauses:
    """Seconds before a program is started again: doubling, and from the start again once it has lasted."""

    first: float = 0.5
    longest: float = 15.0
    forgiven_after: float = 30.0
    # Seconds between two questions whether a program does its work.
    ask_every: float = 10.0
    # Seconds without any after which a server, the disk of whose data has room, is started again.
    idle: float = 60.0

    def next(self, last: float | None, lasted: float) -> float:
        if last is None or lasted > self.forgiven_after:
            return self.first
        return min(2 * last, self.longest)


class Keeper:
    """Keeps one program running from `start` to `stop`."""

    def __init__(self, program: Program, home: Home, board: Board, pauses: Pauses) -> None:
        self.program = program
        self._home = home
        self._board = board
        self._pauses = pauses
        self._kept = Kept(program.port)
        self._served = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._show()

    async def start(self) -> None:
        """Begin, and return once the program serves. Raises what makes that impossible."""
        self._task = asyncio.create_task(self._keep(), name=self.program.name)
        served = asyncio.create_task(self._served.wait())
        try:
            await asyncio.wait({self._task, served}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            served.cancel()
        if self._task.done():
            self._task.result()

    async def kept(self) -> None:
        """Return never; raises what makes it impossible to keep the program running."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """End the program, and do not start it again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _keep(self) -> None:
        pause = None
        while True:
            began = time.monotonic()
            try:
                reason = await self._run()
            except (Refused, OSError) as error:
                reason = str(error)
                if not self._served.is_set():
                    raise
            self._show(pid=None, ready=False, restarts=self._kept.restarts + 1)
            self._give_up_where_hopeless(reason)
            pause = self._pauses.next(pause, time.monotonic() - began)
            log.warning("%s ended (%s): started again in %.1f s", self.program.name, reason, pause)
            await asyncio.sleep(pause)

    async def _run(self) -> str:
        """One life of the program. Why it ended."""
        if self.program.prepare:
            await self.program.prepare()
        child = await Child.start(self.program.command, self._home)
        self._show(pid=child.pid, ready=False)
        log.info("%s started, process %d", self.program.name, child.pid)
        ended, asked = asyncio.create_task(child.wait()), asyncio.create_task(self._ask(child))
        try:
            await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
            return complaint(child.said(), ended.result()) if ended.done() else asked.result()
        finally:  # also when cancelled: this is how `stop` ends the program
            asked.cancel()
            await child.stop()
            ended.cancel()

    async def _ask(self, child: Child) -> str:
        """Ask whether the program does its work, and show it, for as long as it lives. Why it can't go on as it is."""
        await until_ready(self.program)
        self._served.set()
        self._show(ready=True)
        log.info("%s is ready", self.program.name)
        worked_at = time.monotonic()
        while True:
            await asyncio.sleep(self._pauses.ask_every)
            reason = await _reason(self.program)
            if (reason is None) != self._kept.ready:
                self._show(ready=reason is None)
                log.warning("%s %s", self.program.name, reason or "does its work again")
            # A server whose disk is full can do nothing about it, and a new one could not either.
            excused = self.program.data is None or child.is_paused or not self.program.has_room
            if reason is None or excused:
                worked_at = time.monotonic()
            elif (idle := time.monotonic() - worked_at) > self._pauses.idle:
                return f"it has done no work for {idle:.0f} s: {reason}"

    def _give_up_where_hopeless(self, reason: str) -> None:
        if not self._served.is_set() and self._kept.restarts >= TRIES:
            raise Refused(
                f"{self.program.name} ended {TRIES} times before it was ready ({reason}): "
                f"see {self._home.log_file(self.program.name)}."
            )

    def _show(self, **changes: object) -> None:
        self._kept = msgspec.structs.replace(self._kept, **changes)
        self._board.keeps(self.program.name, self._kept)


class Supervisor:
    """Brings `stages` up one after the other, keeps them up, and takes them down in the reverse order."""

    def __init__(self, home: Home, stages: Sequence[Stage], board: Board, pauses: Pauses | None = None) -> None:
        everything = [each for stage in stages for each in stage]
        board.plan(each.title for each in everything)
        self._board = board
        self._stages = stages
        self._keepers = {
            each.name: Keeper(each, home, board, pauses or Pauses()) for each in everything if isinstance(each, Program)
        }

    async def run(self) -> None:
        """Return when SIGTERM or SIGINT has come and everything has ended.

        Raises what makes it impossible to go on, once everything has ended. Refused is for the person at the terminal.
        """
        asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, asked.set)
        standing, leave = asyncio.create_task(self._stand()), asyncio.create_task(asked.wait())
        await asyncio.wait({standing, leave}, return_when=asyncio.FIRST_COMPLETED)
        self._board.phase("stopping")
        standing.cancel()
        leave.cancel()
        await asyncio.wait({standing})
        await self._fall()
        if not standing.cancelled():
            standing.result()

    async def _stand(self) -> None:
        """Bring everything up, then stay for as long as all can be kept running."""
        for stage in self._stages:
            await _together(self._reach(each) for each in stage)
        self._board.phase("up")
        log.info("everything is up")
        await _together(keeper.kept() for keeper in self._keepers.values())

    async def _reach(self, each: Program | Task) -> None:
        self._board.begin(each.title)
        if isinstance(each, Task):
            await each.run()
        else:
            await self._keepers[each.name].start()
        self._board.done(each.title)

    async def _fall(self) -> None:
        """End everything, the last stage first, the programs of a stage at the same time."""
        for stage in reversed(self._stages):
            await _together(self._keepers[each.name].stop() for each in stage if isinstance(each, Program))
        log.info("everything has ended")


async def _reason(program: Program) -> str | None:
    """Why `program` does not do its work; None where it does."""
    try:
        await program.ready()
    except (NotReady, Refused) as reason:
        return str(reason)
    return None


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of `work` at once; where one fails, cancel the others and raise its error."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except ExceptionGroup as several:
        raise several.exceptions[0] from several
