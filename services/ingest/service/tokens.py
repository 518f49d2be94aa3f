"""User tokens, remembered: a batch of a hundred calls, or a visit of a hundred requests, verifies its token once."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import jwt

from services.ingest.domain.proof import MISSING
from shared.auth import UserTokens
from shared.clock import Clock
from shared.errors import Unauthorized

REMEMBERED = 10_000
"""Tokens that a process remembers at most."""

SECONDS = 60.0
"""Seconds after which a token is verified anew, should its key be taken back; earlier where it ends before."""

REFUSED_SECONDS = 1.0
"""The same where it was not accepted: its key may be read any moment."""


class _Answer(NamedTuple):
    """The user id that a token is of, or why it is not accepted; and the moment until which that holds."""

    user_id: str | None
    refusal: str
    until: float


class RememberedTokens:
    """Verifies user tokens with `tokens`, each once in a while. Those that are refused are remembered, too."""

    def __init__(self, tokens: UserTokens, clock: Clock) -> None:
        self.tokens = tokens
        self.clock = clock
        self._answers: dict[bytes, _Answer] = {}

    def subject(self, token: object) -> str:
        """The user id that `token` is of. Raises Unauthorized; Unavailable while keys have not been read yet."""
        if not isinstance(token, str) or not token:
            raise Unauthorized(MISSING)
        known, now = hashlib.blake2b(token.encode(errors="replace"), digest_size=16).digest(), self.clock().timestamp()
        answer = self._answers.get(known)
        if answer is None or answer.until <= now:
            answer = self._asked(token, now)
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
            self._answers[known] = answer
        if answer.user_id is None:
            raise Unauthorized(answer.refusal)
        return answer.user_id

    def _asked(self, token: str, now: float) -> _Answer:
        try:
            user_id = self.tokens.subject(token)
        except Unauthorized as error:
            return _Answer(None, error.message, now + REFUSED_SECONDS)
        ends = float(jwt.decode(token, options={"verify_signature": False})["exp"])
        return _Answer(user_id, "", min(now + SECONDS, ends))
