"""A moment that a request names: RFC 3339 with its zone, given to the code in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator


def _as_text(at: object) -> object:
    # Left to itself, pydantic takes numbers for seconds or milliseconds since 1970, whichever looks likelier.
    if not isinstance(at, datetime) and (not isinstance(at, str) or "-" not in at.strip("-")):
        raise ValueError("must be a moment in RFC 3339, such as 2026-03-01T10:00:00Z")
    return at


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("must say its zone, too: 2026-03-01T10:00:00Z, or with +03:00 in place of the Z")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a moment of our calendar in UTC, too") from None


Moment = Annotated[datetime, BeforeValidator(_as_text), AfterValidator(_in_utc)]
