"""Reading bodies: bounded in bytes, in time, and over all requests that are on their way in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Receive

from services.ingest.errors import Busy, TooLarge, TooSlow
from services.ingest.settings import Settings


class Gone(Exception):
    """The client hung up before its body was complete. Nobody is left to tell."""


class Bodies:
    """Reads all bodies of a process, and knows how many bytes of them are held."""

    def __init__(self, settings: Settings) -> None:
        self.limit = settings.body_limit
        self.room = settings.arriving_limit
        self.seconds = settings.body_seconds

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body. Raises TooLarge, TooSlow, Busy and Gone."""
        if int(headers.get(b"content-length", 0)) > self.limit:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self.seconds):
                while await self._more(body, receive):
                    pass
        except TimeoutError:
            raise TooSlow(f"the body did not arrive within {self.seconds:g} s: send it again") from None
        finally:
            self.room += len(body)
        return bytes(body)

    async def _more(self, body: bytearray, receive: Receive) -> bool:
        """Add the next piece to `body`; whether there are others to come."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        piece = message.get("body", b"")
        body += piece
        self.room -= len(piece)
        if len(body) > self.limit:
            raise self._too_large()
        if self.room < 0:
            raise Busy("too many requests are arriving at once: send this again in a moment")
        return bool(message.get("more_body"))

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a body may have {self.limit} bytes: send smaller batches")
