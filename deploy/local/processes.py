"""Processes: started with a mark, so that they are known again whoever asks, whenever.

Each process of a stack carries `TEMAS_PID_FILE=<the path of its own pid file>` in its environment, which its own
children inherit. An id in a pid file means nothing by itself: the system gives it to somebody else once its process has
ended. A process is ours where its mark says so, and only then is it ever sent a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from deploy.local.errors import Refused
from deploy.local.home import Home, write_private
from deploy.local.settings import ROOT

MARK = "TEMAS_PID_FILE"

GLANCE = 0.02
"""Seconds between two looks at processes that are ending."""


@dataclass(frozen=True)
class Command:
    """What to run, and how to end it: `stop_with`, then after `patience` seconds SIGKILL.

    `environment` is all that it is told, ours unless something else is said. `name` names the pid file and the log.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    stop_with: signal.Signals = signal.SIGTERM
    patience: float = 10.0


class Child:
    """One running process of ours."""

    def __init__(self, command: Command, home: Home, process: asyncio.subprocess.Process, log_starts_at: int) -> None:
        self.command = command
        self._home = home
        self._process = process
        self._log_starts_at = log_starts_at

    @classmethod
    async def start(cls, command: Command, home: Home) -> Child:
        """Run `command` in a session of its own, its output in its log. Raises Refused where it can't be run."""
        log = home.open_log(command.name)
        log_starts_at = os.fstat(log).st_size
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**command.environment, MARK: str(home.pid_file(command.name))},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Refused(f"{command.argv[0]} is not there: type `rm -rf .venv` and then make up.") from error
        finally:
            os.close(log)
        child = cls(command, home, process, log_starts_at)
        try:
            write_private(home.pid_file(command.name), f"{process.pid}\n")
        except OSError:
            await child.stop()
            raise
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_paused(self) -> bool:
        """Whether somebody has stopped it by a signal, and means to let it go on."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        return False

    async def wait(self) -> int:
        """The exit code, once it has ended; negative where a signal ended it."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End it and whatever it left behind, gently first."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                self._process.send_signal(self.command.stop_with)
                self._process.send_signal(signal.SIGCONT)  # one that was paused would not hear the first
                await asyncio.wait_for(self._process.wait(), self.command.patience)
        pid_file = self._home.pid_file(self.command.name)
        for process in marked(pid_file):
            kill(process)
        await self._process.wait()
        pid_file.unlink(missing_ok=True)

    def said(self) -> str:
        """What it wrote since it started, at most the last 64 KB."""
        with self._home.log_file(self.command.name).open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            start = self._log_starts_at if self._log_starts_at <= end else 0  # it was cut meanwhile
            log.seek(max(start, end - 65_536))
            return log.read().decode(errors="replace")


async def run_once(command: Command, home: Home) -> None:
    """Run `command` to its end. Raises Refused, with what it complained of, where it fails."""
    child = await Child.start(command, home)
    try:
        code = await child.wait()
    finally:
        await child.stop()
    if code != 0:
        why = complaint(child.said(), code)
        raise Refused(f"{command.name} could not be made ready ({why}): see {home.log_file(command.name)}.")


def complaint(output: str, code: int) -> str:
    """Why a process ended: the signal that ended it, else the line of its output that says most about it."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    lines = [line.strip() for line in _spoken(output) if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("rror", "ERROR", "FATAL", "xception"))]
    said = (telling or lines)[-1:]
    return said[0][:300].rstrip(".") if said else f"it ended with code {code} and said nothing"


def _spoken(output: str) -> Iterator[str]:
    """The lines of `output`; of a structured log's line what it says, a traceback included."""
    for line in output.splitlines():
        try:
            entry = msgspec.json.decode(line, type=LogEntry)
        except msgspec.DecodeError:
            yield line
        else:
            yield from f"{entry.event}\n{entry.exception}".splitlines()


class LogEntry(msgspec.Struct):
    event: str
    exception: str = ""


def marked(pid_file: Path) -> Iterator[psutil.Process]:
    """The living processes that carry the mark of `pid_file`: the one started for it and its descendants."""
    return (process for process, mark in _marks() if mark == str(pid_file))


def started_for(pid_file: Path) -> psutil.Process | None:
    """The living process whose id `pid_file` holds, if it is indeed the one that was started for it."""
    try:
        process = psutil.Process(int(pid_file.read_text()))
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    return process if _mark(process) == str(pid_file) else None


def left_behind(home: Home) -> dict[str, list[psutil.Process]]:
    """Every living process of this state folder, by name; without the one that asks."""
    found: dict[str, list[psutil.Process]] = {}
    for process, mark in _marks():
        pid_file = Path(mark)
        if pid_file.parent == home.run and process.pid != os.getpid():
            found.setdefault(pid_file.stem, []).append(process)
    return found


def end(processes: Collection[psutil.Process], stop_with: signal.Signals, patience: float = 10.0) -> None:
    """End `processes` of ours: those on top with `stop_with`, and after `patience` seconds all with SIGKILL."""
    ids = {process.pid for process in processes}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() not in ids:  # the others end with their parent, who knows best how
                process.send_signal(stop_with)
                process.resume()
    for process in _lasting(processes, patience):
        kill(process)
    _lasting(processes, patience)


def _lasting(processes: Collection[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those of `processes` that still live after `seconds`; returns at once when none does."""
    until = time.monotonic() + seconds
    while (living := [process for process in processes if _lives(process)]) and time.monotonic() < until:
        time.sleep(GLANCE)
    return living


def _lives(process: psutil.Process) -> bool:
    """Whether it runs. One that has ended and waits for its parent to ask why does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def _marks() -> Iterator[tuple[psutil.Process, str]]:
    for process in psutil.process_iter():
        if mark := _mark(process):
            yield process, mark


def _mark(process: psutil.Process) -> str | None:
    """The process's mark; None for another's processes, for those that have ended, and for those without one."""
    try:
        return process.environ().get(MARK) if _lives(process) else None
    except psutil.Error:
        return None
