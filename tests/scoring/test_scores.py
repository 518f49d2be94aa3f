"""The scores of a batch: what each kind of customer gets, and what can't be known stays null."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from types import FrameType

import msgspec
import pytest

from services.scoring.domain import fragment
from services.scoring.domain.engagement import Signals
from services.scoring.domain.fragment import Fragment
from services.scoring.domain.lifetime_value import Horizon
from services.scoring.domain.scores import Customer, Named, forecast, scored
from services.scoring.domain.terms import Terms
from shared.events import Scored, Touchpoint, Valuation, encode
from tests.builders import ordered, touchpoint, viewed
from tests.scoring import cdnow

TERMS = Terms()

STEPS = 100
"""More than the calls of functions that one customer more in a batch costs: 66, most of them to round and to wrap."""

NAMED = Named("1997-10-01T00:00:00Z", cdnow.model())


def fragment_of(*life: Touchpoint) -> Fragment:
    return fragment.merged(fragment.fragment(each, Signals(), UTC) for each in life)


def customer(*life: Touchpoint, profile_id: str = "p-1") -> Customer:
    return Customer(profile_id, 9, fragment_of(*life))


def score(*customers: Customer, model: Named | None = NAMED, present: bool = True) -> list[Valuation]:
    return scored(customers, model, cdnow.CALIBRATED, TERMS, present=present)


def everybody() -> list[Customer]:
    return [Customer(name, 1, Fragment(days=days)) for name, days in cdnow.days().items()]


def test_cdnows_first_customer_gets_the_published_scores() -> None:
    first, _, third, *_ = score(*everybody())
    assert first.purchases is not None
    assert (first.purchases.x, first.purchases.count, first.purchases.value) == (2, 3, 74.02)
    assert first.purchases.mean_value == pytest.approx(22.345)
    assert first.ltv is not None
    assert first.ltv.value == pytest.approx(36.2785, rel=0.001)
    assert first.ltv.expected_value == pytest.approx(24.6586, rel=0.001)
    assert first.ltv.low < first.ltv.value < first.ltv.high
    assert first.rfm is not None
    assert (first.rfm.recency, first.rfm.frequency, first.rfm.monetary, first.rfm.segment) == (5, 4, 4, "Champions")
    assert first.model == NAMED.id
    assert third.ltv is not None
    assert third.ltv.value == pytest.approx(8.3441, rel=0.001)


def test_churn_risk_is_that_of_not_returning_within_the_horizon() -> None:
    first, *_ = score(*everybody())
    assert first.churn is not None
    fit = NAMED.model.mbg_nbd
    x, t_x, T = 2, 213 / 7, 272 / 7
    alive = 1 / (1 + fit.a / (fit.b + x) * ((fit.alpha + T) / (fit.alpha + t_x)) ** (fit.r + x))
    returns = alive * (1 - ((fit.alpha + T) / (fit.alpha + T + 13)) ** (fit.r + x))
    assert first.churn.p_alive == pytest.approx(alive, abs=1e-6)
    assert first.churn.risk == pytest.approx(1 - returns, abs=1e-6)
    assert first.churn.horizon_weeks == 13


def test_side_by_side_is_the_same_as_one_by_one() -> None:
    some = [customer(viewed(), profile_id="v"), *everybody()[:20], customer(profile_id="nothing")]
    together = score(*some)
    assert [each.profile_id for each in together] == [each.profile_id for each in some]
    assert together == [score(each)[0] for each in some]


def test_a_visitor_who_never_bought_has_engagement_alone() -> None:
    (visitor,) = score(customer(touchpoint("Product Viewed", at=cdnow.CALIBRATED)))
    assert visitor.engagement is not None
    assert visitor.engagement.positive == 2
    assert (visitor.purchases, visitor.rfm, visitor.churn, visitor.ltv, visitor.model) == (None,) * 5


def test_an_anonymous_visitor_who_bought_is_valued_like_anybody() -> None:
    orders = [ordered(20, user=None, anonymous="a-1", at=datetime(1997, month, 3, tzinfo=UTC)) for month in (2, 5)]
    (visitor,) = score(customer(*orders))
    assert visitor.purchases is not None
    assert visitor.purchases.x == 1
    assert visitor.ltv is not None
    assert visitor.ltv.value > 0


def test_without_a_model_there_are_purchases_and_nothing_that_needs_one() -> None:
    (first,) = score(everybody()[0], model=None)
    assert first.purchases is not None
    assert (first.rfm, first.churn, first.ltv, first.model) == (None,) * 4


def test_of_the_past_there_is_no_engagement_and_no_purchase_that_was_still_to_come() -> None:
    (first,) = scored(everybody()[:1], NAMED, datetime(1997, 1, 10, tzinfo=UTC), TERMS, present=False)
    assert first.engagement is None
    assert first.purchases is not None
    assert (first.purchases.x, first.purchases.count) == (0, 1)
    (before,) = scored(everybody()[:1], NAMED, datetime(1996, 1, 10, tzinfo=UTC), TERMS, present=False)
    assert before.purchases is None


def test_the_horizon_is_the_accounts_own() -> None:
    terms = Terms(horizon=Horizon(ltv_months=6, churn_weeks=4))
    (first,) = scored(everybody()[:1], NAMED, cdnow.CALIBRATED, terms, present=False)
    assert first.ltv is not None
    assert first.churn is not None
    assert (first.ltv.horizon_months, first.churn.horizon_weeks) == (6, 4)
    assert first.ltv.value < 36


def test_a_forecast_is_that_of_the_literature() -> None:
    first, _, third, *_ = everybody()
    ours = forecast(first, NAMED.model, cdnow.CALIBRATED, UTC, 39)
    assert ours is not None
    assert ours.purchases == pytest.approx(1.225910, rel=0.001)
    assert ours.bg_nbd_p_alive == pytest.approx(0.726609, rel=0.001)
    theirs = forecast(third, NAMED.model, cdnow.CALIBRATED, UTC, 39)
    assert theirs is not None
    assert theirs.purchases == pytest.approx(0.194781, rel=0.001)
    assert forecast(customer(viewed()), NAMED.model, cdnow.CALIBRATED, UTC, 39) is None


def test_scores_travel_as_json_without_holes() -> None:
    strange = [
        customer(*[ordered(1e12, at=datetime(1997, 1, 1 + day, tzinfo=UTC)) for day in range(28)]),
        customer(ordered(0, at=datetime(1900, 1, 1, tzinfo=UTC))),
        customer(ordered(-5, at=datetime(1997, 1, 1, tzinfo=UTC)), ordered(-5, at=datetime(1997, 2, 1, tzinfo=UTC))),
    ]
    for valuation in score(*strange):
        event = Scored(id="s-1", source="scoring", time=cdnow.CALIBRATED, data=valuation)
        assert msgspec.json.decode(encode(event), type=Scored) == event  # a number that is none would come back null


def test_a_batch_is_computed_side_by_side_and_no_customer_alone() -> None:
    customers = everybody()
    more = steps(customers[:500]) - steps(customers[:250])
    assert more / 250 < STEPS
    assert steps(customers[:1]) > 5 * STEPS  # what one alone would take, and 250 others do not


def steps(customers: Sequence[Customer]) -> int:
    """The calls of functions that it takes to score them: the same on every machine."""
    calls = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    score(*customers)  # what is made on first use is there
    sys.setprofile(note)
    try:
        score(*customers)
    finally:
        sys.setprofile(None)
    return calls
