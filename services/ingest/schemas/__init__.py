"""HTTP bodies of ingest, by resource. The tracking API's own are structs in `domain`, decoded without pydantic."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict

TEXT = r"^[^\x00]*$"
"""What PostgreSQL takes as text."""

AnyText: Any = Annotated[str, msgspec.Meta(pattern=TEXT)]
"""Such a text in a cursor."""


class Body(BaseModel):
    """What a client sends. A field that we don't know is a mistake: `orgins` must not mean "from everywhere"."""

    model_config = ConfigDict(extra="forbid")


class Refusal(BaseModel):
    """Every error: a code that stays, a sentence for people, and for bad fields their paths."""

    code: str
    message: str
    details: list[dict[str, Any]] | None = None
