"""Who may call: servers and operators with a secret key, a person's browser with a user token.

A secret key comes as the user name of HTTP Basic, or as a Bearer token; what it opens, `shared/scopes.py` says, and
which keys there are, the application's `Keyring` (`app.state.keyring`). User tokens are short-lived JWTs that the
company's backend signs: `sub` is the user id, `aud` is `temas`, `exp` must be there. The algorithm is fixed here,
never read from the token.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

import jwt
import msgspec
from fastapi import Depends, Request
from pydantic import SecretStr

from shared.clock import Clock
from shared.errors import TokenRefused
from shared.events import NamedKey
from shared.guards import guarding
from shared.health import Health
from shared.identifiers import names_nobody
from shared.keys import Keyring
from shared.scopes import Scope, digest
from shared.settings import UserTokenSettings
from shared.token_keys import TokenKeys

AUDIENCE = "temas"

LONGEST_TOKEN = 8192
"""Characters of a user token. One with a signature of RSA has some 600."""

LONGEST_SUBJECT = 512
"""Characters of a user id, as everywhere."""

_UNWRITTEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters: no user id has any, and PostgreSQL takes not all of them."""

CLOCKS_APART = timedelta(seconds=30)
"""By how much the clock of the company's backend may be ahead of ours. An end is an end: it gets no such grace."""

LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


def credential(authorization: str | None) -> str | None:
    """The key or token in an `Authorization` header: a Basic user name, or what follows Bearer. None where none is."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() == "basic":
        try:
            user, _, _ = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user or None
    return None


def guard(scope: Scope | None = None) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets pass keys that have what `scope` names; without it, `read` to look and `admin` to change.

    401 without any key; 403 with one that is unknown, has ended or lacks the scope; 503 while keys are not known yet.
    """

    @guarding
    async def check(request: Request) -> None:
        keyring: Keyring = request.app.state.keyring
        needed = scope or ("read" if request.method in LOOKS else "admin")
        request.state.caller = keyring.caller(credential(request.headers.get("authorization")), needed)

    return check


SHOWS_PEOPLE = Depends(guard("read:people"))
"""For routes that show who somebody is, or what they did: beside the guard that all routes have."""


def operator(secret: SecretStr, check: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[None]]:
    """A dependency for what operators ask: it lets pass the key of the settings at once, and others as `check` does.

    So it can be asked what is wrong while keys can't be read.
    """
    known = digest(secret.get_secret_value())

    @guarding
    async def read(request: Request) -> None:
        given = credential(request.headers.get("authorization"))
        if given is None or digest(given) != known:
            await check(request)

    return read


async def _caller(request: Request) -> NamedKey:
    caller: NamedKey = request.state.caller
    return caller


Caller = Annotated[NamedKey, Depends(_caller)]
"""The key that `guard` let pass, for routes that write down who asked: its `id`."""


def person(tokens: UserTokens) -> Callable[[Request], Awaitable[str]]:
    """A dependency that lets pass who has a user token, and gives the user id. Raises as `UserTokens.user_id` does."""

    @guarding
    async def subject(request: Request) -> str:
        return tokens.user_id(request.headers.get("authorization"))

    return subject


class _Header(msgspec.Struct):
    """The head of a token, as far as it matters here: PyJWT looks at the rest of it."""

    alg: str
    kid: str | None = None


class _Claims(msgspec.Struct):
    """The claims that a user token makes. Moments are seconds since 1970."""

    sub: str
    aud: str | list[str]
    exp: float
    iat: float | None = None
    nbf: float | None = None


class UserTokens:
    """Reads user tokens.

    `sub` is the user id. `aud` is `temas`. `exp` must be there, and at most `user_token_longest` seconds ahead. `iat`
    may be left out; where it is there it must have passed, and `exp` may be no more than as many seconds after it.
    `nbf` is heeded.
    """

    def __init__(self, settings: UserTokenSettings, clock: Clock, health: Health) -> None:
        """Raises NotReadable where the settings name a file of keys that can't be read."""
        self.keys = TokenKeys(settings, health)
        self.pulse = self.keys.pulse
        self.longest = settings.user_token_longest
        self.clock = clock

    async def run(self) -> None:
        """Keep the keys new, until cancelled."""
        await self.keys.run()

    def user_id(self, authorization: str | None) -> str:
        """The person that the token in an `Authorization` header speaks for. Raises TokenRefused and Unavailable."""
        token = credential(authorization)
        if token is None:
            raise TokenRefused("this needs a user token: Authorization: Bearer <JWT signed by your backend>")
        return self.subject(token)

    def subject(self, token: str) -> str:
        """The user id that `token` speaks for. Raises TokenRefused; Unavailable while keys have not been read yet."""
        claims = self._verified(token)
        if AUDIENCE not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
            raise _refused(f"its aud is not {AUDIENCE}")
        self._hold(claims)
        return _clean(claims.sub)

    def _verified(self, token: str) -> _Claims:
        """The claims of a token that one of our keys verifies."""
        if len(token) > LONGEST_TOKEN or not token.isascii() or token.count(".") != 2:
            raise _refused(f"it is no JWT of at most {LONGEST_TOKEN} characters")
        jws = jwt.PyJWS()
        try:
            header = msgspec.convert(jws.get_unverified_header(token), _Header)
            for candidate in self.keys.candidates(header.kid):
                if candidate.algorithm == header.alg:
                    try:
                        text = jws.decode(token, candidate.key, algorithms=[candidate.algorithm])
                    except jwt.InvalidSignatureError:
                        continue  # there may be another: keys are rotated
                    return msgspec.json.decode(text, type=_Claims)
        except (jwt.PyJWTError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise _refused(str(error)) from None
        raise _refused("none of our keys verifies it")

    def _hold(self, claims: _Claims) -> None:
        """Raise TokenRefused unless the token holds now, and not for too long."""
        now, ahead = self.clock().timestamp(), CLOCKS_APART.total_seconds()
        if claims.exp <= now:
            raise _refused("it has expired")
        if claims.exp > now + self.longest:
            raise _refused(f"its exp is more than {self.longest} seconds ahead: sign one for each visit")
        if claims.nbf is not None and claims.nbf > now + ahead:
            raise _refused("its nbf has not come yet")
        if claims.iat is not None and claims.iat > now + ahead:
            raise _refused("its iat has not come yet")
        if claims.iat is not None and claims.exp > claims.iat + ahead + self.longest:
            raise _refused(f"its exp is more than {self.longest} seconds after its iat: sign one for each visit")


def _clean(subject: str) -> str:
    """`subject`, where it can be a user id. Raises TokenRefused."""
    if len(subject) > LONGEST_SUBJECT:
        raise _refused(f"its sub has more than {LONGEST_SUBJECT} characters")
    if names_nobody(subject) or _UNWRITTEN.search(subject):
        raise _refused("its sub is no user id")
    return subject


def _refused(why: str) -> TokenRefused:
    return TokenRefused(f"the user token is not accepted: {why[:200]}", given=True)
