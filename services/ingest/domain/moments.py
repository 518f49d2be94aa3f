"""When a call happened: the client's clock, corrected.

- `timestamp`, else `originalTimestamp`, else the moment we received it.
- A clock that is wrong shows at `sentAt`: it should be the moment of receiving. The difference is added. Up to
  `TOLERANCE` it is not the clock but the way here, and nothing is added: an event that is sent twice then keeps its
  time, so that it does not matter which of the two arrives. Beyond, whole seconds are added, for the same reason.
- A call with `receivedAt` has passed a collector that corrected its `timestamp`; nothing is added again.
- The future is cut at now + `FUTURE`. The past is never cut: that is history.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from services.ingest.domain.calls import Sent
from shared.clock import milliseconds

FUTURE = timedelta(minutes=5)
TOLERANCE = timedelta(seconds=5)

_UNITS = ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Numbers below the left are in seconds, ms, µs, ns: a second divided by the right. Seconds reach the year 5138."""

_NONE = timedelta()


def moment(value: object) -> datetime:
    """`value` (RFC 3339 and its ISO 8601 relatives, or a number since 1970) in UTC, to the millisecond.

    Text without a zone is UTC. Raises ValueError.
    """
    try:
        at = _written(value) if isinstance(value, str) else _counted(value)
        return milliseconds(at.astimezone(UTC)) if at.microsecond % 1000 or at.tzinfo is not UTC else at
    except (OverflowError, OSError) as error:
        raise ValueError(f"{value!r} is no moment of our calendar") from error


def happened(call: Sent, received_at: datetime, sent_at: datetime | None) -> tuple[datetime, bool]:
    """When it was, and whether it had to be cut. `sent_at` is that of the batch; the call's own comes first.

    Raises ValueError where the call's time can't be read.
    """
    at = received_at
    claimed = claim(call)
    if claimed is not None:
        at = moment(claimed)
        if call.received_at is None:
            at = _moved(at, skew(received_at, known(call.sent_at) or sent_at))
    limit = received_at + FUTURE
    return (limit, True) if at > limit else (at, False)


def _moved(at: datetime, by: timedelta) -> datetime:
    try:
        return at + by
    except OverflowError:  # at an end of our calendar, where a clock more or less does not matter
        return at


def claim(call: Sent) -> object:
    """What the call says of its time, None where nothing. An empty text says nothing."""
    for value in (call.timestamp, call.original_timestamp):
        if value is not None and value != "":
            return value
    return None


def skew(received_at: datetime, sent_at: datetime | None) -> timedelta:
    """What to add to the times of a client that said `sent_at` at the moment `received_at`."""
    if sent_at is None or abs(received_at - sent_at) <= TOLERANCE:
        return _NONE
    return timedelta(seconds=round((received_at - sent_at).total_seconds()))


def known(value: Any) -> datetime | None:
    """The moment, or None where there is none that can be read: then the client's clock counts as right."""
    if value is None:
        return None
    try:
        return moment(value)
    except ValueError:
        return None


def _written(text: str) -> datetime:
    tidy = text.strip().upper()
    if tidy.isdecimal() and len(tidy) >= 9:  # else 1710101010101 would be a day of the year 1710
        return _counted(int(tidy))
    at = datetime.fromisoformat(tidy)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _counted(value: object) -> datetime:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no moment")  # noqa: TRY004 - one kind of error for all that can't be read
    unit = next((unit for limit, unit in _UNITS if abs(value) < limit), 1)
    return datetime.fromtimestamp(value / unit, UTC)
