"""What the account has decided: where its days begin, what touchpoints mean to it, how far ahead it looks."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Literal

import msgspec

from services.scoring.domain.engagement import Signals
from services.scoring.domain.lifetime_value import Horizon
from shared.events import Touchpoint

Counted = Literal["all", "server"]
"""Whose touchpoints count: everybody's, or those of sources that keep their key to themselves."""


class Terms(msgspec.Struct, frozen=True):
    """One value for all of it, given to every use case."""

    zone: tzinfo = UTC
    signals: Signals = Signals()
    horizon: Horizon = Horizon()
    # Customers, and customers who bought again, under which no model is fitted.
    minimum: int = 50
    counted: Counted = "all"

    def counts(self, touchpoint: Touchpoint) -> bool:
        """Whether `touchpoint` is part of what customers are scored by."""
        return self.counted == "all" or touchpoint.data.trust == "server"
