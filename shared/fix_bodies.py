"""How a request says a fix (`shared/fixes.py`): fields by expression, a JSON Patch, or the whole event."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.fixes import OPERATIONS, Fix, Patch, Replacement, Setting, steps
from shared.rules import compile_expression

DEPTH = 32
"""Levels of objects and lists in what a fix puts into an event."""

BYTES = 32 * 1024
"""Of a whole fix: as many as an event may have."""


class Operation(BaseModel):
    """One operation of a JSON Patch (RFC 6902)."""

    model_config = ConfigDict(extra="forbid")

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: str = Field(max_length=1_000, examples=["/properties/total"])
    origin: str | None = Field(default=None, alias="from", max_length=1_000)
    value: Any = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = self.model_fields_set
        if self.op in ("add", "replace", "test") and "value" not in given:
            raise ValueError(f"{self.op} needs value")
        if self.op in ("move", "copy") and self.origin is None:
            raise ValueError(f"{self.op} needs from")
        if any(pointer and not pointer.startswith("/") for pointer in (self.path, self.origin)):
            raise ValueError("path and from are JSON Pointers: they begin with /")
        return self


def _field(name: str) -> str:
    steps(name)
    return name


FieldName = Annotated[str, StringConstraints(min_length=1, max_length=1_000), AfterValidator(_field)]


class FixBody(BaseModel):
    """How to mend them: exactly one of these."""

    model_config = ConfigDict(extra="forbid")

    patch: list[Operation] | None = Field(default=None, min_length=1, max_length=OPERATIONS)
    set: dict[FieldName, str] | None = Field(
        default=None,
        min_length=1,
        max_length=OPERATIONS,
        description="Fields, each with an expression in CEL over `event`, the event as it was received.",
        examples=[{"properties.total": "double(event.properties.total)"}],
    )
    body: dict[str, Any] | None = Field(default=None, description="The whole event; only for exactly one id.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.patch, self.set, self.body)) != 1:
            raise ValueError("give exactly one of patch, set and body")
        if any(_deeper(value, DEPTH) for value in (self.body, *(each.value for each in self.patch or ()))):
            raise ValueError(f"a fix may be nested {DEPTH} levels deep")
        written = json.dumps(self.model_dump(), ensure_ascii=False, allow_nan=False)  # Python reads NaN as JSON
        if len(written.encode()) > BYTES:
            raise ValueError(f"a fix may have {BYTES} bytes")
        return self

    def read(self) -> Fix:
        """The fix itself. Raises RuleRefused for an expression that is none."""
        if self.set is not None:
            return Setting({name: compile_expression(text, path=f"fix.set.{name}") for name, text in self.set.items()})
        if self.patch is not None:
            return Patch(tuple(each.model_dump(by_alias=True, exclude_unset=True) for each in self.patch))
        return Replacement(msgspec.json.encode(self.body))

    def told(self) -> Any:
        """The fix as an audit has it: without the event itself where somebody wrote one, for the audit stays."""
        return "body" if self.body is not None else self.model_dump(by_alias=True, exclude_unset=True, mode="json")


def _deeper(value: object, levels: int) -> bool:
    """Tell whether `value` is nested more than `levels` deep; a plain value is no level."""
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(each, levels - 1) for each in inside)
