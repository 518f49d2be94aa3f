"""Learning: feedback, decision records and the passing of time become evidence. And at last, forgetting.

All three do the same: fold what they bring into the outcomes, see what each outcome now teaches, and add what is new in
that to the counts. An outcome's own row says what of it has been counted, so nothing counts twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from services.personalize import metrics
from services.personalize.domain import outcomes as domain
from services.personalize.domain.evidence import Counts
from services.personalize.domain.outcomes import Feedback, Outcome, Subject, Times, Windows
from services.personalize.store import decisions, evidence, outcomes, participants, retention
from services.personalize.store.evidence import Cell
from services.personalize.store.outcomes import Key, Seen, Taught
from shared.clock import Clock
from shared.db import Database, Work
from shared.events import Decided, Touchpoint
from shared.identifiers import names_nobody


class Learning:
    """What becomes evidence, and when."""

    def __init__(self, database: Database, *, clock: Clock, windows: Windows, kept: timedelta, at_once: int) -> None:
        self.database = database
        self.clock = clock
        self.windows = windows
        self.kept = kept
        self.at_once = at_once

    async def absorb(self, touchpoints: Sequence[Touchpoint], work: Work) -> None:
        """Take in feedback, inside the consumer's transaction. Other touchpoints are none of our business."""
        told = [(touchpoint, said) for touchpoint in touchpoints if (said := _feedback(touchpoint)) is not None]
        await outcomes.expose(work, _exposures(told))
        folded = await outcomes.fold(work, _outcomes(said for _, said in told))
        await self._teach(work, folded)

    async def enter(self, records: Sequence[Decided], work: Work) -> None:
        """Take in decision records, inside the consumer's transaction: they say what the feedback is about."""
        await decisions.put(work, records)
        await participants.put(work, records)
        subjects = {
            Key(record.data.decision_id, offer_id): Outcome(subject=subject)
            for record in records
            if (subject := domain.subject(record.data)) is not None
            for offer_id in record.data.offers
        }
        await self._teach(work, await outcomes.fold(work, subjects))

    async def close_windows(self) -> int:
        """Let silence teach, where it has lasted long enough; give how many outcomes that settled."""

        async def close(work: Work) -> int:
            silent = await outcomes.due(work, self.clock(), self.at_once)
            await self._teach(work, silent)
            return len(silent)

        closed = await self.database.retrying(close)
        metrics.WINDOWS_CLOSED.inc(closed)
        return closed

    async def forget(self) -> int:
        """Delete some of what is older than records are kept; give how much."""
        before = self.clock() - self.kept
        return await self.database.retrying(lambda work: retention.forget(work, before, self.at_once))

    async def _teach(self, work: Work, known: Mapping[Key, Taught]) -> None:
        """Count what `known` outcomes teach as of now beyond what was counted of them before."""
        now = self.clock()
        gained: defaultdict[Cell, Counts] = defaultdict(Counts)
        notes: dict[Key, tuple[Counts, datetime | None]] = {}
        for key, before in known.items():
            outcome = before.outcome
            counts, due = domain.lesson(outcome, self.windows, now), domain.due(outcome, self.windows, now)
            if (counts, due) != (before.counts, before.due):
                notes[key] = counts, due
            if outcome.subject is not None:
                cell = _cell(outcome.subject, key.offer_id)
                gained[cell] = gained[cell].plus(counts.minus(before.counts))
        await outcomes.teach(work, notes)
        await evidence.add(work, gained)


def _feedback(touchpoint: Touchpoint) -> Feedback | None:
    """What `touchpoint` says of an offer, counted."""
    step = domain.step(touchpoint)
    if step is None:
        return None
    said = domain.feedback(touchpoint)
    metrics.FEEDBACK.labels(step if said is not None else "malformed").inc()
    return said


def _exposures(told: Iterable[tuple[Touchpoint, Feedback]]) -> dict[Seen, Times]:
    """Who was shown what. Feedback that names no decision is an exposure all the same: the touchpoint stands for it.
    Under an id that names nobody (`null`) it is nobody's: everybody whose client has that bug would share it."""
    sides: defaultdict[Seen, list[Times]] = defaultdict(list)
    for touchpoint, said in told:
        if names_nobody(touchpoint.owner.value):
            continue
        decision_id = said.decision_id or f"touchpoint {touchpoint.source} {touchpoint.id}"
        sides[Seen(touchpoint.owner, said.offer_id, decision_id)].append(said.times)
    return {seen: domain.fold(times) for seen, times in sides.items()}


def _outcomes(told: Iterable[Feedback]) -> dict[Key, Outcome]:
    sides: defaultdict[Key, list[Times]] = defaultdict(list)
    for said in told:
        if said.decision_id is not None:
            sides[Key(said.decision_id, said.offer_id)].append(said.times)
    return {key: Outcome(domain.fold(times)) for key, times in sides.items()}


def _cell(subject: Subject, offer_id: str) -> Cell:
    return Cell(subject.placement, subject.version, offer_id, subject.features)
