"""Real PostgreSQL, real Kafka and whole stacks for tests. `conftest.py` makes fixtures of them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import asyncpg
import psutil
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.checks import free_ports
from deploy.local.control import clear
from deploy.local.errors import Refused
from deploy.local.home import Home
from deploy.local.processes import started_for
from deploy.local.roles import grant
from deploy.local.servers import LocalServers, Ports, Server, local_servers
from deploy.local.settings import PORTS, ROOT, SERVICES, Settings
from shared import topics
from shared.db import migrate
from shared.settings import DatabaseSettings, KafkaSettings
from shared.topics import Topic

PASSWORD = "a role of a test has no secrets"

TEMPLATE = "template_temas"

OPTIONS = {"fsync": "off", "max_connections": "300", "shared_buffers": "128MB"}
"""Nothing in a test survives a power cut; tests open many connections, and hold little."""

PASSABLE = 0o711
"""Run as root, PostgreSQL may have to be nobody: nobody must get through to its data, which are its own."""

BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports that the system never gives to outgoing connections: a server that is down finds its own free again."""


# --- two servers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Installation:
    """A test's own database and own topics, on servers that others use too."""

    kafka: KafkaSettings
    name: str
    _server: str
    _failures: Mapping[str, Exception]

    def database(self, service: str) -> DatabaseSettings:
        """The migrated schema of `service`, by its own role."""
        if service in self._failures:
            raise RuntimeError(f"the migrations of {service} fail") from self._failures[service]
        return _database(self._server, self.name, service)

    async def create(self, *wanted: Topic) -> None:
        """Create topics, all of Temas's where none is named."""
        async with _admin(self.kafka) as admin:
            await topics.create(admin, wanted or topics.TOPICS, prefix=self.kafka.prefix, replication=1)


@dataclass
class Servers:
    """One PostgreSQL and one Kafka, and as many installations on them as wanted."""

    local: LocalServers
    _failures: dict[str, Exception] = field(default_factory=dict)
    _migrated: bool = False

    @property
    def postgres(self) -> Server:
        return self.local.postgres

    @property
    def kafka(self) -> Server:
        return self.local.kafka

    @asynccontextmanager
    async def installation(self) -> AsyncIterator[Installation]:
        """A fresh database with every service's schema, and a fresh prefix for topics; both gone after the block."""
        await self._migrate()
        name = f"test_{uuid.uuid4().hex[:12]}"
        await self._run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        await self._run(f"GRANT CREATE ON DATABASE {name} TO {', '.join(SERVICES)}")  # a copy has no grants
        kafka = KafkaSettings(bootstrap=self.kafka.address, prefix=f"{name}.")
        try:
            yield Installation(kafka, name, self.local.url, self._failures)
        finally:
            await self._run(f"DROP DATABASE {name} WITH (FORCE)")
            await _delete_topics(kafka)

    async def _migrate(self) -> None:
        """Once: run every service's migrations in the database that the others are copies of."""
        if self._migrated:
            return
        await grant(self.local.url, TEMPLATE, dict.fromkeys(SERVICES, PASSWORD))
        for service in SERVICES:
            scripts = ROOT / "services" / service / "migrations"
            try:
                if scripts.exists():
                    await asyncio.to_thread(migrate, _database(self.local.url, TEMPLATE, service), scripts)
            except Exception as error:
                self._failures[service] = error
        self._migrated = True

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.local.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def started_servers(**options: str) -> AsyncIterator[Servers]:
    """Both servers on free ports with their state in a temporary folder; nothing of them is left after the block.

    `options`: PostgreSQL's own.
    """
    ports = Ports(*free(3))
    with temporary_home() as home:
        async with local_servers(home, ports, Settings().cache, **{**OPTIONS, **options}) as local:
            yield Servers(local)


def _database(server: str, database: str, role: str) -> DatabaseSettings:
    address = server.rpartition("@")[2].partition("/")[0]
    return DatabaseSettings(url=f"postgresql://{role}:{PASSWORD}@{address}/{database}", db_schema=role)


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _delete_topics(kafka: KafkaSettings) -> None:
    async with _admin(kafka) as admin:
        if mine := [name for name in await admin.list_topics() if name.startswith(kafka.prefix)]:
            await admin.delete_topics(mine)


# --- a whole stack ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stack:
    """A whole stack of its own, driven as a person drives it."""

    home: Home
    offset: int

    def make(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`python -m deploy.local` with `command`."""
        argv = (sys.executable, "-m", "deploy.local", *command)
        told = {"TEMAS_HOME": str(self.home.path), "TEMAS_PORT_OFFSET": str(self.offset)}
        return subprocess.run(argv, cwd=ROOT, env=os.environ | told, text=True, capture_output=True, check=check)

    @property
    def environment(self) -> dict[str, str]:
        """What `local.env` tells clients: addresses and keys."""
        lines = self.home.environment.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def url(self, service: str) -> str:
        return self.environment[f"TEMAS_{service.upper()}_URL"]

    def process(self, name: str) -> psutil.Process:
        """The process of `name` (`kafka`, `postgres`, `supervisor`, a service). Raises LookupError where it is down."""
        process = started_for(self.home.pid_file(name))
        if process is None:
            raise LookupError(f"{name} is down")
        return process

    def signal(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        self.process(name).send_signal(number)


@contextmanager
def started_stack() -> Iterator[Stack]:
    """A whole stack with its state in a temporary folder, on ports that are free; ended after the block."""
    with temporary_home() as home:
        stack = Stack(home, _free_offset())
        try:
            done = stack.make("up", check=False)
            assert done.returncode == 0, done.stderr or done.stdout
            yield stack
        finally:
            stack.make("down")


# --- folders and ports -----------------------------------------------------------------------------------------------


@contextmanager
def temporary_home() -> Iterator[Home]:
    """A state folder that is gone after the block, and with it whatever still runs there."""
    base = Path(tempfile.gettempdir()) / f"temas-tests-{os.getuid()}"
    base.mkdir(exist_ok=True)
    base.chmod(PASSABLE)
    _sweep(base)
    folder = base / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=PASSABLE)
    home = Home.at(folder / "home")
    try:
        yield home
    finally:
        _remove(home)


def _sweep(base: Path) -> None:
    """Remove what a test run left behind that was killed: its servers would run for ever."""
    for folder in base.iterdir():
        if not psutil.pid_exists(int(folder.name.partition("-")[0])):
            _remove(Home.at(folder / "home"))


def _remove(home: Home) -> None:
    clear(home)
    shutil.rmtree(home.path.parent, ignore_errors=True)


def free(count: int) -> Sequence[int]:
    """That many ports that nobody listens on, and that no other test will choose."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(BELOW_EPHEMERAL)
        if _all_free([port]) and hold(port):
            found.append(port)
    return found


def _free_offset() -> int:
    """An offset at which every port of a stack is free."""
    while True:
        offset = random.randrange(100, BELOW_EPHEMERAL.stop - max(PORTS.values()))
        ports = [port + offset for port in PORTS.values()]
        if _all_free(ports) and all(map(hold, ports)):
            return offset


def hold(port: int) -> bool:
    """Take `port` for this process, until it ends; False where a test has it, in whichever process.

    Between the look at a port and the server on it lie seconds, and tests run beside each other. A server that is down
    for a while keeps its own, too.
    """
    folder = Path(tempfile.gettempdir()) / f"temas-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = (folder / str(port)).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _HELD.append(file)
    return True


_HELD: list[IO[str]] = []
"""Files that are locked for as long as they are open."""


def _all_free(ports: Sequence[int]) -> bool:
    try:
        free_ports({str(port): port for port in ports})
    except Refused:
        return False
    return True
