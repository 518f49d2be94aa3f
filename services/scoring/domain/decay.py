"""Forward decay (Cormode et al., ICDE 2009): a sum whose terms halve with age, kept without ever being refreshed.

`S(t) = Σ wᵢ · 2^(−(t−tᵢ)/h)` is kept as `(S, t_ref)`. Textbooks keep S as a float; then the last bits depend on the
order of the additions. Here `t_ref` stands on whole half-lives since 1970 and S is a whole number of units, so that
bringing two sums to one `t_ref` is a bit shift and adding them is adding whole numbers: exact. Any order of arrival,
any split and any merge give the same state, byte for byte.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import msgspec

UNIT_BITS = 40
"""A weight of 1 is 2^40 units: each term is rounded once, by less than 1e-12 of itself."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Decayed(msgspec.Struct, frozen=True, array_like=True):
    """A decayed sum: S units at `t_ref` half-lives after 1970. S is odd, or nothing was ever added.

    It is written in hexadecimal: a sum over decades has more digits than JSON's readers, or Python's own decimal ones,
    take for a number.
    """

    hexadecimal: str = "0"
    t_ref: int = 0

    @property
    def S(self) -> int:  # noqa: N802 - the paper's letter
        return int(self.hexadecimal, 16)

    def __add__(self, other: Decayed) -> Decayed:
        """Both sums in one; they must have been built with one half-life."""
        ours, others = self.S, other.S
        if not (ours and others):
            return self if ours else other
        t_ref = min(self.t_ref, other.t_ref)
        return _canonical((ours << self.t_ref - t_ref) + (others << other.t_ref - t_ref), t_ref)

    def at(self, now: datetime, half_life: float) -> float:
        """The sum as of `now`, with `half_life` in days."""
        S = self.S
        surplus = max(S.bit_length() - 64, 0)
        exponent = self.t_ref + surplus - UNIT_BITS - _half_lives(now, half_life)
        # A clock centuries early must not raise; past 2^900 nobody cares for the value.
        return (S >> surplus) * math.exp2(min(exponent, 900.0))


def term(weight: float, at: datetime, half_life: float) -> Decayed:
    """The sum of one touchpoint: `weight` (positive) at the moment `at`, halved every `half_life` days."""
    age = _half_lives(at, half_life)
    whole = math.floor(age)
    units = round(weight * math.exp2(age - whole + UNIT_BITS))
    # What was before 1970 has decayed to nothing long ago: it may lose bits, it may not make numbers longer.
    return _canonical(units, whole) if whole >= 0 else _canonical(units >> -whole, 0)


def _half_lives(at: datetime, half_life: float) -> float:
    return (at - EPOCH) / DAY / half_life


def _canonical(S: int, t_ref: int) -> Decayed:
    """One way only to write each sum: S odd."""
    if not S:
        return Decayed()
    zeros = (S & -S).bit_length() - 1
    return Decayed(f"{S >> zeros:x}", t_ref + zeros)
