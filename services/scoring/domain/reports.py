"""Measures over all customers: their scores counted, their worth summed, what was expected beside what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, tzinfo

import msgspec
import numpy as np

from services.scoring.domain import bg_nbd, holdout, lifetime_value, rfm
from services.scoring.domain.cohort import Integers
from services.scoring.domain.dropout import DAYS_A_WEEK
from services.scoring.domain.holdout import Holdout
from services.scoring.domain.lifetime_value import WEEKS_A_MONTH
from services.scoring.domain.observed import Observed
from services.scoring.domain.purchases import last_known_day
from services.scoring.domain.rfm import Cuts
from services.scoring.domain.scores import Named
from services.scoring.domain.terms import Terms
from shared.identifiers import Identifier


class Window(msgspec.Struct, frozen=True):
    """What is looked at: the state as of a moment, and, where a later one is named, what happened until then."""

    as_of: datetime
    until: datetime | None = None

    def days(self, zone: tzinfo) -> tuple[date, date]:
        """The last day of the state, and the last one looked at."""
        through = last_known_day(self.as_of, zone)
        return through, last_known_day(self.until, zone) if self.until is not None else through

    def weeks(self, zone: tzinfo) -> float:
        """How long it is, in whole days; 0 without an end, below 0 where it ends before it begins."""
        through, until = self.days(zone)
        return (until - through).days / DAYS_A_WEEK


# --- RFM -------------------------------------------------------------------------------------------------------------


class Scale(msgspec.Struct, frozen=True):
    """One of the three letters: how many customers have each score, and which scores nobody has."""

    counts: dict[int, int]
    empty: list[int]


class Best(msgspec.Struct, frozen=True):
    """Customers with all three scores at 4 or 5, and their share of the money that came in later."""

    customers: int
    later_value_share: float | None


class RfmReport(msgspec.Struct, frozen=True, kw_only=True):
    window: Window
    model: str
    customers: int
    cuts: Cuts
    recency: Scale
    frequency: Scale
    monetary: Scale
    segments: dict[str, int]
    best: Best


def rfm_report(customers: Observed, named: Named, window: Window) -> RfmReport:
    """How many customers have which score and are in which segment, by the model's cuts."""
    cohort, later = customers.cohort, customers.later
    scores = rfm.scores(cohort, named.model.rfm)
    best = (scores.recency >= 4) & (scores.frequency >= 4) & (scores.monetary >= 4)
    spent = float(later.value.sum())
    return RfmReport(
        window=window,
        model=named.id,
        customers=len(cohort),
        cuts=named.model.rfm,
        recency=_scale(scores.recency),
        frequency=_scale(scores.frequency),
        monetary=_scale(scores.monetary),
        segments=dict(sorted(Counter(scores.segments).items())),
        best=Best(int(best.sum()), float(later.value[best].sum()) / spent if window.until and spent else None),
    )


def _scale(scores: Integers) -> Scale:
    found = Counter(scores.tolist())
    counts = {score: found.get(score, 0) for score in rfm.SCORES}
    return Scale(counts, rfm.empty(counts))


# --- value -----------------------------------------------------------------------------------------------------------


class Cumulative(msgspec.Struct, frozen=True):
    """Repeat purchases of all customers since each one's first: what the model says without looking at anybody."""

    predicted: float
    actual: int


class ValueReport(msgspec.Struct, frozen=True, kw_only=True):
    """`ltv` is the sum over customers, `value` their money so far. The rest only in a window with an end."""

    window: Window
    model: str
    customers: int
    ltv: float
    value: float
    later_value: float | None = None
    purchases: Holdout | None = None
    cumulative: Cumulative | None = None


def value_report(customers: Observed, named: Named, window: Window, terms: Terms) -> ValueReport:
    """What all customers are worth; in a window with an end, the forecast beside what they really bought."""
    cohort, later, weeks = customers.cohort, customers.later, window.weeks(terms.zone)
    report = ValueReport(
        window=window,
        model=named.id,
        customers=len(cohort),
        ltv=float(lifetime_value.value(cohort, named.model, terms.horizon).sum()),
        value=float(cohort.value.sum()),
    )
    if not weeks:
        return report
    parameters = named.model.bg_nbd.parameters
    return msgspec.structs.replace(
        report,
        later_value=float(later.value.sum()),
        purchases=holdout.holdout(parameters, cohort, later, weeks),
        cumulative=Cumulative(
            predicted=float(bg_nbd.expected_since_first(parameters, cohort.T + weeks).sum()),
            actual=int(cohort.x.sum() + later.purchases.sum()),
        ),
    )


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """One customer: what is expected, and, in a window with an end, what came. Sorts the most valuable first."""

    profile_id: str
    ltv: float
    purchases: int
    value: float
    expected_purchases: float
    actual_purchases: int | None
    actual_value: float | None
    identifier: Identifier | None = None

    @property
    def rank(self) -> tuple[float, str]:
        """To sort by: the highest LTV first, ties in the order of profile ids."""
        return -self.ltv, self.profile_id


def most_valuable(customers: Observed, named: Named, window: Window, terms: Terms, limit: int) -> list[Expectation]:
    """The `limit` of these with the highest LTV. Purchases are those expected in the window, else in LTV's horizon."""
    cohort, later, weeks = customers.cohort, customers.later, window.weeks(terms.zone)
    ltv = lifetime_value.value(cohort, named.model, terms.horizon)
    ahead = weeks or terms.horizon.ltv_months * WEEKS_A_MONTH
    expected = holdout.expected(named.model.bg_nbd.parameters, cohort, ahead)
    return [
        Expectation(
            profile_id=customers.profiles[place],
            ltv=float(ltv[place]),
            purchases=int(cohort.frequency[place]),
            value=float(cohort.value[place]),
            expected_purchases=float(expected[place]),
            actual_purchases=int(later.purchases[place]) if weeks else None,
            actual_value=float(later.value[place]) if weeks else None,
        )
        for place in np.lexsort((np.array(customers.profiles), -ltv))[:limit].tolist()
    ]


def called(identifiers: Sequence[Identifier]) -> Identifier | None:
    """By which of these (sorted) a person is called: a user id where there is one."""
    users = [each for each in identifiers if each.kind == "user_id"]
    return next(iter(users or identifiers), None)
