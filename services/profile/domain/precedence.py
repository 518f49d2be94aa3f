"""The order among statements about identifiers: by trust first, then by time. The least one wins.

Whoever sends with a public key chooses the event time freely, and so could always have been there first. So all that
servers state goes before all that clients state, and a client's statement counts from its receipt at the earliest. The
event time only decides between statements that were received at the same moment: those of one batch of a device that
was offline.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from shared.events import Touchpoint, Trust

RANKS: Mapping[Trust, int] = {"server": 0, "client": 1}
"""The more trusted, the less: what is stored is compared by these."""

TRUSTS: tuple[Trust, ...] = ("server", "client")
"""By rank."""

Time = tuple[datetime, datetime, str]


class Precedence(msgspec.Struct, frozen=True, order=True):
    """The place of one statement among all others.

    `at`: from when on it counts, which is the event time, but for clients not before the receipt. `happened_at`: the
    event time itself.
    """

    rank: int
    at: datetime
    happened_at: datetime
    touchpoint_id: str

    @property
    def time(self) -> Time:
        """Its place by time alone, whoever said it."""
        return self.at, self.happened_at, self.touchpoint_id

    @property
    def trust(self) -> Trust:
        return TRUSTS[self.rank]


def precedence(touchpoint: Touchpoint) -> Precedence:
    """The place of what `touchpoint` states."""
    at, call = touchpoint.at, touchpoint.data
    if call.trust == "server":
        return Precedence(0, at, at, touchpoint.id)
    return Precedence(RANKS[call.trust], max(at, call.received_at), at, touchpoint.id)


def sighted(one: Precedence | None, other: Precedence | None) -> Precedence | None:
    """Both sightings of an identifier as one: the first by time, and the rank of the most trusted who saw it.

    When somebody was first seen decides which id names them and which side of an experiment they are on. That may not
    change because a server speaks of them, too; so here time alone counts. Commutative, associative, idempotent.
    """
    if one is None or other is None:
        return one or other
    if one.rank == other.rank:  # nearly always, and it is asked for every touchpoint
        return min(one, other)
    first, rank = min(one, other, key=lambda each: each.time), min(one.rank, other.rank)
    return first if first.rank == rank else msgspec.structs.replace(first, rank=rank)
