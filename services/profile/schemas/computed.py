"""Computed traits: how they are defined, how far they are filled, what they are of a person."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from services.profile.domain.computed.definitions import LONGEST_WINDOW, AggregateName
from shared.paging import TEXT

_FORMULA: dict[str, Any] = {
    "name": "Spent online in the last 30 days",
    "event": "Order Completed",
    "aggregate": "sum",
    "property": "total",
    "filter": 'channel == "web" && properties.currency == "EUR"',
    "window_days": 30,
}


_COMPLETE_FROM = (
    "Where history was not all there any more when it was filled: events from before this moment may be missing."
)


class ComputedFormula(BaseModel):
    """What a person says about a computed trait: an aggregate over the `track` calls of one name."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _FORMULA})

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=TEXT)]
    event: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=TEXT)]
    aggregate: AggregateName = Field(
        description="`sum`, `average`, `min` and `max` are of numbers, written or as text (as `12.50` or `1e3`, "
        "without other signs), up to the sixth decimal and to 10^21, below zero as well; "
        "`first`, `last` and `most_frequent` of texts up to 200 characters, numbers and truth values; `distinct` "
        "counts different texts, numbers and truth values. What is none of these does not count."
    )
    property: Annotated[
        str | None,
        StringConstraints(min_length=1, max_length=200, pattern=TEXT),
        Field(
            description="Dotted path inside `properties`, such as `products.0.price`: names, and places in lists, from "
            "0. Where an object has the whole of it as one name (`price.usd`), that is taken. Only a count has none."
        ),
    ] = None
    filter: Annotated[
        str | None,
        StringConstraints(min_length=1, pattern=TEXT),
        Field(
            description="In CEL, over `properties`, `channel`, `name`, `source` and `trust`: only events that it holds "
            "for count."
        ),
    ] = None
    window_days: int | None = Field(
        default=None,
        ge=1,
        le=LONGEST_WINDOW,
        strict=True,
        description="Only the last so many days, today included, on the account's calendar; null: all time.",
    )

    @field_validator("property")
    @classmethod
    def _property_of_names(cls, path: str | None) -> str | None:
        if path is not None and any(not step or step != step.strip() for step in path.split(".")):
            raise ValueError(
                f"{path!r} has an empty name, or one with spaces around it: write names, with a dot between two, as "
                "products.0.price"
            )
        return path

    @model_validator(mode="after")
    def _property_where_needed(self) -> Self:
        if self.aggregate != "count" and self.property is None:
            raise ValueError(f"property: name the property whose {self.aggregate} it is")
        if self.aggregate == "count" and self.property is not None:
            raise ValueError("property: a count has none; to count only events that have it, say so in the filter")
        return self


class ComputedProgress(BaseModel):
    share: float = Field(ge=0, le=1, description="How much of history was looked at; an estimate until it is 1.")
    touchpoints_looked_at: int
    touchpoints_counted: int


_COMPUTED: dict[str, Any] = {
    "id": "spent_online_30d",
    **_FORMULA,
    "revision": 4,
    "saved_at": "2026-03-01T10:00:00.000Z",
    "status": "filling",
    "shown_revision": 2,
    "progress": {"share": 0.25, "touchpoints_looked_at": 250000, "touchpoints_counted": 1200},
    "complete_from": None,
}


class ComputedBody(BaseModel):
    """The newest revision of a computed trait."""

    model_config = ConfigDict(json_schema_extra={"example": _COMPUTED})

    id: str
    revision: int = Field(description="Grows whenever the formula changes.")
    name: str
    event: str
    aggregate: AggregateName
    property: str | None
    filter: str | None
    window_days: int | None
    saved_at: str
    status: Literal["filling", "ready"] = Field(description="`ready`: it is whole, and every view follows it.")
    shown_revision: int | None = Field(description="The revision that views show; null while there is none.")
    progress: ComputedProgress
    complete_from: str | None = Field(description=_COMPLETE_FROM)


class ComputedPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"computed": [_COMPUTED], "next": None}})

    computed: list[ComputedBody]
    next: str | None


class ComputedValue(BaseModel):
    id: str
    name: str
    revision: int
    value: Any = Field(description="Null where nothing is known.")
    exact: bool = Field(
        description="False where a person has more different values than are kept: then `distinct` is an estimate, and "
        "`most_frequent` is of a sample of the values."
    )
    window_days: int | None
    complete_from: str | None = Field(description=_COMPLETE_FROM)


class ComputedOfPerson(BaseModel):
    """Every computed trait that shows, by id, as of now."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "computed": [
                    {
                        "id": "pages_30d",
                        "name": "Different pages in the last 30 days",
                        "revision": 4,
                        "value": 1930,
                        "exact": False,
                        "window_days": 30,
                        "complete_from": None,
                    }
                ]
            }
        }
    )

    computed: list[ComputedValue]
