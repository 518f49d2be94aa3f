"""Lists page with `limit` and an opaque `cursor`; the answer's `next` is the next cursor, or null at the end."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Query

from shared.errors import Invalid

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=1000, description="The `next` of the page before.")]

DEFAULT_LIMIT = 50

TEXT = r"^[^\x00]*$"
"""What PostgreSQL takes as text."""

AnyText: Any = Annotated[str, msgspec.Meta(pattern=TEXT)]
"""Such a text in a cursor."""

AwareMoment: Any = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment in a cursor, with its zone; `place` gives it in UTC."""


def cursor(*place: str | int | float) -> str:
    """Where a page ended: the sort key of its last row, so that a later page neither skips nor repeats."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place(text: str, *types: type) -> tuple[Any, ...]:
    """The sort key in a cursor, of the given `types`. Raises Invalid for what we never gave out."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        parts: tuple[Any, ...] = msgspec.json.decode(raw, type=tuple[types])  # type: ignore[valid-type]
        return tuple(part.astimezone(UTC) if isinstance(part, datetime) else part for part in parts)
    except (binascii.Error, ValueError, OverflowError, msgspec.DecodeError):
        raise Invalid(
            "cursor: pass the `next` of the page before, unchanged, or leave it out to start over",
            details=[{"path": "cursor", "code": "invalid_cursor"}],
        ) from None
