"""Lift: what offers do, as the difference between those who get them and the holdout, with its interval."""

from __future__ import annotations

import math

import msgspec
from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95


class Group(msgspec.Struct, frozen=True):
    """People on one side: how many, how many of them have ever ordered, and the value of orders a person."""

    people: int = 0
    converted: int = 0
    mean_value: float = 0.0
    variance: float = 0.0


class Difference(msgspec.Struct, frozen=True):
    """Treated less holdout, and where it lies with 95 % confidence. Null where there are too few people to say."""

    difference: float | None
    low: float | None
    high: float | None


UNKNOWN = Difference(None, None, None)


def conversion(treated: Group, holdout: Group) -> Difference:
    """The difference in the share of people who ordered (Agresti & Caffo 2000: two more people on each side, one of
    whom has ordered; it holds its level in small groups and at rates near 0)."""
    if not treated.people or not holdout.people:
        return UNKNOWN
    p, q = ((group.converted + 1) / (group.people + 2) for group in (treated, holdout))
    error = math.sqrt(p * (1 - p) / (treated.people + 2) + q * (1 - q) / (holdout.people + 2))
    reach = float(ndtri((1 + CONFIDENCE) / 2)) * error
    raw = treated.converted / treated.people - holdout.converted / holdout.people
    return Difference(raw, p - q - reach, p - q + reach)


def value(treated: Group, holdout: Group) -> Difference:
    """The difference in the value of orders a person (Welch 1947)."""
    if min(treated.people, holdout.people) < 2:
        return UNKNOWN
    parts = [group.variance / group.people for group in (treated, holdout)]
    raw = treated.mean_value - holdout.mean_value
    if not sum(parts):
        return Difference(raw, raw, raw)
    people = (treated.people, holdout.people)
    freedom = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, people, strict=True))
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(sum(parts))
    return Difference(raw, raw - reach, raw + reach)
