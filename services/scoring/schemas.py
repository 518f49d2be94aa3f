"""HTTP bodies, as the documentation shows them. Made from the domain's values attribute by attribute."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from shared.clock import rfc3339
from shared.moments import Moment

Shown = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
"""RFC 3339 in UTC with milliseconds, whatever it was given as."""

Four = tuple[float, float, float, float]


class Body(BaseModel):
    model_config = ConfigDict(from_attributes=True, protected_namespaces=())


# --- one customer ----------------------------------------------------------------------------------------------------


class EngagementBody(Body):
    score: float = Field(description="0 to 100.")
    positive: float
    negative: float


class PurchasesBody(Body):
    x: int = Field(description="Purchase days but the first.")
    t_x: float = Field(description="Weeks from the first to the last purchase day.")
    T: float = Field(description="Weeks since the first purchase day.")
    mean_value: float = Field(description="Mean money of the repeat days.")
    count: int = Field(description="Orders.")
    value: float = Field(description="Money of all orders less refunds.")


class RfmBody(Body):
    recency: int
    frequency: int
    monetary: int
    segment: str


class ChurnBody(Body):
    p_alive: float = Field(description="That the customer still is one (MBG/NBD).")
    risk: float = Field(description="That the customer buys nothing within the horizon.")
    horizon_weeks: int


class LifetimeValueBody(Body):
    value: float
    low: float
    high: float = Field(description="With `low`: 90 % for the expected value, from the parameters' uncertainty alone.")
    horizon_months: int
    expected_purchases: float
    expected_value: float = Field(description="Of one purchase.")


class ForecastBody(Body):
    weeks: int
    purchases: float = Field(description="Expected in that time (BG/NBD).")
    bg_nbd_p_alive: float = Field(description="Behind that forecast; `churn` is what to read for churn.")


class ScoresBody(Body):
    profile_id: str
    version: int
    as_of: Shown
    engagement: EngagementBody | None
    purchases: PurchasesBody | None
    rfm: RfmBody | None
    churn: ChurnBody | None
    ltv: LifetimeValueBody | None
    model: str | None
    forecast: ForecastBody | None = None


# --- models ----------------------------------------------------------------------------------------------------------


class RefitBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    as_of: Moment | None = Field(default=None, description="Fit on what was known then; now when left out.")
    activate: bool = Field(default=False, strict=True, description="Make the scores with it as soon as it is ready.")


class Accepted(Body):
    id: str
    status: str


class DropoutBody(Body):
    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float


class SpendingBody(Body):
    p: float
    q: float
    v: float
    log_likelihood: float


class CutsBody(Body):
    recency: Four = Field(description="Days since the last purchase.")
    frequency: Four = Field(description="Purchase days.")
    monetary: Four


class ForecastTotal(Body):
    total: float
    error: float | None = Field(description="Of the total, as a share of the actual one.")
    correlation: float | None = Field(description="Over customers, with what each really bought.")


class HoldoutBody(Body):
    weeks: float
    customers: int
    actual: int
    model: ForecastTotal
    naive: ForecastTotal = Field(description="If everybody went on at x/T.")


class ModelBody(Body):
    """A model version. What only a finished fit knows is null before."""

    id: str
    status: Literal["fitting", "ready", "active", "retired", "failed"]
    as_of: Shown
    requested_at: Shown
    finished_at: Shown | None
    fit_seconds: float | None
    reason: str | None = Field(description="Why the fit failed.")
    customers: int | None = None
    repeaters: int | None = None
    first_day: date | None = None
    last_day: date | None = None
    bg_nbd: DropoutBody | None = None
    mbg_nbd: DropoutBody | None = None
    gamma_gamma: SpendingBody | None = None
    rfm: CutsBody | None = None
    holdout: HoldoutBody | None = None


class ModelsBody(Body):
    models: list[ModelBody]
    next: str | None


# --- all customers ---------------------------------------------------------------------------------------------------


class WindowBody(Body):
    as_of: Shown
    until: Shown | None


class ScaleBody(Body):
    counts: dict[int, int]
    empty: list[int] = Field(description="Scores that nobody has, because customers tie.")


class ScalesBody(Body):
    recency: ScaleBody
    frequency: ScaleBody
    monetary: ScaleBody


class SegmentBody(Body):
    name: str
    customers: int


class BestBody(Body):
    customers: int = Field(description="With all three scores at 4 or 5.")
    later_value_share: float | None = Field(description="Of the money between `as_of` and `until`.")


class RfmReportBody(Body):
    window: WindowBody
    model: str
    customers: int
    cuts: CutsBody
    scores: ScalesBody
    segments: list[SegmentBody]
    best: BestBody


class CumulativeBody(Body):
    predicted: float
    actual: int


class ValueReportBody(Body):
    window: WindowBody
    model: str
    customers: int
    ltv: float = Field(description="Sum over all customers.")
    value: float = Field(description="Money so far.")
    later_value: float | None = Field(description="Money between `as_of` and `until`.")
    purchases: HoldoutBody | None
    cumulative: CumulativeBody | None = Field(description="Repeat purchases since each customer's first, at `until`.")


class ExpectationBody(Body):
    profile_id: str
    identifier: str | None
    ltv: float
    purchases: int
    value: float
    expected_purchases: float = Field(description="Until `until`, or within the horizon of lifetime value.")
    actual_purchases: int | None
    actual_value: float | None


class TopBody(Body):
    window: WindowBody
    customers: list[ExpectationBody]
