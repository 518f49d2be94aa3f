"""A network between a client and a server that can be cut one way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

Way = Literal["requests", "answers"]


class Proxy:
    """Passes on what comes, both ways. A way that is cut keeps what comes until it is mended, as TCP does.

    Connections stay open: nobody is told that anything is wrong.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.target = port
        self.port = 0
        self.open: dict[Way, asyncio.Event] = {"requests": asyncio.Event(), "answers": asyncio.Event()}
        for way in self.open.values():
            way.set()

    def cut(self, way: Way) -> None:
        self.open[way].clear()

    def mend(self) -> None:
        for way in self.open.values():
            way.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, self.host)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.mend()
            server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(self.host, self.target)
        except OSError:
            to_client.close()
            return
        await asyncio.gather(
            self._pass_on(client, to_server, self.open["requests"]),
            self._pass_on(server, to_client, self.open["answers"]),
        )

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: asyncio.Event) -> None:
        with suppress(OSError):
            while some := await source.read(65_536):
                await way.wait()
                sink.write(some)
                await sink.drain()
        sink.close()
