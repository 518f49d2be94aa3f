"""Opening a request: whose it is, and which calls are in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple, NoReturn

import msgspec

from services.ingest import metrics
from services.ingest.domain.bodies import KEY_BYTES, Parcel, Reader, write_key
from services.ingest.domain.encodings import PIECE, Unpacking, is_packed
from services.ingest.domain.origins import allowed
from services.ingest.domain.sources import Key, Source
from services.ingest.domain.steps import Steps
from services.ingest.errors import TooLarge, UnknownEncoding, WrongOrigin
from services.ingest.service.registry import Snapshot
from shared.auth import credential
from shared.errors import Forbidden, Invalid, TemasError, Unauthorized
from shared.events import CallType, Reason

MOST_DETAILS = 100
"""Bad fields that an answer names. The first ones tell what to do; all of them are in touchpoints.rejected."""


SMALL_BYTES = 128 * 1024
"""Of a body that is read, judged and answered at once, 2 ms with all that is in it: a batch of 100 has 85 KB. What is
larger has its turn among others like it (turns.py)."""


TINY_BYTES = 4 * 1024
"""Of a body that is read whole even for its key. Most requests of browsers have one call, and its key in it."""


class Sending(msgspec.Struct, frozen=True, gc=False):
    """One request as it came. `call`: the kind that its address names; None for a batch. `reader` finds its calls."""

    reader: Reader
    body: bytes
    call: CallType | None = None
    encoding: str = ""
    authorization: str = ""
    query_key: str | None = None
    origin: str | None = None
    user_agent: str = ""
    user_token: str = ""
    traceparent: str | None = None


class Opened(NamedTuple):
    """A request whose source is known."""

    source: Source
    parcel: Parcel


class Opening:
    """A request that is read as far as somebody asks, once a key that holds is known to have come with it."""

    __slots__ = ("known", "now", "sending", "settled", "unpacking")

    def __init__(self, sending: Sending, known: Snapshot, now: datetime, limit: int) -> None:
        """`settled`: the source, where the key is beside the body. Raises Unauthorized, Forbidden and WrongOrigin."""
        self.sending = sending
        self.known = known
        self.now = now
        key = _beside(sending, known)
        self.settled = None if key is None else _source(key, sending.origin, now)
        packed = is_packed(sending.body, sending.encoding)
        self.unpacking = Unpacking(sending.body, sending.encoding, limit) if packed else None

    def source(self) -> Source | None:
        """That of the key beside the body, else of a key in its first bytes; None where more has to be unpacked for it.

        Whose the request is in the end, the whole body tells (`opened`). Raises Unauthorized, Forbidden, WrongOrigin.
        """
        if self.settled is not None:
            return self.settled
        if self.unpacking is not None and not self._hides_its_key:
            self.unpacking.up_to(PIECE)
        key = self._first_key()
        if key is None and self._may_go_on:
            return None
        return _source(key, self.sending.origin, self.now)

    def seeking(self) -> Steps[Source]:
        """The same, from as much of the body as is unpacked for it at most."""
        while self._may_go_on and self.unpacking is not None and self.unpacking.more():
            yield
        return _source(self._first_key(), self.sending.origin, self.now)

    @property
    def _may_go_on(self) -> bool:
        unpacking = self.unpacking
        return unpacking is not None and not (self._hides_its_key or unpacking.ended or unpacking.size >= KEY_BYTES)

    @property
    def _hides_its_key(self) -> bool:
        """brotli makes 8 MB of a few bytes before it shows the first of them."""
        return "br" in self.sending.encoding.lower()

    @property
    def is_tiny(self) -> bool:
        return self.unpacking is None and len(self.sending.body) <= TINY_BYTES

    def _first_key(self) -> Key | None:
        """The first key in the first bytes that may be it."""
        pieces = (self.sending.body,) if self.unpacking is None else self.unpacking.pieces
        head = b"".join(pieces)[:KEY_BYTES]
        found = (_public(text, self.known) for text in self.sending.reader.keys(head))
        return next((key for key in found if key is not None and key.holds(self.now)), None)

    def small(self) -> Parcel | None:
        """The calls, where all of the request is small and plainly right."""
        body: bytes | Reason = self.sending.body
        if self.unpacking is not None:
            self.unpacking.up_to(SMALL_BYTES + 1)
            if not self.unpacking.ended:
                return None
            body = self.unpacking.text()
        return self.sending.reader.quick(body) if isinstance(body, bytes) and len(body) <= SMALL_BYTES else None

    def steps(self) -> Steps[Parcel]:
        """All calls that can be found; where none can, the body is one call that can't be used.

        Raises what keeps nothing: TooLarge, UnknownEncoding, and Invalid where it can't be read whose the request is.
        """
        body: bytes | Reason = self.sending.body
        if self.unpacking is not None:
            while self.unpacking.more():
                yield
            body = self.unpacking.text()
            self.unpacking.drop()
        if isinstance(body, Reason) and body.code in _KEEPS_NOTHING:
            raise _KEEPS_NOTHING[body.code](body.message)
        sent = (yield from self.sending.reader.steps(body)) if isinstance(body, bytes) else body
        if isinstance(sent, Parcel):
            return sent
        if self.settled is None:
            raise invalid([("$", (sent,))])
        return Parcel([(sent,)], originals=[self.sending.body])

    def drop(self) -> None:
        """Hold nothing of what was unpacked any more."""
        if self.unpacking is not None:
            self.unpacking.drop()

    def opened(self, parcel: Parcel) -> Opened:
        """Tell whose it is, now that all of it was read. Raises Unauthorized, Forbidden and WrongOrigin."""
        if self.settled is not None:
            return Opened(self.settled, parcel)
        return Opened(_source(_public(write_key(parcel), self.known), self.sending.origin, self.now), parcel)


def _beside(sending: Sending, known: Snapshot) -> Key | None:
    """The key beside the body: of the header, else of the address. None where neither carries one."""
    if key := known.by_header(sending.authorization):
        return key
    if sending.query_key is None and credential(sending.authorization) is None:
        return None
    return _public(sending.query_key, known) or _nobody()


def _public(text: object, known: Snapshot) -> Key | None:
    """The key where addresses and bodies end: in logs and proxies. A secret one does not hold there."""
    key = known.key(text) if isinstance(text, str) else None
    return key if key and key.public else None


def _source(key: Key | None, origin: str | None, now: datetime) -> Source:
    if key is None or not key.holds(now):
        _nobody()
    if not key.may("write"):
        raise Forbidden("this key may not send calls: use a write key")
    if not allowed(origin, key.source.origins):
        metrics.REFUSED.labels(key.source.name, "origin").inc()
        raise WrongOrigin(f"source {key.source.name!r} does not list the origin of this page: add it to its origins")
    return key.source


def _nobody() -> NoReturn:
    raise Unauthorized(
        "give a write key that holds: as HTTP Basic user name, as ?writeKey= in the address, or as writeKey in the "
        f"body (within its first {KEY_BYTES // 1024} KB); or a secret key, as HTTP Basic user name or Bearer token"
    )


_KEEPS_NOTHING: Mapping[str, type[TemasError]] = {"too_large": TooLarge, "unknown_encoding": UnknownEncoding}


def invalid(refused: Sequence[tuple[str, tuple[Reason, ...]]]) -> Invalid:
    """Give what the client is told where nothing can be used: each bad field by its path, the first ones in words."""
    told = (
        {"path": place + reason.path.removeprefix("$"), "code": reason.code, "message": reason.message}
        for place, reasons in refused
        for reason in reasons
    )
    details = list(islice(told, MOST_DETAILS))
    others = sum(len(reasons) for _, reasons in refused) - 1
    first = f"{details[0]['path']}: {details[0]['message']}"
    return Invalid(first + (f" (and {others} more)" if others else ""), details=details)
