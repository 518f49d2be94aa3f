"""What the supervisor tells about itself: a small file that `make up` follows and `make status` reads."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import Literal

import msgspec

from deploy.local.home import Home, write_private

Phase = Literal["starting", "up", "stopping", "failed"]


class Step(msgspec.Struct, frozen=True):
    """One thing that `make up` waits for."""

    title: str
    state: Literal["waiting", "running", "done"] = "waiting"
    seconds: float = 0.0


class Kept(msgspec.Struct, frozen=True):
    """A program that the supervisor keeps running. `ready`: it did its work when it was last asked."""

    port: int | None
    pid: int | None = None
    ready: bool = False
    restarts: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    # Whose report this is: an earlier supervisor's may still lie there.
    supervisor: int
    phase: Phase = "starting"
    # What is done before the first step, in a few words.
    doing: str = ""
    steps: tuple[Step, ...] = ()
    programs: dict[str, Kept] = {}
    # What the person at the terminal is told, where the phase is "failed".
    failure: str | None = None

    @property
    def unready(self) -> list[str]:
        """The programs that do not serve."""
        return [name for name, kept in self.programs.items() if not kept.ready]

    @property
    def is_up(self) -> bool:
        return self.phase == "up" and not self.unready


def read(home: Home) -> Report | None:
    """The folder's last report; None where there is none that can be read."""
    try:
        return msgspec.json.decode(home.report.read_bytes(), type=Report)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class Board:
    """The supervisor's report in the making: every change is written down at once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._report = Report(supervisor=os.getpid())
        self._steps: dict[str, Step] = {}
        self._began: dict[str, float] = {}

    def say(self, doing: str) -> None:
        self._write(doing=doing)

    def plan(self, titles: Iterable[str]) -> None:
        """Name the steps to come, in order."""
        self._steps = {title: Step(title) for title in titles}
        self._write()

    def begin(self, title: str) -> None:
        self._began[title] = time.monotonic()
        self._steps[title] = Step(title, "running")
        self._write()

    def done(self, title: str) -> None:
        self._steps[title] = Step(title, "done", time.monotonic() - self._began[title])
        self._write()

    def keeps(self, name: str, kept: Kept) -> None:
        self._write(programs=self._report.programs | {name: kept})

    def phase(self, phase: Phase) -> None:
        self._write(phase=phase)

    def failed(self, why: str) -> None:
        self._write(phase="failed", failure=why)

    def _write(self, **changes: object) -> None:
        self._report = msgspec.structs.replace(self._report, steps=tuple(self._steps.values()), **changes)
        with contextlib.suppress(OSError):  # a full disk must not end the one who looks after everything
            write_private(self._home.report, msgspec.json.encode(self._report).decode())
