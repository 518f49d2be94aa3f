"""The one order in which things were said: by event time, ties by touchpoint id."""

from __future__ import annotations

from datetime import datetime

import msgspec


class When(msgspec.Struct, frozen=True, order=True, array_like=True):
    """The moment of a statement. "First" and "last" are the least and the greatest one, never the order of arrival."""

    at: datetime
    touchpoint_id: str


def earliest(*sides: When | None) -> When | None:
    """The first of those that are there; None where none is."""
    return min([side for side in sides if side is not None], default=None)


def latest(*sides: When | None) -> When | None:
    """The last of those that are there; None where none is."""
    return max([side for side in sides if side is not None], default=None)
