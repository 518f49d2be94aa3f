"""The question that pages wait for, straight from the connection (shared/hot.py).

FastAPI's route is beside it, in `decisions.py`: it documents the address, and answers the same behind other servers.
"""

from __future__ import annotations

from collections.abc import Callable

from services.personalize.api.decisions import decide
from services.personalize.api.quick import read
from services.personalize.errors import TooLarge
from services.personalize.service.decisions import Decisions
from shared.auth import credential
from shared.errors import TemasError
from shared.hot import JSON, Answer, Headers, HotPaths, Later, lines, refused, soon
from shared.keys import Keyring

HEAD = lines([JSON])


def direct(keyring: Callable[[], Keyring], decisions: Callable[[], Decisions], largest: int) -> HotPaths:
    """What answers at once. `keyring` and `decisions` give what there is once the service has started."""
    return {("POST", Decide.route): Decide(keyring, decisions, largest)}


class Decide:
    """The question as a company's servers ask it."""

    route = "/v1/decide"

    def __init__(self, keyring: Callable[[], Keyring], decisions: Callable[[], Decisions], largest: int) -> None:
        """`largest`: bytes of a body."""
        self.keyring = keyring
        self.decisions = decisions
        self.largest = largest

    def refusal(self, headers: Headers, size: int, held: int) -> Answer | None:
        if size <= self.largest:
            return None
        try:
            self._let_in(headers)
        except TemasError as error:
            return refused(error)
        return refused(TooLarge(self.largest))

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        return soon(self.route, self._answer(headers, body))

    async def _answer(self, headers: Headers, body: bytes) -> Answer:
        self._let_in(headers)
        answer = await decide(read(body), self.decisions())
        return Answer(200, HEAD, answer.model_dump_json().encode())

    def _let_in(self, headers: Headers) -> None:
        self.keyring().caller(credential(headers.get(b"authorization", b"").decode("latin-1")), "decide")
