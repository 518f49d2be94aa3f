"""Moments in requests: what we take for one, and that it comes in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.moments import Moment

MOMENTS: TypeAdapter[datetime] = TypeAdapter(Moment)


@pytest.mark.parametrize("text", ["2026-03-01T10:00:00Z", "2026-03-01T13:00:00+03:00", "2026-03-01t10:00:00.000z"])
def test_rfc_3339_comes_in_utc(text: str) -> None:
    at = MOMENTS.validate_python(text)
    assert (at, at.tzinfo) == (datetime(2026, 3, 1, 10, tzinfo=UTC), UTC)


@pytest.mark.parametrize("given", [0, 1_772_359_200, 1.5, "1772359200", "-1772359200", "now", "", True, None])
def test_nothing_else_is_guessed_at(given: object) -> None:
    with pytest.raises(ValidationError, match="RFC 3339, such as 2026-03-01T10:00:00Z"):
        MOMENTS.validate_python(given)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_the_calendar_are_no_crash(text: str) -> None:
    with pytest.raises(ValidationError, match="UTC"):
        MOMENTS.validate_python(text)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="must say its zone, too: 2026-03-01T10:00:00Z"):
        MOMENTS.validate_python("2026-03-01T10:00:00")
