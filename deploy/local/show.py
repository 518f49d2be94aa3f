"""What the person at the terminal sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

import psutil
from rich.console import Console
from rich.status import Status
from rich.table import Table

from deploy.local import kafka, postgres, services
from deploy.local.control import SUPERVISOR
from deploy.local.errors import NotReady, Refused
from deploy.local.home import Home
from deploy.local.keys import ADMIN, keys_of
from deploy.local.processes import started_for
from deploy.local.report import Kept, Report, read
from deploy.local.settings import SERVICES

UP = "up"


class Climb:
    """Shows a stack on its way up: a line for each step that is done, and what is being done now."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status
        self._shown: set[str] = set()

    def show(self, report: Report) -> None:
        for step in report.steps:
            if step.state == "done" and step.title not in self._shown:
                self._shown.add(step.title)
                self._console.print(f"[green]✓[/] {step.title} [dim]{step.seconds:.1f} s[/]", highlight=False)
        doing = ", ".join(step.title for step in report.steps if step.state == "running")
        self._status.update(doing or report.doing or "waiting for the supervisor")


@dataclass(frozen=True)
class Row:
    """One process as it is now. `state` is "up" only where it serves; `why` says why it does not."""

    name: str
    state: str = "down"
    why: str = ""
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    uptime: timedelta | None = None


def rows(home: Home) -> list[Row]:
    """The supervisor and every program it keeps, or kept last."""
    report = read(home)
    kept = {SUPERVISOR: Kept(port=None)} | (report.programs if report else {})
    return [_row(home, name, each) for name, each in kept.items()]


def _row(home: Home, name: str, kept: Kept) -> Row:
    process = started_for(home.pid_file(name))
    row = Row(name, port=kept.port, restarts=kept.restarts)
    try:
        if process is None:
            return row
        state, why = _state(home, process, name, kept.port)
        uptime = timedelta(seconds=int(time.time() - process.create_time()))
        return replace(row, state=state, why=why, pid=process.pid, uptime=uptime)
    except psutil.NoSuchProcess:  # it ended while we looked
        return row


def _state(home: Home, process: psutil.Process, name: str, port: int | None) -> tuple[str, str]:
    if process.status() == psutil.STATUS_STOPPED:
        return "paused", "by a signal; SIGCONT lets it go on"
    if port is None:
        return UP, ""
    try:
        asyncio.run(_ready(home, name, port))
    except (NotReady, Refused) as reason:
        return "not ready", str(reason)
    return UP, ""


async def _ready(home: Home, name: str, port: int) -> None:
    """Return where the program `name` does its work; asked here and now, since what was reported may be of yesterday.

    Raises NotReady and Refused where it does not.
    """
    if name == "kafka":
        await kafka.ready(port)
    elif name == "postgres":
        await postgres.ready(port, keys_of(home).passwords[ADMIN])
    else:
        await services.ready(port, home.secret_key.read_text())


def table(lines: Iterable[Row]) -> Table:
    """`make status`."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "state", "pid", "port", "restarts", "uptime"):
        shown.add_column(heading, justify="left" if heading in ("name", "state") else "right")
    for row in lines:
        colour = "green" if row.state == UP else "red"
        numbers = ("" if each is None else str(each) for each in (row.pid, row.port, row.restarts, row.uptime))
        shown.add_row(row.name, f"[{colour}]{row.state}[/]", *numbers)
    return shown


def addresses(home: Home) -> Table:
    """Where everything is, as `local.env` says."""
    told = dict(line.split("=", 1) for line in home.environment.read_text().splitlines() if not line.startswith("#"))
    shown = Table(box=None, pad_edge=False, show_header=False)
    for service in SERVICES:
        shown.add_row(service, told[f"TEMAS_{service.upper()}_URL"] + "/docs (TEMAS_SECRET_KEY as user name)")
    shown.add_row("Kafka", told["TEMAS_KAFKA_BOOTSTRAP"])
    shown.add_row("PostgreSQL", told["TEMAS_DATABASE_URL"].rpartition("@")[2])
    shown.add_row("keys", str(home.environment))
    return shown
