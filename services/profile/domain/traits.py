"""Traits: what the person is known to be, each with where it came from.

A trait's winner is the latest claim by (event time, touchpoint id, source). That order is total, so folding claims is
commutative, associative and idempotent: any order of arrival, any duplication, any merge gives the same traits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.events import Touchpoint


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


def claimed(touchpoint: Touchpoint) -> Traits:
    """The traits that `touchpoint` claims for its person. Those of a group call are the group's, not theirs."""
    if touchpoint.data.type == "group":
        return {}
    return {
        name: Word(touchpoint.at, touchpoint.id, touchpoint.source, value)
        for name, value in touchpoint.data.traits.items()
    }


def fold(sides: Iterable[Traits]) -> Traits:
    """The winners over all sides."""
    winners: dict[str, Word] = {}
    for side in sides:
        for name, word in side.items():
            if name not in winners or winners[name].place < word.place:
                winners[name] = word
    return winners
