"""Features: what the learner sees of a person, a channel and a moment.

Few, bounded, and in steps: so people fall into some hundred cells, whose counts are all that has to be kept. All lie in
[0, 1] and are multiples of a quarter, exact in any notation. What isn't known is 0: a stranger is the intercept alone.
"""

from __future__ import annotations

import math
from typing import Any

from services.personalize.domain.channels import OUTBOUND
from services.personalize.domain.customers import Request
from shared.events import ShownScores, View

VERSION = 1
"""Goes up whenever a feature changes its meaning. Evidence is kept, and learned from, by version."""

NAMES = (
    "intercept",  # always 1
    "known",  # has a user id: an account, a login
    "returning",  # touchpoints so far: up to 3, up to 30, more
    "ordered",  # orders so far: none, one, more
    "engagement",  # the engagement score
    "ltv",  # lifetime value, by powers of ten of the currency
    "churn_risk",
    "mobile",  # an app, or a telephone's browser
    "outbound",  # the company speaks first
)

MOBILE = frozenset({"ios", "android", "mobile", "phone"})


def features(request: Request, view: View | None) -> tuple[float, ...]:
    """The vector for this person in this moment, in the order of `NAMES`."""
    scores = (view.scores if view is not None else None) or ShownScores()
    return (
        1.0,
        float(view is not None and any(known.kind == "user_id" for known in view.identifiers)),
        _step(view.touchpoints.count if view is not None else 0, 3, 30),
        _step(view.computed.get("order_count", 0) if view is not None else 0, 0, 1),
        _quarter((scores.engagement or 0.0) / 100),
        _quarter(math.floor(math.log10(1 + max(scores.ltv or 0.0, 0.0))) / 4),
        _quarter(scores.churn_risk or 0.0),
        float(request.channel == "mobile" or _device(request.context) in MOBILE),
        float(request.channel in OUTBOUND),
    )


def _step(value: float, low: float, high: float) -> float:
    """0 up to `low`, a half up to `high`, then 1."""
    return ((value > low) + (value > high)) / 2


def _quarter(share: float) -> float:
    """`share`, kept within [0, 1], to the nearest quarter."""
    return round(4 * min(max(share, 0.0), 1.0)) / 4


def _device(context: dict[str, Any]) -> str:
    """The kind of device, as Segment's clients send it (`device: {"type": "ios"}`) or in one word."""
    device = context.get("device")
    kind = device.get("type") if isinstance(device, dict) else device
    return kind.lower() if isinstance(kind, str) else ""
