"""Offers: what may be put before a person, where, for whom, and what it is worth."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec

from shared.facts import PROVENANCE
from shared.rules import DECISION_VARIABLES, PROFILE_VARIABLES, Rule, RuleRefused, compile_rule, require_sound

PERSON = frozenset(PROFILE_VARIABLES) - {"now"}
"""What rules see of the person."""

Kind = Literal["discount", "reward", "content", "cross_sell", "upsell", "renewal", "recovery"]


class Cap(msgspec.Struct, frozen=True):
    """At most `count` exposures of one person to the offer in any `days` days."""

    count: int
    days: int


class Budget(msgspec.Struct, frozen=True):
    """What may be spent on the offer in all. Kept with it; nothing is reserved or refused because of it yet."""

    amount: float


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One offer, as it was last put.

    channels: those it may be made in; none means all.
    eligibility: a rule in CEL (`shared.rules`); none means everybody.
    purpose: what consent it needs; none means that it needs none (a delivery notice, a recall).
    value: what an acceptance is worth, in the account's currency. cost: what making the offer costs.
    lever: the business's own weight, 1 unless somebody has a reason.
    """

    id: str
    version: int
    name: str
    kind: Kind
    placements: tuple[str, ...]
    channels: tuple[str, ...] = ()
    eligibility: str | None = None
    purpose: str | None = "marketing"
    value: float = 1.0
    cost: float = 0.0
    lever: float = 1.0
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    caps: tuple[Cap, ...] = ()
    budget: Budget | None = None
    content: dict[str, Any] = {}


@lru_cache(maxsize=4096)
def saved_eligibility(text: str) -> Rule:
    """The rule of an offer that was put. Raises RuleRefused, which tells line and column."""
    return compile_rule(text, variables=DECISION_VARIABLES, path="eligibility")


def eligibility(text: str) -> Rule:
    """The rule of an offer that is to be put: one that can hold for somebody. Raises RuleRefused."""
    new = saved_eligibility(text)
    require_sound(new, path="eligibility")
    return new


@dataclass(frozen=True)
class Shelf:
    """The offers of one placement, sorted by id, and what they have in common: each is looked at once in a decision.

    rules: the compiled rules of all offers, by their text.
    channels, purposes: those that offers name.
    about_person: the rules, by their text, that read something of the person; about_consent: their consent;
    about_provenance: where what is known of them comes from.
    """

    offers: tuple[Offer, ...] = ()
    rules: Mapping[str, Rule] = field(default_factory=dict)
    channels: frozenset[tuple[str, ...]] = frozenset()
    purposes: frozenset[str | None] = frozenset()
    about_person: frozenset[str] = frozenset()
    about_consent: frozenset[str] = frozenset()
    about_provenance: frozenset[str] = frozenset()

    @classmethod
    def of(cls, offers: Iterable[Offer]) -> Shelf:
        offers = tuple(sorted(offers, key=lambda offer: offer.id))
        rules = _rules(offers)
        return cls(
            offers=offers,
            rules=rules,
            channels=frozenset(offer.channels for offer in offers),
            purposes=frozenset(offer.purpose for offer in offers),
            about_person=_reading(rules, PERSON),
            about_consent=_reading(rules, {"consent"}),
            about_provenance=_reading(rules, {PROVENANCE}),
        )


def shelves(offers: Iterable[Offer]) -> Mapping[str, Shelf]:
    """The shelf of every placement that has offers."""
    by_placement: dict[str, list[Offer]] = {}
    for offer in offers:
        for placement in offer.placements:
            by_placement.setdefault(placement, []).append(offer)
    return {placement: Shelf.of(there) for placement, there in by_placement.items()}


def _rules(offers: Iterable[Offer]) -> Mapping[str, Rule]:
    """Compiled eligibility rules by text. One that no longer compiles (it did when the offer was put) is left out: it
    then can't be known whom the offer is for, and nobody gets it."""
    rules: dict[str, Rule] = {}
    for text in {offer.eligibility for offer in offers if offer.eligibility is not None}:
        try:
            rules[text] = saved_eligibility(text)
        except RuleRefused:
            continue
    return rules


def _reading(rules: Mapping[str, Rule], variables: Collection[str]) -> frozenset[str]:
    """Which of `rules` read one of `variables`."""
    return frozenset(
        text for text, rule in rules.items() if any(read.partition(".")[0] in variables for read in rule.reads)
    )
