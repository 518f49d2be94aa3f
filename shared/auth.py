"""Who may call: servers and operators with a secret key, a person's browser with a user token.

A secret key comes as the user name of HTTP Basic, or as a Bearer token; what it opens, `shared/scopes.py` says, and
which keys there are, the application's `Keyring` (`app.state.keyring`). User tokens are short-lived JWTs that the
company's backend signs: `sub` is the user id, `aud` is `temas`, `exp` must be there. The algorithm is fixed here,
never read from the token.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Annotated

import jwt
from fastapi import Depends, Request
from pydantic import SecretStr

from shared.errors import Unauthorized
from shared.events import NamedKey
from shared.keys import Keyring
from shared.scopes import Scope

AUDIENCE = "temas"
ALGORITHM = "HS256"

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

    async def check(request: Request) -> None:
        keyring: Keyring = request.app.state.keyring
        needed = scope or ("read" if request.method in LOOKS else "admin")
        request.state.caller = keyring.caller(credential(request.headers.get("authorization")), needed)

    return check


async def _caller(request: Request) -> NamedKey:
    caller: NamedKey = request.state.caller
    return caller


Caller = Annotated[NamedKey, Depends(_caller)]
"""The key that `guard` let pass, for routes that write down who asked: its `id`."""


class UserTokens:
    """Reads the tokens that the company's backend signed with `secret`."""

    def __init__(self, secret: SecretStr) -> None:
        self.secret = secret

    def user_id(self, authorization: str | None) -> str:
        """The person the token speaks for. Raises Unauthorized."""
        token = credential(authorization)
        if token is None:
            raise Unauthorized("this needs a user token: Authorization: Bearer <JWT signed by your backend>")
        try:
            claims = jwt.decode(
                token,
                self.secret.get_secret_value(),
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                options={"require": ["exp", "sub", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the user token is not accepted: {error}") from None
        return str(claims["sub"])
