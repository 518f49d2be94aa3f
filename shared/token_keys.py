"""Keys that verify user tokens: secrets that are shared with the company's backend, and its public keys as a JWKS.

Each key goes with one algorithm, which follows from what the key is: a secret with HS256, an RSA key with RS256, a key
on the curve P-256 with ES256. A token's own word for its algorithm is only compared with that, so nobody can sign with
HS256 and a public key for a secret.

A JWKS is read beside requests, never within one: at the start, every few minutes, and soon after a token named a key
that is not in it. What was read last holds while it can't be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared import metrics
from shared.errors import Unavailable
from shared.health import Health
from shared.settings import UserTokenSettings
from shared.tasks import library_call

log = structlog.get_logger(__name__)

SOON = 10.0
"""Seconds between two readings of a JWKS at least, however many tokens name keys that are not in it."""

PATIENCE = 5.0
"""Seconds that a server may take for each step of an answer."""

LONGEST = 60.0
"""Seconds that the whole of it may take."""

LARGEST = 1_000_000
"""Bytes of a JWKS."""

RSA_BITS = 2048
"""Of an RSA key at least: RFC 7518, section 3.3."""


class VerificationKey(NamedTuple):
    """What verifies a signature, and the one algorithm that it is used with."""

    algorithm: str
    key: Any


class _Jwk(msgspec.Struct):
    """A key of a JWKS (RFC 7517), as far as we need to know whether it is one for us."""

    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    crv: str | None = None
    d: str | None = None


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


class NotReadable(Exception):
    """A JWKS can't be read, or has no key that verifies user tokens. The text says why."""


class TokenKeys:
    """The keys of a process. Those of a file are there from the beginning: raises NotReadable where they are not."""

    def __init__(self, settings: UserTokenSettings, health: Health) -> None:
        self.pulse = health.pulse("keys of user tokens")
        self.place = settings.user_token_jwks
        self.every = settings.user_token_jwks_every
        self.secrets = [VerificationKey("HS256", secret) for secret in settings.user_token_secrets]
        self.named: Mapping[str | None, VerificationKey] | None = None
        self.missed = asyncio.Event()
        if self.place is not None and not _is_url(self.place):
            self.named = read(self.place)

    def candidates(self, kid: str | None) -> Iterator[VerificationKey]:
        """Keys that may have signed a token which names `kid`. Raises Unavailable where that can't be known yet.

        The key of a JWKS that has this name, and no other; without a name its only one. Secrets have no names.
        """
        named = self.named or {}
        if kid is not None and kid in named:
            yield named[kid]
            return
        yield from self.secrets
        if kid is None and len(named) == 1:
            yield from named.values()
        elif kid is not None and self.place is not None:
            self.missed.set()
        if self.place is not None and self.named is None:
            raise Unavailable("the keys of user tokens have not been read yet: send this again in a moment")

    async def run(self) -> None:
        """Read the JWKS again and again, until cancelled. Without one there is nothing to do but wait for that."""
        while True:
            self.pulse.beat()
            self.missed.clear()
            if self.place is not None:
                await self._renew(self.place)
            await asyncio.sleep(SOON)
            await self._rest()

    async def _rest(self) -> None:
        """Return when a key was missed, or it is time."""
        until = asyncio.get_running_loop().time() + max(0.0, self.every - SOON)
        while (left := until - asyncio.get_running_loop().time()) > 0 and not self.missed.is_set():
            self.pulse.beat()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(SOON, left)):
                    await self.missed.wait()

    async def _renew(self, place: str) -> None:
        try:
            self.named = await library_call(asyncio.to_thread(read, place), within=LONGEST)
        except (NotReadable, OSError) as error:  # a time-out is an OSError
            log.warning("the keys of user tokens can't be read; what was read last holds", error=str(error)[:300])
        else:
            metrics.TOKEN_KEYS_READ.set_to_current_time()


def read(place: str) -> Mapping[str | None, VerificationKey]:
    """The keys of the JWKS at `place`, a path or an https address, by their names. Raises NotReadable."""
    try:
        text = _fetched(place) if _is_url(place) else Path(place).read_bytes()
    except (OSError, ValueError) as error:  # an answer that is no success is an OSError, a time-out as well
        raise NotReadable(f"the JWKS at {place} can't be read: {error}") from None
    return verifying(text, place)


def verifying(text: bytes, place: str) -> Mapping[str | None, VerificationKey]:
    """The keys in the JWKS `text` that verify user tokens, by their names. Raises NotReadable where there is none.

    What is for another use, another algorithm, weak, or no public key is left out.
    """
    try:
        given = msgspec.json.decode(text, type=_Jwks).keys
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise NotReadable(f"the JWKS at {place} is none: {error}") from None
    found: dict[str | None, VerificationKey] = {}
    for each in given:
        try:
            jwk = msgspec.convert(each, _Jwk)
            found[jwk.kid] = _verification_key(jwk, each)
        except (msgspec.ValidationError, jwt.PyJWTError, ValueError) as error:
            log.warning("a key of the JWKS is not used", kid=str(each.get("kid"))[:100], error=str(error)[:300])
    if not found:
        raise NotReadable(f"the JWKS at {place} has no key for RS256 or ES256")
    return found


def _verification_key(jwk: _Jwk, given: Mapping[str, Any]) -> VerificationKey:
    """Raises ValueError and PyJWTError for what is no key of user tokens."""
    algorithm = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}.get((jwk.kty, jwk.crv))
    if algorithm is None or jwk.alg not in (None, algorithm) or jwk.use not in (None, "sig"):
        raise ValueError("it is not for signatures with RS256 or ES256")
    if jwk.d is not None:
        raise ValueError("it is a private key: publish the public one, and make another pair")
    key = jwt.PyJWK(dict(given), algorithm).key
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
        raise ValueError(f"it has fewer than {RSA_BITS} bits")
    return VerificationKey(algorithm, key)


def _is_url(place: str) -> bool:
    return "://" in place


class _NoRedirects(HTTPRedirectHandler):
    """Keys come from the address that was set, or not at all."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _fetched(address: str) -> bytes:
    """Raises OSError, and ValueError for what is larger than a JWKS may be."""
    if urlsplit(address).scheme != "https":
        raise ValueError("give a path or an https address")
    asked = Request(address, headers={"Accept": "application/json"})  # noqa: S310 - https, as was looked at above
    try:
        with build_opener(_NoRedirects).open(asked, timeout=PATIENCE) as answer:
            text: bytes = answer.read(LARGEST + 1)
    except URLError as error:
        raise OSError(str(error)) from None
    if len(text) > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    return text
