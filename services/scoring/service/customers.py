"""All customers, chunk by chunk: their states on one day, and what they did after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from services.scoring.domain.cohort import Cohort
from services.scoring.domain.holdout import Outcome
from services.scoring.domain.purchases import MICROS, Days, history, purchases_between
from services.scoring.store import fragments
from shared.db import Work


@dataclass(frozen=True)
class Chunk:
    """Some customers who had bought by the day, side by side: `profiles[i]` is the one in place i of the others."""

    profiles: Sequence[str]
    cohort: Cohort
    later: Outcome
    last_day: date | None
    """The last day with a purchase by any of them in what was looked at; None where nobody bought after the day."""


async def customers(work: Work, through: date, until: date) -> AsyncIterator[Chunk]:
    """Everybody who had bought by the end of `through`, with what they did after it and through `until`."""
    async for people in fragments.purchases(work):
        yield _chunk(people, through, until)


def _chunk(people: Sequence[tuple[str, Days]], through: date, until: date) -> Chunk:
    known = [(profile_id, days, history(days, through)) for profile_id, days in people]
    there = [(profile_id, days, past) for profile_id, days, past in known if past is not None]
    later = [purchases_between(days, through, until) for _, days, _ in there]
    return Chunk(
        profiles=[profile_id for profile_id, _, _ in there],
        cohort=Cohort.of([past for _, _, past in there], through),
        later=Outcome(
            np.array([purchases for purchases, _ in later], dtype=np.int64),
            np.array([micros for _, micros in later], dtype=np.int64) / MICROS,
        ),
        last_day=max(
            (day for _, days, _ in there for day, total in days.items() if total.orders and through < day <= until),
            default=None,
        ),
    )
