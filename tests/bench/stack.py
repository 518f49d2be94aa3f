"""A stack of the bench's own: another state folder, other ports, nothing in it but what the bench puts there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("ingest", "profile", "scoring", "personalize")
PROCESSES = (*SERVICES, "kafka", "postgres")
PREFIX = "bench."
"""Of the topics that the bench's own ingest writes: nobody reads those, so ingest is measured by itself."""


class BenchFailed(Exception):
    """The bench can't go on; the text says why."""


@dataclass(frozen=True)
class Stack:
    """A stack that may or may not run. `offset` is added to all its ports; `root` is the checkout that it runs."""

    home: Path
    offset: int
    root: Path = ROOT
    python: str = sys.executable

    def environment(self, **more: str) -> dict[str, str]:
        """For programs of this stack: ours without what points at another one."""
        ours = {
            name: value for name, value in os.environ.items() if not name.startswith("TEMAS_") or name == "TEMAS_CACHE"
        }
        return {**ours, "TEMAS_HOME": str(self.home), "TEMAS_PORT_OFFSET": str(self.offset), **more}

    @property
    def told(self) -> Mapping[str, str]:
        """What the stack tells its clients: addresses and keys."""
        lines = (self.home / "local.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def url(self, service: str) -> str:
        return self.told[f"TEMAS_{service.upper()}_URL"]

    def up(self) -> float:
        """Start it. Gives the seconds until everything serves."""
        return self._run("up")

    def down(self) -> float:
        """End it. Gives the seconds that took."""
        return self._run("down")

    def _run(self, command: str) -> float:
        began = time.perf_counter()
        done = subprocess.run(
            [self.python, "-m", "deploy.local", command],
            cwd=self.root, env=self.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchFailed(f"`deploy.local {command}` failed: {(done.stdout + done.stderr).strip()[-500:]}")
        return time.perf_counter() - began

    def resident(self, name: str) -> int:
        """The bytes that a process of the stack, with its children, holds in memory."""
        return resident(self.pid(name))

    def busy(self) -> Mapping[str, float]:
        """Seconds of a core that each process of the stack, with its children, has used so far."""
        return {name: busy(self.pid(name)) for name in PROCESSES}

    def pid(self, name: str) -> int:
        return int((self.home / "run" / f"{name}.pid").read_text())


@dataclass(frozen=True)
class Server:
    """A server that the bench has started beside the stack."""

    url: str
    pid: int


@contextmanager
def own_stack(root: Path = ROOT, python: str = sys.executable) -> Iterator[Stack]:
    """A stack's place, not started; at the end it is stopped and its folder deleted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends the bench ends its stacks, too
    stack = Stack(Path(tempfile.mkdtemp(prefix="temas-bench-")), free_offset(), root, python)
    try:
        yield stack
    finally:
        try:
            stack.down()
        finally:
            shutil.rmtree(stack.home, ignore_errors=True)


def free_offset() -> int:
    """A port offset at which nothing listens."""
    for offset in range(3000, 20_000, 100):
        if not any(_listens(port + offset) for port in (8001, 8002, 8003, 8004, 8005, 8006, 25432, 29092, 29093)):
            return offset
    raise BenchFailed("every port that was tried is in use")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def ingest_alone(stack: Stack) -> Iterator[Server]:
    """Another ingest on the same Kafka, with topics of its own that nobody reads."""
    port = 8005 + stack.offset
    environment = stack.environment(**stack.told, TEMAS_KAFKA_PREFIX=PREFIX, TEMAS_INGEST_PORT=str(port))
    module = [stack.python, "-m", "services.ingest"]
    subprocess.run([*module, "migrate"], cwd=stack.root, env=environment, check=True, capture_output=True)
    with serving([*module, "serve"], port, environment, stack.root) as server:
        yield server


@contextmanager
def empty_handler(stack: Stack) -> Iterator[Server]:
    """A server that does nothing."""
    port = 8006 + stack.offset
    with serving([sys.executable, "-m", "tests.bench.empty", str(port)], port, stack.environment()) as server:
        yield server


@contextmanager
def serving(command: list[str], port: int, environment: Mapping[str, str], folder: Path = ROOT) -> Iterator[Server]:
    """Run `command` in `folder` while the block lasts, once it listens on `port`."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 30
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > until:
                raise BenchFailed(f"{' '.join(command[1:])} does not listen on port {port}")
            time.sleep(0.05)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(15)


def resident(pid: int) -> int:
    """The bytes that a process and its children hold in memory; what they share counts once, where the system tells."""
    process = psutil.Process(pid)
    return sum(_resident(each) for each in (process, *process.children(recursive=True)))


def _resident(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return getattr(full, "pss", full.rss)


def busy(pid: int) -> float:
    """Seconds of a core that a process and its children have used so far."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)
