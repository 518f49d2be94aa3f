"""The state folder: everything that one local stack keeps, in one place, for its owner's eyes only.

.temas/
  temas-local-stack       says that the folder is ours, so that `reset` never deletes another's
  keys.json  local.env    generated keys and passwords; what a client needs, as KEY=value
  secret_key              the secret key by itself, for Prometheus
  postgres/  kafka/       their data
  run/                    <name>.pid of every process, the supervisor's lock and its report
  log/                    <name>.log of every process
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import Refused

OWNER_ONLY_FOLDER = 0o700
OWNER_ONLY_FILE = 0o600
LOG_LIMIT = 10 * 1024 * 1024
"""Bytes after which a log is moved aside: of each process there are at most two such files."""


@dataclass(frozen=True)
class Home:
    """Names every path of the state folder `path` (absolute), and looks after the folder as a whole."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Home:
        return cls(path.expanduser().resolve())

    @property
    def marker(self) -> Path:
        return self.path / "temas-local-stack"

    @property
    def keys(self) -> Path:
        return self.path / "keys.json"

    @property
    def environment(self) -> Path:
        return self.path / "local.env"

    @property
    def secret_key(self) -> Path:
        return self.path / "secret_key"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def kafka(self) -> Path:
        return self.path / "kafka"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def report(self) -> Path:
        return self.run / "report.json"

    def pid_file(self, name: str) -> Path:
        return self.run / f"{name}.pid"

    def log_file(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def claim(self) -> None:
        """Make the folder, or check that it is ours. Raises Refused where it holds somebody else's files."""
        if self.path.exists() and not self.marker.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise Refused(
                f"{self.path} is not a state folder of Temas: set TEMAS_HOME to another folder, or move it away."
            )
        for folder in (self.path, self.run, self.logs):
            folder.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        self.marker.touch(mode=OWNER_ONLY_FILE)

    def check_ours(self) -> None:
        """Raise Refused where the folder is not ours to delete."""
        if not self.marker.exists():
            raise Refused(f"{self.path} is not a state folder of Temas, so it stays: delete it by hand if you mean it.")

    def delete(self) -> None:
        """Remove the folder and all that is in it. Raises Refused where it is not ours."""
        self.check_ours()
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self.marker:
                entry.unlink()
        self.marker.unlink()  # last: a deletion that was interrupted can be taken up again
        self.path.rmdir()

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """Hold the folder as its one supervisor; the system lets go when the process ends, however it ends.

        Raises Refused where another holds it.
        """
        with self._lock_file() as lock:
            # `is_supervised` of another process takes the lock for an instant: that is no reason to give up.
            until = time.monotonic() + 1
            while not _locked(lock):
                if time.monotonic() > until:
                    raise Refused(f"{self.path} has a supervisor already: type `make status` to see it.")
                time.sleep(0.05)
            yield

    def is_supervised(self) -> bool:
        """Whether a supervisor lives for this folder."""
        if not self.run.is_dir():
            return False
        with self._lock_file() as lock:
            return not _locked(lock)

    @contextmanager
    def _lock_file(self) -> Iterator[int]:
        lock = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT, OWNER_ONLY_FILE)
        try:
            yield lock
        finally:
            os.close(lock)

    def open_log(self, name: str) -> int:
        """A descriptor to append to the log of `name`; a log that has grown large is moved aside first."""
        log = self.log_file(name)
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(earlier(log))
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_ONLY_FILE)


def earlier(log: Path) -> Path:
    """Where what stood in `log` before is moved."""
    return log.with_suffix(".log.1")


def write_private(path: Path, text: str) -> None:
    """Put `text` at `path`, whole or not at all, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY_FILE)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink()
        raise


def _locked(descriptor: int) -> bool:
    """Whether the lock on the open file could be taken; closing the file lets go of it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
