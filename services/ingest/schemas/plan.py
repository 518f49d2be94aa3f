"""Bodies of the tracking plan."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.ingest.domain.plan import Mode
from services.ingest.schemas import Body
from shared.paging import TEXT

_SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number", "minimum": 0}}}


class PlanBody(Body):
    """What a person says about an event."""

    mode: Mode = Field(
        description="`observe` lets calls that depart from the schema through and counts them, `enforce` rejects them, "
        "`off` knows the event and checks nothing.",
    )
    schema_: Any = Field(
        alias="schema",
        description="JSON Schema 2020-12, of the call's `properties` (`traits` of identify and group calls).",
        examples=[_SCHEMA],
    )
    version: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        strict=True,
        description="The version that you have seen, 0 where there was none: it is changed only while that holds.",
    )


class TryBody(Body):
    """A schema to be tried on what has been seen."""

    schema_: Any = Field(alias="schema", examples=[_SCHEMA])
    limit: int = Field(default=1_000, ge=1, le=10_000, strict=True, description="How many of the newest calls.")


class InferBody(Body):
    """Of which event a schema is to be proposed."""

    type: Literal["track", "page", "screen", "identify", "group"]
    name: str = Field(default="", max_length=512, pattern=TEXT, description="Empty for identify and group.")
    source: str = Field(default="*", max_length=100, pattern=TEXT)
    events: int = Field(default=1_000, ge=1, le=10_000, strict=True, description="How many of the newest calls.")


class _Answer(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)


class VersionAnswer(_Answer):
    source: str = Field(description="`*`: all that do not plan it for themselves.")
    type: str
    name: str
    version: int
    mode: Literal["observe", "enforce", "off", "removed"]
    schema_: dict[str, Any] = Field(alias="schema")
    saved_at: str
    saved_by: str = Field(description="The id of the key that it was saved with.")


class PlannedAnswer(VersionAnswer):
    departures: int = Field(description="In the last 7 days: each call counts once for each place where it departs.")


class VersionsAnswer(BaseModel):
    versions: list[VersionAnswer]
    next: str | None


class ListedEvent(BaseModel):
    source: str
    type: str
    name: str
    version: int
    mode: Mode
    saved_at: str
    saved_by: str
    departures: int


class PlanAnswer(BaseModel):
    events: list[ListedEvent]
    next: str | None


class Violation(BaseModel):
    source: str
    day: str
    mode: Literal["observe", "enforce"]
    path: str = Field(description="`[*]` stands for any item of a list, `.*` for any name that the plan does not know.")
    calls: int


class ViolationsAnswer(BaseModel):
    violations: list[Violation]


class TriedPlace(BaseModel):
    path: str
    calls: int
    code: str
    message: str = Field(description="What one of those calls would have been told.")


class TrialAnswer(BaseModel):
    checked: int
    would_violate: int
    reasons: list[TriedPlace]


class SeenField(BaseModel):
    path: str
    seen: int = Field(description="In how many values.")
    types: list[str]
    distinct: int = Field(description="Different values; 1000 stands for more, too.")


class InferredAnswer(_Answer):
    schema_: dict[str, Any] = Field(alias="schema")
    events: int
    looked_at: int = Field(description="Touchpoints at the end of the log among which they were looked for.")
    note: str | None = Field(description="What to mind, where it was made from little.")
    fields: list[SeenField]
    names: dict[str, int] = Field(description="Other names of that type with their calls, where none was found.")


class SeenEvent(BaseModel):
    source: str
    type: str
    name: str
    calls: int
    last_at: str
    planned: Mode | None = Field(description="The mode in which the plan has it; null where it does not know it.")


class SeenAnswer(BaseModel):
    events: list[SeenEvent]
    looked_at: int
