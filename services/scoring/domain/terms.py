"""What the account has decided: where its days begin, what touchpoints mean to it, how far ahead it looks."""

from __future__ import annotations

from datetime import UTC, tzinfo

import msgspec

from services.scoring.domain.engagement import Signals
from services.scoring.domain.lifetime_value import Horizon


class Terms(msgspec.Struct, frozen=True):
    """One value for all of it, given to every use case."""

    zone: tzinfo = UTC
    signals: Signals = Signals()
    horizon: Horizon = Horizon()
    # Customers, and customers who bought again, under which no model is fitted.
    minimum: int = 50
