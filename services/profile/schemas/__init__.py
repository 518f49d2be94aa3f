"""HTTP bodies of profile, by resource: here what several of them share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from shared.events import Trust
from shared.paging import TEXT

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=TEXT)]


class NamedBy(BaseModel):
    kind: str
    value: str


class WordBody(BaseModel):
    """What one touchpoint said of a trait. Null takes it back."""

    value: Any
    at: str
    source: str
    touchpoint_id: str
    trust: Trust = Field(description="How far its source is believed: `server`, or `client`, whose key is public.")


class Member(BaseModel):
    profile_id: str
    since: str
