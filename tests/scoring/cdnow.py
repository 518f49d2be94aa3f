"""CDNOW for tests: real customers, from raw rows to the states that the models read, by the service's own code."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from services.scoring.domain import fragment
from services.scoring.domain.cohort import Cohort
from services.scoring.domain.engagement import Signals
from services.scoring.domain.holdout import Outcome
from services.scoring.domain.model import Model, fitted
from services.scoring.domain.purchases import Days, history, last_known_day, purchases_between
from shared.amounts import MICROS
from shared.events import Touchpoint
from tests.builders import touchpoint

FOLDER = Path(__file__).parent.parent / "data"

CALIBRATED = datetime(1997, 10, 1, tzinfo=UTC)
"""The state that everything is fitted on: through 1997-09-30."""

THROUGH = last_known_day(CALIBRATED, UTC)

HELD_OUT = 39
"""Weeks that follow, up to the end of the data."""

UNTIL = date(1998, 6, 30)

DECEMBER = datetime(1998, 12, 1, tzinfo=UTC)
"""When the orders reach us, long after: as the past would, on the first day of a new system."""


class Row(NamedTuple):
    customer: str
    day: date
    discs: int
    dollars: str


class Summary(NamedTuple):
    """What the literature says of a customer at the end of the calibration."""

    x: float
    t_x: float
    T: float
    mean_value: float


@cache
def rows() -> tuple[Row, ...]:
    lines = (FOLDER / "CDNOW_sample.txt").read_text().splitlines()
    cut = (line.split() for line in lines)
    return tuple(
        Row(customer, datetime.strptime(day, "%Y%m%d").date(), int(discs), dollars)
        for _, customer, day, discs, dollars in cut
    )


@cache
def summaries() -> dict[str, Summary]:
    with (FOLDER / "cdnow_customers_summary_with_transactions.csv").open() as file:
        return {
            f"{int(line['ID']):04}": Summary(*(float(line[name]) for name in ("x", "t_x", "T", "zbar")))
            for line in csv.DictReader(file)
        }


@cache
def touchpoints() -> tuple[Touchpoint, ...]:
    """Every order, at noon of its day, in the order of the file."""
    return tuple(
        touchpoint(
            "Order Completed",
            user=f"cdnow-{row.customer}",
            at=datetime(row.day.year, row.day.month, row.day.day, 12, tzinfo=UTC),
            received_at=DECEMBER,
            id=f"cdnow-{number}",
            source="server",
            channel="store",
            properties={"order_id": f"cdnow-{number}", "total": float(row.dollars), "currency": "USD"},
        )
        for number, row in enumerate(rows())
    )


def folded(orders: Iterable[Touchpoint]) -> dict[str, Days]:
    """Each customer's days, in the order of customers."""
    sides = defaultdict(list)
    for order in orders:
        sides[order.owner.value].append(fragment.fragment(order, Signals(), UTC))
    return {customer: fragment.merged(sides[customer]).days for customer in sorted(sides)}


@cache
def days() -> dict[str, Days]:
    return folded(touchpoints())


def cohort_of(everybody: Iterable[Days]) -> Cohort:
    """The state through 1997-09-30, when every one of them had bought."""
    histories = [history(each, THROUGH) for each in everybody]
    return Cohort.of([each for each in histories if each is not None], THROUGH)


@cache
def cohort() -> Cohort:
    return cohort_of(days().values())


@cache
def model() -> Model:
    return fitted(cohort(), CALIBRATED, THROUGH, 50)


@cache
def later() -> Outcome:
    """What they did in the 39 weeks that the model has not seen."""
    outcomes = np.array([purchases_between(each, THROUGH, UNTIL) for each in days().values()])
    return Outcome(outcomes[:, 0], outcomes[:, 1] / MICROS)


def moved(model: Model, dropout: tuple[float, float, float, float], spending: tuple[float, float, float]) -> Model:
    """`model` with other parameters in BG/NBD and Gamma-Gamma."""
    r, alpha, a, b = dropout
    p, q, v = spending
    return msgspec.structs.replace(
        model,
        bg_nbd=msgspec.structs.replace(model.bg_nbd, r=r, alpha=alpha, a=a, b=b),
        gamma_gamma=msgspec.structs.replace(model.gamma_gamma, p=p, q=q, v=v),
    )
