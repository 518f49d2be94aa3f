"""HTTP bodies of ingest, by resource. The tracking API's own are structs in `domain`, decoded without pydantic."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """What a client sends. A field that we don't know is a mistake: `orgins` must not mean "from everywhere"."""

    model_config = ConfigDict(extra="forbid")
