"""The parts of the services' answers that the demo shows. What is not named here is left unread."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.events import Candidate

# --- scoring ---------------------------------------------------------------------------------------------------------


class Dropout(msgspec.Struct, frozen=True):
    """Parameters of BG/NBD and of MBG/NBD, in weeks."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float


class Spending(msgspec.Struct, frozen=True):
    """Parameters of Gamma-Gamma, in the account's currency."""

    p: float
    q: float
    v: float
    log_likelihood: float


class Model(msgspec.Struct, frozen=True):
    """One model version. Parameters are there once it is ready; `reason` where it failed."""

    id: str
    status: str
    as_of: str
    fit_seconds: float | None = None
    reason: str | None = None
    customers: int | None = None
    repeaters: int | None = None
    bg_nbd: Dropout | None = None
    mbg_nbd: Dropout | None = None
    gamma_gamma: Spending | None = None


class Models(msgspec.Struct, frozen=True):
    """The answer to GET /v1/models."""

    models: tuple[Model, ...]


class Forecast(msgspec.Struct, frozen=True):
    """A predicted total; its error as a share of the real one, its correlation over customers."""

    total: float
    error: float | None
    correlation: float | None


class Holdout(msgspec.Struct, frozen=True):
    """What was predicted for the weeks after, beside what came."""

    weeks: float
    customers: int
    actual: int
    model: Forecast
    naive: Forecast


class Cumulative(msgspec.Struct, frozen=True):
    """Repeat purchases since each customer's first."""

    predicted: float
    actual: int


class ValueReport(msgspec.Struct, frozen=True):
    """The answer to GET /v1/metrics/value."""

    customers: int
    ltv: float
    value: float
    later_value: float | None
    purchases: Holdout | None
    cumulative: Cumulative | None


class Expectation(msgspec.Struct, frozen=True):
    """What was expected of one customer, and what they did."""

    profile_id: str
    identifier: str | None
    ltv: float
    purchases: int
    value: float
    expected_purchases: float
    actual_purchases: int | None
    actual_value: float | None


class Top(msgspec.Struct, frozen=True):
    """The answer to GET /v1/metrics/value/top."""

    customers: tuple[Expectation, ...]


class RfmSegment(msgspec.Struct, frozen=True):
    name: str
    customers: int


class Best(msgspec.Struct, frozen=True):
    """The customers with all three scores at 4 or 5, and their share of the money that came later."""

    customers: int
    later_value_share: float | None


class RfmReport(msgspec.Struct, frozen=True):
    """The answer to GET /v1/metrics/rfm."""

    customers: int
    segments: tuple[RfmSegment, ...]
    best: Best


# --- personalize -----------------------------------------------------------------------------------------------------


class OfferShown(msgspec.Struct, frozen=True):
    """One offer of a decision's answer."""

    offer_id: str
    rank: int
    score: float
    propensity: float
    content: dict[str, Any] = {}


class Decision(msgspec.Struct, frozen=True):
    """The answer to POST /v1/decide."""

    decision_id: str
    holdout: bool
    silence: str | None
    offers: tuple[OfferShown, ...]
    profile_id: str | None = None
    profile_version: int | None = None
    degraded: tuple[str, ...] = ()


class DecisionRecord(msgspec.Struct, frozen=True):
    """The answer to GET /v1/decisions/{id}: every offer of the placement, with the gate it failed or its numbers."""

    candidates: tuple[Candidate, ...]
