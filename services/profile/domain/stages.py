"""The stage of the relationship: where on the way from stranger to advocate a person stands.

The stages are rules in order, and the first that holds is the person's. A rule that can't be known (no score yet) does
not hold. The last one always does, so that everybody is in a stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from shared.rules import Facts, Ladder, Rule, first_holding, ladder

VARIABLES = ("traits", "computed", "scores", "consent", "channels", "now")
"""What stages are decided by. Not by segments: those may ask for the stage."""

STAGES: Mapping[str, str] = {
    # Bought once, and not heard of in any channel for a year.
    "lapsed": 'computed.order_count > 0 && computed.last_touchpoint_at < now - duration("8760h")',
    # A customer who brought others.
    "advocate": "computed.order_count > 0 && computed.referral_count > 0",
    # The first order is less than 90 days old, and the second has not come: the time in which habits form.
    "onboard": 'computed.order_count == 1 && computed.first_order_at > now - duration("2160h")',
    # Half a year without an order, or likely not to return: somebody to be won again.
    "renew": """
        computed.order_count > 0 && (computed.last_order_at < now - duration("4380h")
            || has(scores.churn_risk) && scores.churn_risk > 0.8)
    """,
    # A customer, and all is well.
    "maintain": "computed.order_count > 0",
    # Everybody else: known, not yet a customer.
    "acquire": "true",
}


def stage(facts: Facts) -> str:
    """The name of the stage that the person with these `facts` is in."""
    name = first_holding(_ladder(), facts)
    assert name is not None  # noqa: S101 - the last one always holds
    return name


def rules() -> Mapping[str, Rule]:
    """The stages' rules, in their order."""
    return _ladder().rules


@cache
def _ladder() -> Ladder:
    return ladder(STAGES, variables=VARIABLES, path="stages")
