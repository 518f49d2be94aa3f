"""What can go wrong in personalize, and what the client is told.

TemasError
├── OfferNotFound        404 offer_not_found
├── DecisionNotFound     404 decision_not_found: no such decision, or its record is still on its way
└── TooLarge             413 too_large

A rule that can't be compiled is `shared.rules.RuleRefused`: 422 rule_refused, with line and column.
"""

from __future__ import annotations

from shared.errors import NotFound, TemasError


class OfferNotFound(NotFound):
    code = "offer_not_found"


class DecisionNotFound(NotFound):
    code = "decision_not_found"


class TooLarge(TemasError):
    """`largest`: the bytes that a body may have."""

    status = 413
    code = "too_large"

    def __init__(self, largest: int) -> None:
        super().__init__(f"the body has more than {largest} bytes: send it in parts")
