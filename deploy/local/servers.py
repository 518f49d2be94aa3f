"""PostgreSQL and Kafka alone, started and broken by hand: what tests need.

Nobody looks after these servers. What a test kills stays dead until the test starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.local import kafka, postgres, scratch
from deploy.local.errors import Refused
from deploy.local.home import Home
from deploy.local.jars import kafka_jars
from deploy.local.java import java
from deploy.local.keys import ADMIN, keys_of, url
from deploy.local.processes import Child
from deploy.local.program import Program, until_ready
from deploy.local.settings import LOOPBACK

TRIES = 10
PAUSE = 0.5
"""Seconds, and tries, until what a killed PostgreSQL left behind has noticed and ended too."""


@dataclass(frozen=True)
class Ports:
    postgres: int
    kafka: int
    controller: int


class Server:
    """One server, at `address` (host:port)."""

    def __init__(self, program: Program, home: Home) -> None:
        self.address = f"{LOOPBACK}:{program.port}"
        self._program = program
        self._home = home
        self._child: Child | None = None

    async def start(self) -> None:
        """Start it, and return once it serves. Raises Refused where it does not."""
        for _ in range(TRIES):
            if self._program.prepare:
                await self._program.prepare()
            self._child = await Child.start(self._program.command, self._home)
            if await self._serves(self._child):
                return
            await self.stop()
            await asyncio.sleep(PAUSE)
        raise Refused(f"{self._program.name} does not start: see {self._home.log_file(self._program.name)}.")

    async def stop(self) -> None:
        """End it as an operator would."""
        if self._child:
            await self._child.stop()
            self._child = None

    async def kill(self) -> None:
        """End it as a power cut would."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        await self.stop()

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        """Its process first, then those that this one has started."""
        if self._child is None:
            return []
        main = psutil.Process(self._child.pid)
        return [main, *main.children(recursive=True)]

    async def _serves(self, child: Child) -> bool:
        """Wait until it serves, or has ended."""
        ended, served = asyncio.create_task(child.wait()), asyncio.create_task(until_ready(self._program))
        await asyncio.wait({ended, served}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if served.done():
            served.result()
            return True
        served.cancel()
        return False


@dataclass(frozen=True)
class LocalServers:
    """A PostgreSQL and a Kafka. `url` is the administrator's, of the database that is always there."""

    postgres: Server
    kafka: Server
    url: str


@asynccontextmanager
async def local_servers(home: Home, ports: Ports, cache: Path, **options: str) -> AsyncIterator[LocalServers]:
    """Both servers, up, on `ports` and with their state in `home`; ended when the block ends, however it does.

    `options` are PostgreSQL's own, such as `fsync="off"`.
    """
    home.claim()
    password = keys_of(home).passwords[ADMIN]
    jars = kafka_jars(cache, progress=lambda _: None)
    servers = LocalServers(
        Server(postgres.program(home, ports.postgres, password, **options), home),
        Server(kafka.program(home, ports.kafka, ports.controller, java(), jars), home),
        url(ports.postgres, password, database="postgres"),
    )
    try:
        await asyncio.gather(servers.postgres.start(), servers.kafka.start())
        yield servers
    finally:
        await asyncio.gather(servers.postgres.stop(), servers.kafka.stop())
        scratch.remove(home)
