"""A model version: the three sets of parameters and the RFM cuts, fitted together on one state of all customers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import msgspec
import numpy as np

from services.scoring.domain import bg_nbd, gamma_gamma, mbg_nbd, rfm
from services.scoring.domain.cohort import Cohort
from services.scoring.domain.dropout import Cells
from services.scoring.domain.fitting import Array, Estimate, NotFitted
from services.scoring.domain.holdout import Holdout
from services.scoring.domain.rfm import Cuts

FEWEST_DAYS = 7
"""Nothing can be said of who returns where nobody has had the time to."""

Matrix = tuple[tuple[float, ...], ...]


class Dropout(msgspec.Struct, frozen=True):
    """BG/NBD or MBG/NBD, in weeks. The covariance is that of (ln r, ln α, ln a, ln b)."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    covariance: Matrix

    @property
    def parameters(self) -> Array:
        return np.array([self.r, self.alpha, self.a, self.b])


class Spending(msgspec.Struct, frozen=True):
    """Gamma-Gamma, in the account's currency. The covariance is that of (ln p, ln q, ln v)."""

    p: float
    q: float
    v: float
    log_likelihood: float
    covariance: Matrix

    @property
    def parameters(self) -> Array:
        return np.array([self.p, self.q, self.v])


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What scores are computed with. `first_day` and `last_day` bound the purchases it was fitted on."""

    as_of: datetime
    customers: int
    repeaters: int
    first_day: date
    last_day: date
    bg_nbd: Dropout
    mbg_nbd: Dropout
    gamma_gamma: Spending
    rfm: Cuts
    holdout: Holdout | None = None


def fitted(cohort: Cohort, as_of: datetime, through: date, minimum: int) -> Model:
    """The model of these customers, whose states are those of the day `through`.

    Raises NotFitted where there are fewer than `minimum` customers, or fewer than `minimum` of them came back with
    money, where the first of them is days old, and where the search finds no parameters.
    """
    repeaters = (cohort.x > 0) & (cohort.mean_value > 0)
    _enough(len(cohort), minimum, "customers with a purchase")
    _enough(int(repeaters.sum()), minimum, "customers who bought again")
    if cohort.T_days.max() < FEWEST_DAYS:
        raise NotFitted(f"a model needs customers of at least {FEWEST_DAYS} days, and the first one bought since")
    cells = Cells.of(cohort.x, cohort.t_x_days, cohort.T_days)
    return Model(
        as_of=as_of,
        customers=len(cohort),
        repeaters=int(repeaters.sum()),
        first_day=date.fromordinal(through.toordinal() - int(cohort.T_days.max())),
        last_day=date.fromordinal(through.toordinal() - int(cohort.idle_days.min())),
        bg_nbd=_dropout(bg_nbd.fit(cells)),
        mbg_nbd=_dropout(mbg_nbd.fit(cells)),
        gamma_gamma=_spending(gamma_gamma.fit(cohort.x[repeaters].astype(float), cohort.mean_value[repeaters])),
        rfm=rfm.cuts(cohort),
    )


def _enough(count: int, minimum: int, whom: str) -> None:
    if count < minimum:
        raise NotFitted(f"a model needs at least {minimum} {whom}, and there are {count}")


def _dropout(estimate: Estimate) -> Dropout:
    r, alpha, a, b = estimate.parameters.tolist()
    return Dropout(r, alpha, a, b, estimate.log_likelihood, _matrix(estimate.covariance.tolist()))


def _spending(estimate: Estimate) -> Spending:
    p, q, v = estimate.parameters.tolist()
    return Spending(p, q, v, estimate.log_likelihood, _matrix(estimate.covariance.tolist()))


def _matrix(rows: Sequence[Sequence[float]]) -> Matrix:
    return tuple(tuple(row) for row in rows)
