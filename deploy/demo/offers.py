"""What a marketer would have set up before the visitor comes: a few offers for one place, and a segment.

Each offer is here to show one thing: a rule that holds for strangers only, one that holds after a purchase, one that
reads a segment, consent that is refused at login, a date that has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEWSLETTER = "newsletter"
"""A purpose that people are asked to consent to."""

PLACEMENT = "demo_home_hero"

SEGMENT_ID = "demo-jazz-lovers"

SEGMENT: Mapping[str, Any] = {"name": "Jazz lovers", "rule": 'traits.favourite == "jazz"'}


def _offer(name: str, kind: str, value: float, **rest: Any) -> Mapping[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "placements": [PLACEMENT],
        "channels": ["web"],
        "value": value,
        "content": {"title": name},
        **rest,
    }


OFFERS: Mapping[str, Mapping[str, Any]] = {
    "demo-welcome": _offer(
        "10 % off the first order", "discount", 4.0, cost=0.5, eligibility="computed.order_count == 0"
    ),
    "demo-new-in": _offer("New this week", "content", 3.0),
    "demo-gift-wrap": _offer("Gift wrapping", "upsell", 3.5, caps=[{"count": 3, "days": 7}]),
    "demo-free-delivery": _offer("Free delivery", "reward", 5.0, cost=0.8, eligibility="computed.order_count >= 1"),
    "demo-jazz-box": _offer("The jazz box", "cross_sell", 6.0, eligibility=f'"{SEGMENT_ID}" in segments'),
    "demo-letter": _offer("Our letter, with a voucher", "content", 5.0, purpose=NEWSLETTER),
    "demo-spring-sale": _offer("Spring sale", "discount", 8.0, valid_to="2026-05-31T23:59:59.000Z"),
    "demo-win-back": _offer("We miss you", "recovery", 9.0, eligibility="scores.churn_risk > 0.9"),
}
