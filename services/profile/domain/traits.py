"""Traits: what the person is known to be, each with where it came from.

A trait's winner is the latest claim by (event time, touchpoint id, source): the last of servers, where any has spoken
of it, else the last of clients. So nobody with a public key replaces what a server has stated. That order is total, so
folding claims is commutative, associative and idempotent: any order of arrival, any duplication, any merge gives the
same traits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from shared.events import Touchpoint, Trust


class Word(msgspec.Struct, frozen=True, array_like=True):
    """One touchpoint's word for one trait. A null takes the trait back."""

    at: datetime
    touchpoint_id: str
    source: str
    value: Any

    @property
    def place(self) -> tuple[datetime, str, str]:
        """Orders the words for a trait, the last one wins; no two touchpoints share it."""
        return self.at, self.touchpoint_id, self.source


Traits = Mapping[str, Word]


class Winner(NamedTuple):
    """The word for a trait that counts, and the trust of who said it."""

    word: Word
    trust: Trust


def claimed(touchpoint: Touchpoint) -> Traits:
    """The traits that `touchpoint` claims for its person. Those of a group call are the group's, not theirs."""
    if touchpoint.data.type == "group":
        return {}
    return {
        name: Word(touchpoint.at, touchpoint.id, touchpoint.source, value)
        for name, value in touchpoint.data.traits.items()
    }


def winners(by_servers: Traits, by_clients: Traits) -> dict[str, Winner]:
    """The word that counts for each trait."""
    found = {name: Winner(word, "client") for name, word in by_clients.items()}
    for name, word in by_servers.items():
        found[name] = Winner(word, "server")
    return found


def fold_clients(sides: Iterable[Traits], by_servers: Traits) -> Traits:
    """Of clients' words over all sides the last for each trait that is not among `by_servers`, all servers' words."""
    last = fold([side for side in sides if side])
    return {name: word for name, word in last.items() if name not in by_servers} if last else last


def fold(sides: Iterable[Traits]) -> Traits:
    """The last words over all sides, which are all of servers, or all of clients."""
    winners: dict[str, Word] = {}
    for side in sides:
        for name, word in side.items():
            if name not in winners or winners[name].place < word.place:
                winners[name] = word
    return winners
