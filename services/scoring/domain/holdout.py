"""What was expected against what happened: the test of a model on purchases it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from services.scoring.domain import bg_nbd
from services.scoring.domain.cohort import Cohort, Integers
from services.scoring.domain.fitting import Array


@dataclass(frozen=True)
class Outcome:
    """What each customer of a cohort did in the time after it: purchase days, and money less refunds."""

    purchases: Integers
    value: Array

    @classmethod
    def joined(cls, sides: Sequence[Outcome]) -> Outcome:
        """All sides, one after the other."""
        return cls(np.concatenate([side.purchases for side in sides]), np.concatenate([side.value for side in sides]))


class Forecast(msgspec.Struct, frozen=True):
    """A total that was predicted: `error` is its share of the actual one, `correlation` is over customers.

    Null where it can't be said: nobody bought, or everybody did the same.
    """

    total: float
    error: float | None
    correlation: float | None


class Holdout(msgspec.Struct, frozen=True, kw_only=True):
    """The model's forecast for some weeks, and the naive one (everybody goes on at x/T) beside the real total."""

    weeks: float
    customers: int
    actual: int
    model: Forecast
    naive: Forecast


def expected(parameters: Array, cohort: Cohort, weeks: float) -> Array:
    """The purchases that BG/NBD expects of each customer in the next `weeks`."""
    return bg_nbd.expected_purchases(parameters, weeks, cohort.x.astype(float), cohort.t_x, cohort.T)


def naive(cohort: Cohort, weeks: float) -> Array:
    """The purchases if everybody went on as before: x/T a week."""
    return np.where(cohort.T > 0, cohort.x / np.where(cohort.T > 0, cohort.T, 1.0), 0.0) * weeks


def holdout(parameters: Array, cohort: Cohort, outcome: Outcome, weeks: float) -> Holdout:
    """How the model's expectation for the next `weeks` compares with `outcome`."""
    return Holdout(
        weeks=weeks,
        customers=len(cohort),
        actual=int(outcome.purchases.sum()),
        model=_forecast(expected(parameters, cohort, weeks), outcome.purchases),
        naive=_forecast(naive(cohort, weeks), outcome.purchases),
    )


def _forecast(predicted: Array, actual: Integers) -> Forecast:
    total, real = float(predicted.sum()), int(actual.sum())
    varies = len(actual) > 1 and predicted.std() > 0 and actual.std() > 0
    return Forecast(
        total=total,
        error=total / real - 1 if real else None,
        correlation=float(np.corrcoef(predicted, actual)[0, 1]) if varies else None,
    )
