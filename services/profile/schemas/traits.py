"""Traits: everything that was ever said of one, and what each was at a moment."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from services.profile.schemas import WordBody


class TraitWord(WordBody):
    channel: str
    wins: bool = Field(description="Whether this is the last word of all, the one that the profile shows.")


class TraitHistoryPage(BaseModel):
    """Newest first. Only `next` says whether there is more: a page that asks for what is rare may not be full."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "trait": "plan",
                "words": [
                    {
                        "value": "pro",
                        "at": "2026-03-01T10:00:00.000Z",
                        "source": "web",
                        "touchpoint_id": "m-17",
                        "trust": "client",
                        "channel": "web",
                        "wins": True,
                    }
                ],
                "next": "WyIyMDI2LTAzLTAxVDEwOjAwOjAwKzAwOjAwIiwibS0xNyIsIndlYiJd",
                "removed_before": "2025-01-01T00:00:00.000Z",
            }
        }
    )

    trait: str
    words: list[TraitWord]
    next: str | None
    removed_before: str | None = Field(
        description="Where something of this person was removed from the timeline because of its age: what was said "
        "before this moment does not show. It still counts: a trait may have its value from then."
    )


class PresentTrait(WordBody):
    trait: str


class TraitPage(BaseModel):
    """By name. A trait that was taken back is there, too, with null: somebody said so."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "traits": [
                    {
                        "trait": "plan",
                        "value": "pro",
                        "at": "2026-03-01T10:00:00.000Z",
                        "source": "web",
                        "touchpoint_id": "m-17",
                        "trust": "client",
                    }
                ],
                "next": "WyJwbGFuIl0",
            }
        }
    )

    traits: list[PresentTrait]
    next: str | None
