"""A fragment: everything scoring knows from the touchpoints of one identifier.

All of it is commutative and mergeable, so a fragment depends only on the set of its touchpoints, and a profile is the
merge of the fragments of its identifiers. Fragments are never merged physically: who is who may change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, tzinfo

import msgspec

from services.scoring.domain import engagement, purchases
from services.scoring.domain.engagement import Engagement, Signals
from services.scoring.domain.purchases import DayTotal
from shared.events import Touchpoint


class Fragment(msgspec.Struct, frozen=True):
    engagement: Engagement = Engagement()
    days: Mapping[date, DayTotal] = {}

    @property
    def buys(self) -> bool:
        """Whether there is an order, or a refund, in it."""
        return bool(self.days)


def fragment(touchpoint: Touchpoint, signals: Signals, zone: tzinfo) -> Fragment:
    """The fragment that knows only this one touchpoint. Raises msgspec.DecodeError for an order that is none."""
    return Fragment(engagement.engaged(touchpoint, signals), purchases.bought(touchpoint, zone))


def merged(sides: Iterable[Fragment]) -> Fragment:
    """All sides in one; the merge of none knows nothing."""
    sides = list(sides)
    if len(sides) == 1:
        return sides[0]
    return Fragment(
        engagement.merged(*(side.engagement for side in sides)), purchases.merged(*(side.days for side in sides))
    )
