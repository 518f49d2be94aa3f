"""Opening a request: whose it is, and which calls are in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple, NoReturn

import msgspec

from services.ingest import metrics
from services.ingest.domain.bodies import Parcel, Read, write_key
from services.ingest.domain.encodings import inflated
from services.ingest.domain.origins import allowed
from services.ingest.domain.sources import Key, Source
from services.ingest.errors import TooLarge, UnknownEncoding, WrongOrigin
from services.ingest.service.registry import Snapshot
from shared.auth import credential
from shared.errors import Forbidden, Invalid, TemasError, Unauthorized
from shared.events import CallType, Reason

MOST_DETAILS = 100
"""Bad fields that an answer names. The first ones tell what to do; all of them are in touchpoints.rejected."""


class Sending(msgspec.Struct, frozen=True, gc=False):
    """One request as it came. `call`: the kind that its address names; None for a batch. `read` finds its calls."""

    read: Read
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


def opened(sending: Sending, known: Snapshot, now: datetime, limit: int) -> Opened:
    """The source and the calls of `sending`; a body that can't be read is one call that can't be used.

    `limit`: bytes that the body may have when it is unpacked. Raises what keeps nothing: Unauthorized, Forbidden,
    WrongOrigin, TooLarge, UnknownEncoding, and Invalid where it can't be read whose the request is.
    """
    key = _beside(sending, known)
    sent = _read(sending, limit)
    if isinstance(sent, Parcel):
        key = key or _public(write_key(sent), known)
        return Opened(_source(key, sending.origin, now), sent)
    if key is None:
        raise invalid([("$", (sent,))])
    return Opened(_source(key, sending.origin, now), Parcel([(sent,)], originals=[sending.body]))


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
        "give a write key that holds: as HTTP Basic user name, as writeKey in the body, or as ?writeKey= in the "
        "address; or a secret key, as HTTP Basic user name or Bearer token"
    )


def _read(sending: Sending, limit: int) -> Parcel | Reason:
    body = inflated(sending.body, sending.encoding, limit)
    if isinstance(body, bytes):
        return sending.read(body)
    if body.code in _KEEPS_NOTHING:
        raise _KEEPS_NOTHING[body.code](body.message)
    return body


_KEEPS_NOTHING: Mapping[str, type[TemasError]] = {"too_large": TooLarge, "unknown_encoding": UnknownEncoding}


def invalid(refused: Sequence[tuple[str, tuple[Reason, ...]]]) -> Invalid:
    """What the client is told where nothing can be used: each bad field by its path, the first ones in words."""
    told = (
        {"path": place + reason.path.removeprefix("$"), "code": reason.code, "message": reason.message}
        for place, reasons in refused
        for reason in reasons
    )
    details = list(islice(told, MOST_DETAILS))
    others = sum(len(reasons) for _, reasons in refused) - 1
    first = f"{details[0]['path']}: {details[0]['message']}"
    return Invalid(first + (f" (and {others} more)" if others else ""), details=details)
