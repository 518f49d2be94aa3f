"""Likely duplicates, and what people decided about them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.profile.schemas import Text


class Decision(BaseModel):
    """Why it was decided so."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"why": "she called and said so"}})

    why: Text


class ReasonBody(BaseModel):
    """What was compared, and what came of it."""

    compared: str
    says: str
    bits: float = Field(
        description="How much it adds to `weight`: by 1 it is twice as likely that they are one person. Less than 0: "
        "it speaks against."
    )


_PROPOSAL: Any = {
    "proposal_id": "0f5b1d7e-64f3-5e0c-8a57-0a6c1f8b8a11",
    "identifiers": ["user_id:u-17", "user_id:u-203"],
    "weight": 21.4,
    "probability": 0.999999,
    "reasons": [
        {"compared": "given_name", "says": "is nearly the same", "bits": 6.2},
        {"compared": "surname", "says": "is the same", "bits": 9.6},
        {"compared": "born", "says": "is the same", "bits": 14.1},
        {"compared": "place", "says": "is another", "bits": -3.2},
    ],
    "status": "open",
    "proposed_at": "2026-03-02T10:00:00.000Z",
    "decided_at": None,
    "who": None,
    "why": None,
}


class ProposalBody(BaseModel):
    """Two profiles that are likely one person's, each by an identifier of it. The values that were compared are there,
    in the profiles.
    """

    model_config = ConfigDict(json_schema_extra={"example": _PROPOSAL})

    proposal_id: str
    identifiers: list[str]
    weight: float = Field(description="In bits: the sum of all reasons, and of how rare duplicates are among people.")
    probability: float = Field(description="That they are one person, as far as the model knows.")
    reasons: list[ReasonBody]
    status: Literal["open", "accepted", "refused", "gone"]
    proposed_at: str
    decided_at: str | None = Field(description="Since when it is accepted, refused or gone.")
    who: str | None = Field(description="The key that it was decided with.")
    why: str | None


class ProposalPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"proposals": [_PROPOSAL], "next": None}})

    proposals: list[ProposalBody]
    next: str | None
