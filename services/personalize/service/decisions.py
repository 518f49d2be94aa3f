"""Deciding: gather what is known, decide, and let the record be written without anybody waiting for it."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from services.personalize import metrics
from services.personalize.domain.customers import Known, Request
from services.personalize.domain.decision import Policy, decide
from services.personalize.domain.draws import Chance
from services.personalize.domain.gates import UNKNOWN
from services.personalize.domain.offers import Offer, Shelf
from services.personalize.domain.outcomes import SIDE_UNKNOWN, Times
from services.personalize.errors import DecisionNotFound
from services.personalize.service.customers import Customers
from services.personalize.service.knowledge import Knowledge
from services.personalize.settings import SERVICE
from services.personalize.store import decisions, outcomes
from shared.clock import Clock
from shared.db import Database, is_away
from shared.events import Candidate, Choice, Decided, Numbers


class Shown(NamedTuple):
    """One offer of an answer: at which rank, with what numbers, and until when it may be shown."""

    offer: Offer
    rank: int
    numbers: Numbers
    expires_at: datetime


class Answer(NamedTuple):
    """A decision, and of each offer made what is needed to show it."""

    choice: Choice
    shown: tuple[Shown, ...]


class Kept(NamedTuple):
    """A decision's record, and what became of each offer since, as far as anything did."""

    record: Decided
    outcomes: Mapping[str, Times]


@dataclass(frozen=True)
class Records:
    """Where records go, soon, and where the latest are found before they are in the database."""

    put: Callable[[Decided], None]
    find: Callable[[str], Decided | None]


class Decisions:
    """Answers the question what to offer somebody, and what was answered before."""

    def __init__(
        self,
        database: Database,
        *,
        customers: Customers,
        knowledge: Knowledge,
        policy: Policy,
        chance: Chance,
        records: Records,
        shown_for: timedelta,
        clock: Clock,
    ) -> None:
        self.database = database
        self.customers = customers
        self.knowledge = knowledge
        self.policy = policy
        self.chance = chance
        self.records = records
        self.shown_for = shown_for
        self.clock = clock

    async def decide(self, request: Request) -> Answer:
        """The offers for `request`. Always an answer: what it had to do without is named in the record's `degraded`."""
        began = time.perf_counter()
        known, current = await self.customers.known(request.profile)
        shelf = self.knowledge.shelf(request.placement)
        now = self.clock()

        choice = decide(
            request,
            known,
            shelf=shelf,
            posterior=self.knowledge.posterior(request.placement),
            policy=self.policy,
            chance=self.chance,
            now=now,
            decision_id=str(uuid.uuid4()),
            degraded=self._degraded(known, current=current),
        )

        self.records.put(
            Decided(id=choice.decision_id, source=SERVICE, time=now, subject=choice.profile_id, data=choice)
        )
        _count(choice, shelf)
        metrics.DECISION_SECONDS.observe(time.perf_counter() - began)
        return Answer(choice, self._shown(choice, shelf, now))

    async def find(self, decision_id: str) -> Kept:
        """The record of a decision, with what became of it. Raises DecisionNotFound."""
        just_made = self.records.find(decision_id)
        try:
            async with self.database.begin() as work:
                record = await decisions.find(work, decision_id) or just_made
                known = await outcomes.of_decision(work, decision_id)
        except Exception as error:
            if just_made is None or not is_away(error):
                raise
            return Kept(just_made, {})
        if record is None:
            raise DecisionNotFound(f"no decision has the id {decision_id!r}, or its record is still on its way")
        times = {key.offer_id: taught.outcome.times for key, taught in known.items()}
        return Kept(record, {offer_id: each for offer_id, each in times.items() if each.shown is not None})

    def _degraded(self, known: Known, *, current: bool) -> tuple[str, ...]:
        """What this decision has to do without."""
        missing = {
            "profile": not current,
            "behind": self.customers.behind,
            "knowledge": self.knowledge.stale,
            SIDE_UNKNOWN: not known.side,
        }
        return tuple(name for name, is_missing in missing.items() if is_missing)

    def _shown(self, choice: Choice, shelf: Shelf, now: datetime) -> tuple[Shown, ...]:
        if not choice.offers:
            return ()
        offers, until = {offer.id: offer for offer in shelf.offers}, now + self.shown_for
        return tuple(
            Shown(offer, rank, candidate.numbers, min(offer.valid_to or until, until))
            for rank, (offer_id, candidate) in enumerate(zip(choice.offers, choice.candidates, strict=False), start=1)
            if (offer := offers[offer_id]) and candidate.numbers is not None
        )


def _count(choice: Choice, shelf: Shelf) -> None:
    placement = choice.placement if shelf.offers else "other"
    metrics.DECISIONS.labels(placement, choice.silence or "offers").inc()
    for (gate, reason), offers in Counter(map(_gated, choice.candidates)).items():
        if gate is not None:
            metrics.REFUSED.labels(gate).inc(offers)
            if reason is not None:
                metrics.UNKNOWN.labels(gate).inc(offers)
    for name in choice.degraded:
        metrics.DEGRADED.labels(name).inc()


def _gated(candidate: Candidate) -> tuple[str | None, str | None]:
    """The gate that `candidate` failed, and `UNKNOWN` where it was for want of knowledge."""
    return candidate.gate, UNKNOWN if candidate.reason == UNKNOWN else None
