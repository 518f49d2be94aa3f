"""The decision: gates, then draws, then a choice whose probability is known. Pure: time and chance are arguments.

Ranking is by  p(click) · p(acceptance | click) · value · context weight · lever − λ · cost,  drawn from the posterior.

Why the logged propensities make unbiased estimates: given the M draws, the first offer is chosen by one of them, picked
uniformly, or, with probability ε, uniformly among the K offers that passed the gates. So P(a first | draws) is exactly
(1 − ε)·(share of the draws that a wins) + ε/K, and that number is logged. Hence E[1{A = a}/P(a | draws)] = 1 given the
draws, and so without: weighting by 1/propensity is unbiased (Horvitz & Thompson 1952), however few the draws are.
Whatever passed the gates has at least ε/K, so no weight is infinite. The other ranks follow the picked draw; a
propensity always speaks of coming first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from services.personalize.domain import customers, gates, holdout
from services.personalize.domain.customers import Known, Request
from services.personalize.domain.draws import Chance, Noise, Worth, draws, firsts, probability, temperature
from services.personalize.domain.evidence import Floats
from services.personalize.domain.features import VERSION, features
from services.personalize.domain.gates import Refusal, Rests, Situation
from services.personalize.domain.learner import Posterior
from services.personalize.domain.offers import Offer, Shelf
from shared.events import Candidate, Choice, Numbers
from shared.rules import holding

Silence = Literal["holdout", "no_offers", "all_gated", "not_worth_it"]
"""Why nothing is said: the person is in the holdout; the placement has no offers; every one failed a gate; none that
passed was expected to bring more than it costs."""

DIGITS = 9
"""Decimals of the numbers in a record: the smallest propensity, ε/K, keeps five significant digits and more."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How to choose. draws: M. explore: ε. cost_price: λ, the price of the budget. The holdout's share and salt."""

    rests: Rests
    draws: int = 128
    explore: float = 0.02
    cost_price: float = 0.0
    holdout: float = 0.05
    salt: str = ""


class Ranked(NamedTuple):
    """The offers that passed (k): which come first, second, ... in this choice, and each one's numbers."""

    order: list[int]
    numbers: list[Numbers]


def decide(
    request: Request,
    known: Known,
    *,
    shelf: Shelf,
    posterior: Posterior,
    policy: Policy,
    chance: Chance,
    now: datetime,
    decision_id: str,
    degraded: tuple[str, ...] = (),
) -> Choice:
    """The whole record of the decision, with every offer of the placement in it.

    Somebody in the holdout is decided for like anybody else, and then gets nothing: so the record says what they would
    have been offered, against which what others were offered can be compared.
    """
    x = features(request, known.view)
    refusals = _refusals(request, known, shelf, policy.rests, now)
    passed = [offer for offer in shelf.offers if offer.id not in refusals]
    ranked = _ranked(request, passed, x=np.array(x), posterior=posterior, policy=policy, chance=chance)
    held_out = holdout.held_out(customers.root(request, known.view), policy.salt, policy.holdout)
    silence = "holdout" if held_out else _silence(shelf, passed, ranked)
    return Choice(
        decision_id=decision_id,
        profile=str(request.profile),
        profile_id=known.view.profile_id if known.view is not None else None,
        profile_version=known.view.version if known.view is not None else None,
        placement=request.placement,
        channel=request.channel,
        context=request.context,
        holdout=held_out,
        silence=silence,
        offers=() if silence else tuple(passed[place].id for place in ranked.order[: request.limit]),
        candidates=(*_winners(passed, ranked), *_losers(shelf, refusals)),
        features=x,
        learner_version=VERSION,
        degraded=degraded,
    )


def _refusals(request: Request, known: Known, shelf: Shelf, rests: Rests, now: datetime) -> Mapping[str, Refusal]:
    """The offers of the shelf that fail a gate, by id."""
    situation = Situation(
        now=now,
        channel=request.channel,
        held=_held(request, known, shelf, now),
        consent=known.view.consent if known.view is not None else {},
        pasts=customers.pasts(known.exposures),
        rests=rests,
        reliance=known.reliance,
    )
    return gates.refusals(shelf, situation)


def _held(request: Request, known: Known, shelf: Shelf, now: datetime) -> Mapping[str, bool | None]:
    """Which rules of the shelf hold."""
    if not shelf.rules:
        return {}
    facts = customers.facts(request, known.view, now, with_provenance=bool(shelf.about_provenance))
    return holding(shelf.rules, facts)


def _ranked(
    request: Request, passed: Sequence[Offer], *, x: Floats, posterior: Posterior, policy: Policy, chance: Chance
) -> Ranked:
    if not passed:
        return Ranked([], [])
    heads = (posterior.click, posterior.acceptance)
    rows = posterior.rows_of([offer.id for offer in passed])
    odds = [head.log_odds(rows, x) for head in heads]
    alphas = [temperature(head.base_rate) for head in heads]
    worth = _worth(request, passed, policy.cost_price)

    scores = draws(odds, alphas, worth, chance, policy.draws)
    propensities = (1 - policy.explore) * firsts(scores) + policy.explore / len(passed)
    click, acceptance = (probability(head, alpha) for head, alpha in zip(odds, alphas, strict=True))
    expected = click * acceptance * worth.gain - worth.cost
    return Ranked(
        order=_order(scores[int(chance.random() * len(scores))], policy.explore, chance),
        numbers=_numbers(passed, click, acceptance, expected, propensities),
    )


def _worth(request: Request, passed: Sequence[Offer], cost_price: float) -> Worth:
    """What is at stake with each offer. The caller may weigh kinds (`context.weights`): a page on renewals can ask
    for renewals twice as much."""
    weights = request.context.get("weights", {})
    return Worth(
        gain=np.array([offer.value * offer.lever * weights.get(offer.kind, 1.0) for offer in passed]),
        cost=np.array([cost_price * offer.cost for offer in passed]),
    )


def _order(draw: Noise, explore: float, chance: Chance) -> list[int]:
    """The places by the picked draw, as far as they are worth making; with probability ε any place comes first."""
    order = [int(place) for place in np.argsort(-draw, kind="stable") if draw[place] > 0]
    if chance.random() >= explore:
        return order
    first = int(chance.random() * len(draw))
    return [first, *(place for place in order if place != first)]


def _numbers(
    passed: Sequence[Offer], click: Floats, acceptance: Floats, score: Floats, propensity: Floats
) -> list[Numbers]:
    rounded = [np.round(column, DIGITS).tolist() for column in (click, acceptance, score, propensity)]
    return [
        Numbers(
            p_click=p_click,
            p_conversion=p_conversion,
            value=offer.value,
            lever=offer.lever,
            cost=offer.cost,
            score=expected,
            propensity=first,
        )
        for offer, p_click, p_conversion, expected, first in zip(passed, *rounded, strict=True)
    ]


def _silence(shelf: Shelf, passed: Sequence[Offer], ranked: Ranked) -> Silence | None:
    if not shelf.offers:
        return "no_offers"
    if not passed:
        return "all_gated"
    return None if ranked.order else "not_worth_it"


def _winners(passed: Sequence[Offer], ranked: Ranked) -> list[Candidate]:
    """Whatever passed, by rank; last, without one, what the picked draw did not find worth making."""
    rest = sorted(set(range(len(passed))) - set(ranked.order))
    ranks = [*range(1, len(ranked.order) + 1), *[None] * len(rest)]
    return [
        Candidate(offer_id=passed[place].id, rank=rank, numbers=ranked.numbers[place])
        for place, rank in zip([*ranked.order, *rest], ranks, strict=True)
    ]


def _losers(shelf: Shelf, refusals: Mapping[str, Refusal]) -> list[Candidate]:
    return [
        Candidate(offer_id=offer.id, gate=refusal.gate, reason=refusal.reason)
        for offer in shelf.offers
        if (refusal := refusals.get(offer.id)) is not None
    ]
