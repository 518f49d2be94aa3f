"""A batch of customers, all their scores: what goes to the `scores` topic and what `GET /v1/scores` answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import msgspec

from services.scoring.domain import bg_nbd, engagement, holdout, lifetime_value, mbg_nbd, rfm
from services.scoring.domain.cohort import Cohort
from services.scoring.domain.dropout import DAYS_A_WEEK
from services.scoring.domain.fitting import Array
from services.scoring.domain.fragment import Fragment
from services.scoring.domain.lifetime_value import Horizon
from services.scoring.domain.model import Model
from services.scoring.domain.purchases import history, last_known_day
from services.scoring.domain.terms import Terms
from shared.events import Churn, LifetimeValue, Purchases, Rfm, Valuation


class Named(msgspec.Struct, frozen=True):
    """A model with the id it goes by."""

    id: str
    model: Model


class Customer(msgspec.Struct, frozen=True):
    """A profile, at a version, with the merge of its fragments."""

    profile_id: str
    version: int
    known: Fragment


@dataclass(frozen=True)
class Outlook:
    """What a model says of a cohort: one entry a customer."""

    rfm: rfm.Scores
    segments: list[str]
    p_alive: Array
    p_return: Array
    worth: lifetime_value.Worth


def outlook(cohort: Cohort, model: Model, horizon: Horizon) -> Outlook:
    """All that `model` says of these customers, computed side by side: some 15 µs a customer."""
    x = cohort.x.astype(float)
    staying = model.mbg_nbd.parameters
    scores = rfm.scores(cohort, model.rfm)
    return Outlook(
        rfm=scores,
        segments=scores.segments,
        p_alive=mbg_nbd.p_alive(staying, x, cohort.t_x, cohort.T),
        p_return=mbg_nbd.p_return(staying, horizon.churn_weeks, x, cohort.t_x, cohort.T),
        worth=lifetime_value.worth(cohort, model, horizon),
    )


def scored(
    customers: Sequence[Customer], named: Named | None, as_of: datetime, terms: Terms, *, present: bool
) -> list[Valuation]:
    """The scores of these customers as of `as_of`, in their order.

    Purchases are those through the last day that had begun before `as_of`. Engagement is kept for the present only:
    without `present` it is null. Without a model so is all that needs one, and without a purchase likewise.
    """
    through = last_known_day(as_of, terms.zone)
    histories = [history(customer.known.days, through) for customer in customers]
    cohort = Cohort.of([known for known in histories if known is not None], through)
    looks = outlook(cohort, named.model, terms.horizon) if named is not None and len(cohort) else None
    valuations, places = [], iter(range(len(cohort)))
    for customer, known in zip(customers, histories, strict=True):
        valuation = Valuation(
            profile_id=customer.profile_id,
            version=customer.version,
            as_of=as_of,
            engagement=engagement.shown(customer.known.engagement, terms.signals, as_of) if present else None,
        )
        if known is not None:
            place = next(places)
            valuation = msgspec.structs.replace(valuation, purchases=_purchases(cohort, place))
            if named is not None and looks is not None:
                valuation = _with_outlook(valuation, named.id, looks, place, terms.horizon)
        valuations.append(valuation)
    return valuations


class Forecast(msgspec.Struct, frozen=True):
    """What BG/NBD expects of a customer in the next `weeks`, with its own P(alive): no measure of churn, see there."""

    weeks: int
    purchases: float
    bg_nbd_p_alive: float


def forecast(customer: Customer, model: Model, as_of: datetime, zone: tzinfo, weeks: int) -> Forecast | None:
    """The forecast for one customer as of `as_of`; None before the first purchase."""
    through = last_known_day(as_of, zone)
    known = history(customer.known.days, through)
    if known is None:
        return None
    cohort = Cohort.of([known], through)
    parameters = model.bg_nbd.parameters
    alive = bg_nbd.p_alive(parameters, cohort.x.astype(float), cohort.t_x, cohort.T)
    return Forecast(weeks, _shown(holdout.expected(parameters, cohort, weeks), 0), _shown(alive, 0))


def _with_outlook(valuation: Valuation, model: str, looks: Outlook, place: int, horizon: Horizon) -> Valuation:
    return msgspec.structs.replace(
        valuation,
        rfm=_rfm(looks, place),
        churn=_churn(looks, place, horizon),
        ltv=_ltv(looks.worth, place, horizon),
        model=model,
    )


def _purchases(cohort: Cohort, place: int) -> Purchases:
    return Purchases(
        x=int(cohort.x[place]),
        t_x=round(int(cohort.t_x_days[place]) / DAYS_A_WEEK, 6),
        T=round(int(cohort.T_days[place]) / DAYS_A_WEEK, 6),
        mean_value=_shown(cohort.mean_value, place),
        count=int(cohort.orders[place]),
        value=_shown(cohort.value, place),
    )


def _rfm(looks: Outlook, place: int) -> Rfm:
    return Rfm(
        recency=int(looks.rfm.recency[place]),
        frequency=int(looks.rfm.frequency[place]),
        monetary=int(looks.rfm.monetary[place]),
        segment=looks.segments[place],
    )


def _churn(looks: Outlook, place: int, horizon: Horizon) -> Churn:
    return Churn(
        p_alive=_shown(looks.p_alive, place),
        risk=round(1 - float(looks.p_return[place]), 6),
        horizon_weeks=horizon.churn_weeks,
    )


def _ltv(worth: lifetime_value.Worth, place: int, horizon: Horizon) -> LifetimeValue:
    return LifetimeValue(
        value=_shown(worth.value, place),
        low=_shown(worth.low, place),
        high=_shown(worth.high, place),
        horizon_months=horizon.ltv_months,
        expected_purchases=_shown(worth.purchases, place),
        expected_value=_shown(worth.per_purchase, place),
    )


def _shown(values: Array, place: int) -> float:
    """Six decimals: more than anybody reads, few enough that the last bits of a sum never show."""
    return round(float(values[place]), 6)
