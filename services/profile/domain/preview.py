"""Whom a rule would hold for, before it is saved: of everybody, or of a sample, with how sure that is."""

from __future__ import annotations

import math
from datetime import datetime

import msgspec

from services.profile.domain.publication import Known, looked_at
from services.profile.domain.segments import Asked, asks_for_segments, found
from shared.facts import PROVENANCE
from shared.rules import Rule, holding, reads

Z = 1.959964
"""Of the normal distribution: 95 of 100 lie within so many standard deviations."""


class Estimate(msgspec.Struct, frozen=True):
    """How many of all it holds for: `count`, and the interval that has the true number in 95 of 100 samples."""

    count: int
    low: int
    high: int


def holds(known: Known, rule: Rule, saved: Asked, at: datetime) -> bool | None:
    """Whether `known` would be in a segment with `rule` beside those that are `saved`; None: it can't be known.

    As a publication at that moment would have it (domain/publication.py, domain/segments.py).
    """
    if known.redirect is not None or not known.members:
        return False
    _, seen = looked_at(known, at, with_provenance=saved.asks_for_provenance or reads(rule, PROVENANCE))
    segments = list(found(saved, seen).plain) if asks_for_segments(rule) else []
    return holding({"it": rule}, seen.but(segments=segments))["it"]


def estimate(held: int, looked_at: int, of: int) -> Estimate:
    """From `held` among `looked_at` that were drawn by chance, how many it is among all `of`.

    Wilson's score interval (Wilson 1927, Probable inference, the law of succession, and statistical inference, Journal
    of the American Statistical Association 22): it stays honest near none and near all, where the usual one says
    "none, for sure". Those that were looked at are known, so it never contradicts them.
    """
    if looked_at >= of:
        return Estimate(held, held, held)
    share, z2 = held / looked_at, Z * Z / looked_at
    middle = (share + z2 / 2) / (1 + z2)
    half = Z / (1 + z2) * math.sqrt(share * (1 - share) / looked_at + z2 / (4 * looked_at))
    return Estimate(
        count=round(share * of),
        low=max(held, math.floor((middle - half) * of)),
        high=min(of - (looked_at - held), math.ceil((middle + half) * of)),
    )
