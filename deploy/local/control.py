"""Starting, following and ending a stack's supervisor from another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from deploy.local import scratch
from deploy.local.errors import Refused
from deploy.local.home import Home
from deploy.local.processes import MARK, end, left_behind, started_for
from deploy.local.program import READY_WITHIN
from deploy.local.report import Report, read
from deploy.local.settings import ROOT, Settings

GLANCE = 0.1
"""Seconds between two looks at the supervisor's report."""

STOPS_WITHIN = 60.0
"""Seconds: the services' drain, then Kafka's and PostgreSQL's own time-outs, and some more."""

SUPERVISOR = "supervisor"


def launch(home: Home, settings: Settings) -> subprocess.Popen[bytes] | None:
    """Start the supervisor of `home`; None where there is one, which is given the time to end if it is about to.

    It has a session of its own: it lives on when the terminal is closed.
    """
    while home.is_supervised():
        report = read(home)
        if report is None or report.phase in ("starting", "up"):
            return None
        time.sleep(GLANCE)
    told = {"TEMAS_HOME": str(home.path), "TEMAS_CACHE": str(settings.cache.expanduser().resolve())}
    output = home.open_log(SUPERVISOR)
    try:
        return subprocess.Popen(
            (sys.executable, "-m", "deploy.local.daemon"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, **told, MARK: str(home.pid_file(SUPERVISOR))},
            start_new_session=True,
        )
    finally:
        os.close(output)


def follow(home: Home, launched: subprocess.Popen[bytes] | None) -> Iterator[Report]:
    """The reports of the one who supervises `home`, until all is up. Raises Refused where that fails.

    That is `launched`, or somebody else's: of two that are started at the same time, one ends.
    """
    until = time.monotonic() + READY_WITHIN
    while True:
        ended = launched is None or launched.poll() is not None
        other = started_for(home.pid_file(SUPERVISOR))
        report = read(home)  # after the looks at who lives: the last word of one who has ended is in it
        if report and report.supervisor in (launched and launched.pid, other and other.pid):
            yield report
            if report.failure is not None:
                raise Refused(report.failure)
            if report.is_up:
                return
            if report.phase == "up" and time.monotonic() > until:
                unready = ", ".join(report.unready)
                raise Refused(f"Not ready after {READY_WITHIN:.0f} s: {unready}; type make logs to see why.")
        if ended and other is None:
            raise Refused(f"The supervisor has ended: see {home.log_file(SUPERVISOR)}.")
        time.sleep(GLANCE)


def halt(home: Home) -> bool:
    """End everything of `home`, also what a supervisor that was killed left behind. Whether there was anything."""
    found = left_behind(home)
    end(found.get(SUPERVISOR, []), signal.SIGTERM, STOPS_WITHIN)
    clear(home)
    return bool(found)


def clear(home: Home) -> None:
    """End what a supervisor left behind that was killed, services before servers, and remove what they needed."""
    orphans = left_behind(home)
    end(orphans.pop(SUPERVISOR, []), signal.SIGKILL)
    servers = {name: orphans.pop(name, []) for name in ("kafka", "postgres")}
    end([process for group in orphans.values() for process in group], signal.SIGTERM)
    end(servers["kafka"], signal.SIGTERM)
    end(servers["postgres"], signal.SIGINT)
    for pid_file in home.run.glob("*.pid"):
        if pid_file.stem != SUPERVISOR or started_for(pid_file) is None:
            pid_file.unlink()
    scratch.remove(home)
