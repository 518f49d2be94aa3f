"""The view of a person, the short way (shared/hot.py): it is what pages wait for.

What FastAPI does for it takes ten times as long as finding it. FastAPI's route is beside it, in `profiles.py`: it
documents the address, and answers the same wherever this one does not.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

from services.profile.api.desk import Desk
from services.profile.api.profiles import shown
from shared.auth import credential
from shared.hot import JSON, Answer, Headers, HotFolders, Later, lines, soon
from shared.keys import Keyring

HEAD = lines([JSON])


def views(keyring: Callable[[], Keyring], desk: Callable[[], Desk]) -> HotFolders:
    """What answers for each person. `keyring` and `desk` give what there is once the service has started."""
    return {("GET", "/v1/profiles/"): lambda person: View(person, keyring, desk)}


class View:
    """One person's view."""

    route = "/v1/profiles/{person:path}"

    def __init__(self, person: str, keyring: Callable[[], Keyring], desk: Callable[[], Desk]) -> None:
        self.person = person
        self.keyring = keyring
        self.desk = desk

    def refusal(self, headers: Headers, size: int, held: int) -> Answer | None:
        return None

    def answer(self, headers: Headers, query: bytes, body: bytes) -> Answer | Later:
        return soon(self.route, self._answer(headers.get(b"authorization", b"").decode("latin-1"), query))

    async def _answer(self, authorization: str, query: bytes) -> Answer:
        self.keyring().caller(credential(authorization), "read:people")
        view = await shown(self.desk(), self.person, _after(query))
        return Answer(200, HEAD, view.encode())


def _after(query: bytes) -> str | None:
    """The last of them, as FastAPI reads it."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)).get("after") if query else None
