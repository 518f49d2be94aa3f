"""Which word on consent holds, of the last that servers said and the last that clients did.

A client's key is public: anybody can speak with it in anybody's name. So it may take a consent back at any time, which
is always the safe side; but where a server has spoken, it gives none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar


class Word(Protocol):
    """A statement of consent."""

    @property
    def granted(self) -> bool: ...


W = TypeVar("W", bound=Word)


def holding(by_server: W | None, by_client: W | None, place: Callable[[W], Any]) -> W | None:
    """The one that holds; None where nobody has spoken. `place` orders them by time."""
    if by_server is None or by_client is None:
        return by_client if by_server is None else by_server
    taken_back = by_server.granted and not by_client.granted and place(by_client) > place(by_server)
    return by_client if taken_back else by_server
