"""Who may call: servers and operators with the secret key, a person's browser with a user token.

The secret key comes as the user name of HTTP Basic, or as a Bearer token. User tokens are short-lived JWTs that the
company's backend signs: `sub` is the user id, `aud` is `temas`, `exp` must be there. The algorithm is fixed here,
never read from the token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable

import jwt
from fastapi import Request
from pydantic import SecretStr

from shared.errors import Forbidden, Unauthorized

AUDIENCE = "temas"
ALGORITHM = "HS256"


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


def same(given: str, secret: SecretStr) -> bool:
    """Whether they are equal, in a time that tells nothing about where they differ."""
    return hmac.compare_digest(given.encode(), secret.get_secret_value().encode())


def secret_required(secret: SecretStr) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets only the secret key pass: 401 without any key, 403 with another one."""

    async def check(request: Request) -> None:
        given = credential(request.headers.get("authorization"))
        if given is None:
            raise Unauthorized("this needs the secret key: as HTTP Basic user name, or as Bearer token")
        if not same(given, secret):
            raise Forbidden("this key may not do that: use the secret key")

    return check


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
