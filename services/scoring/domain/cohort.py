"""Customers side by side: one array a quantity, so that very many are scored, fitted and counted at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date

import numpy as np
from numpy.typing import NDArray

from services.scoring.domain.dropout import DAYS_A_WEEK
from services.scoring.domain.fitting import Array
from services.scoring.domain.purchases import History
from shared.amounts import MICROS

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Cohort:
    """The purchase states of customers through one day, in the letters of Fader, Hardie & Lee (2005)."""

    x: Integers
    """Purchase days but the first."""
    t_x_days: Integers
    """From the first to the last purchase day."""
    T_days: Integers
    """From the first purchase day until now."""
    orders: Integers
    mean_value: Array
    """z̄, of the repeat days; 0 without any."""
    value: Array
    """The money of all purchases less refunds."""

    @classmethod
    def of(cls, histories: Sequence[History], through: date) -> Cohort:
        """The cohort of these histories, each known through the day `through`."""
        now = through.toordinal()
        rows = [
            (
                each.days - 1,
                each.last.toordinal() - each.first.toordinal(),
                now - each.first.toordinal(),
                each.orders,
            )
            for each in histories
        ]
        x, t_x_days, T_days, orders = np.array(rows, dtype=np.int64).reshape(len(rows), 4).T
        # Divided before it is NumPy's: micros are of any size, an int64 is not.
        mean_value = [each.repeat_micros / max(each.days - 1, 1) / MICROS for each in histories]
        value = [each.micros / MICROS for each in histories]
        return cls(x, t_x_days, T_days, orders, np.array(mean_value, np.float64), np.array(value, np.float64))

    @classmethod
    def joined(cls, sides: Sequence[Cohort]) -> Cohort:
        """All sides, one after the other."""
        return cls(*(np.concatenate([getattr(side, each.name) for side in sides]) for each in fields(cls)))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def t_x(self) -> Array:
        """In weeks."""
        return self.t_x_days / DAYS_A_WEEK

    @property
    def T(self) -> Array:  # noqa: N802 - the papers' letter
        """In weeks."""
        return self.T_days / DAYS_A_WEEK

    @property
    def idle_days(self) -> Integers:
        """Since the last purchase day: recency, as RFM has it."""
        return self.T_days - self.t_x_days

    @property
    def frequency(self) -> Integers:
        """Purchase days."""
        return self.x + 1
