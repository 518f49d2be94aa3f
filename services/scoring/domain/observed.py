"""Customers as they stood on one day, with what they did after it: what models are fitted on and held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from services.scoring.domain.cohort import Cohort
from services.scoring.domain.holdout import Outcome
from services.scoring.domain.purchases import Days, history, purchases_between
from shared.amounts import MICROS


@dataclass(frozen=True)
class Observed:
    """Side by side: what stands at one place of `profiles`, `cohort` and `later` is about one customer."""

    profiles: Sequence[str]
    cohort: Cohort
    later: Outcome
    last_day: date
    """The last day with a purchase by any of them in what was looked at; the day itself where nobody bought after."""

    @classmethod
    def joined(cls, sides: Sequence[Observed]) -> Observed:
        """All sides, at least one, one after the other."""
        return cls(
            profiles=[profile_id for side in sides for profile_id in side.profiles],
            cohort=Cohort.joined([side.cohort for side in sides]),
            later=Outcome.joined([side.later for side in sides]),
            last_day=max(side.last_day for side in sides),
        )


def observed(people: Sequence[tuple[str, Days]], through: date, until: date) -> Observed:
    """Those of `people` who had bought by the end of `through`, with what they did after it and through `until`."""
    known = [(profile_id, days, history(days, through)) for profile_id, days in people]
    there = [(profile_id, days, past) for profile_id, days, past in known if past is not None]
    later = [purchases_between(days, through, until) for _, days, _ in there]
    bought_on = (day for _, days, _ in there for day, total in days.items() if total.orders and through < day <= until)
    return Observed(
        profiles=[profile_id for profile_id, _, _ in there],
        cohort=Cohort.of([past for _, _, past in there], through),
        later=Outcome(
            np.array([purchases for purchases, _ in later], dtype=np.int64),
            np.array([micros / MICROS for _, micros in later], dtype=np.float64),
        ),
        last_day=max(bought_on, default=through),
    )
