"""What a rebuild finds: how the tables that were made anew differ from those that are served, and what was kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

Key = tuple[str, ...]

APART = timedelta(minutes=5)
"""How far the clocks of who receives and who absorbs may be apart, so that what came in good order is no repetition."""


class Side(msgspec.Struct, frozen=True):
    """Rows of one sort, and the keys of a few of them."""

    count: int = 0
    samples: tuple[Key, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """One table: the rows that only the live one has (`here`), only the rebuilt one (`there`), and both otherwise."""

    table: str
    here: Side = Side()
    there: Side = Side()
    other: Side = Side()

    @property
    def equal(self) -> bool:
        return not (self.here.count or self.there.count or self.other.count)


class Kept(msgspec.Struct, frozen=True):
    """What the log no longer tells: how many identifiers have more touchpoints than it has, and how many more.

    `before`: when the first was received that it still has; None where it has none.
    """

    identifiers: int = 0
    touchpoints: int = 0
    before: datetime | None = None


def equal(found: Iterable[Difference]) -> bool:
    return all(each.equal for each in found)


def is_cut(firsts: Mapping[int, int], live_since: datetime | None, log_since: datetime | None) -> bool:
    """Whether there is history that the log no longer has.

    It has lost its first records (`firsts`: the offsets); or what is known was received before all that it has: then
    its topic was made anew.
    """
    if any(first > 0 for first in firsts.values()):
        return True
    return live_since is not None and (log_since is None or live_since < log_since)


def is_repetition(received_at: datetime, seen_at: datetime | None) -> bool:
    """Whether an event of that name had been absorbed (`seen_at`) before this one came."""
    return seen_at is not None and seen_at < received_at - APART
