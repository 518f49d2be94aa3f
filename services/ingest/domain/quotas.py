"""How much a source may send: a rate, evened out by a bucket, and a quota for the day (UTC)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import msgspec

BURST_SECONDS = 1.0
"""A full bucket holds the calls of so many seconds, and one call at least."""


class Bucket(msgspec.Struct, frozen=True):
    """What a source may send right now, at `rate` calls a second.

    Calls are taken, all of them, for as long as one is left in it. By how much they are more than it held it is in
    debt, which time pays before the next ones are taken. So a batch of 5,000 needs no more of the bucket than a single
    call does: it never starves behind single calls, whatever the rate. In any t seconds no more is taken than rate * t,
    what a full bucket holds, and the debt of one batch.

    `left`: the calls left at the moment `at`, in seconds of a clock that only goes forward; a debt where negative.
    """

    rate: float
    left: float
    at: float

    @classmethod
    def full(cls, rate: float, now: float) -> Bucket:
        return cls(rate, _held(rate), now)

    def wait(self, now: float) -> float:
        """Seconds until the next calls are taken; 0 or less where they are now."""
        return (1.0 - self._left(now)) / self.rate

    def without(self, calls: int, now: float) -> Bucket:
        """The bucket once `calls` have been taken from it."""
        return Bucket(self.rate, self._left(now) - calls, now)

    def _left(self, now: float) -> float:
        return min(self.left + (now - self.at) * self.rate, _held(self.rate))


def _held(rate: float) -> float:
    """The calls in a full bucket."""
    return max(rate * BURST_SECONDS, 1.0)


def until_midnight(now: datetime, today: date) -> float:
    """Seconds from `now` until the day `today` ends (UTC); 0 where it has."""
    midnight = datetime.combine(today + timedelta(days=1), time(), UTC)
    return max((midnight - now).total_seconds(), 0.0)
