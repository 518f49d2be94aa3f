"""Taking in what clients send: judge it, and answer once Kafka has it. This is the hot path, all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import cache
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from services.ingest import metrics
from services.ingest.domain.bodies import common
from services.ingest.domain.cloudevents import outlined
from services.ingest.domain.judgement import Accepted, Arrival, Refused, judge, refused, rejection
from services.ingest.domain.moments import known
from services.ingest.domain.plan import Departure, Plan
from services.ingest.domain.proof import TOKEN, Proof, nothing_verifies
from services.ingest.domain.sources import Source
from services.ingest.errors import TooManyCalls
from services.ingest.service.counts import Counts
from services.ingest.service.opening import Opened, Sending, invalid, opened
from services.ingest.service.registry import Registry
from services.ingest.service.shares import Shares
from services.ingest.settings import Settings
from shared.clock import Clock
from shared.errors import Unavailable
from shared.events import Reason, encode
from shared.kafka import Appended, Log, Position, Record, token

_accepted = cache(metrics.ACCEPTED.labels)  # to find a series by its labels takes longer than to count


class Receipt(NamedTuple):
    """What became of a request: the `Temas-Position` of its touchpoints, and how many of its calls were rejected."""

    position: str
    rejected: int


class Refusal(NamedTuple):
    """A call that can't be used: where it stands in the request, why, and its record for touchpoints.rejected."""

    path: str
    refused: Refused
    record: Record


class Outcome(NamedTuple):
    """What is to be done with a request: no more than must sit in memory for as long as Kafka takes. `size`: bytes."""

    source: Source
    day: date
    records: list[Record]
    refusals: list[Refusal]
    departures: list[Departure]
    cut: int
    size: int

    @property
    def calls(self) -> int:
        return len(self.records) + len(self.refusals)


class Taken:
    """A request that is being taken. Once `future` is done, `receipt` says what became of it."""

    def __init__(self, ingest: Ingest, outcome: Outcome, appended: Appended) -> None:
        self.ingest = ingest
        self.outcome = outcome
        self.appended = appended
        self.began = perf_counter()

    @property
    def future(self) -> asyncio.Future[Any]:
        return self.appended.future

    def receipt(self) -> Receipt:
        """To be asked once, when Kafka has acknowledged all of it, or has not.

        Raises Invalid where nothing of it could be used, and it is kept all the same: clients throw away what gets a
        400. Raises LogUnavailable.
        """
        metrics.LOG_SECONDS.observe(perf_counter() - self.began)
        positions, refusals = self.ingest.settle(self.outcome, self.appended), self.outcome.refusals
        if refusals and not positions:
            raise invalid([(each.path, each.refused.reasons) for each in refusals])
        return Receipt(token(positions), rejected=len(refusals))


class Ingest:
    """What clients can do with ingest: `take`."""

    def __init__(
        self,
        settings: Settings,
        *,
        registry: Registry,
        counts: Counts,
        touchpoints: Log,
        rejected: Log,
        clock: Clock,
        fresh_id: Callable[[], str],
        subject: Callable[[object], str] = nothing_verifies,
    ) -> None:
        """`subject` gives the user id that a user token is of, or raises Unauthorized."""
        self.limit = settings.unpacked_limit
        self.registry = registry
        self.counts = counts
        self.touchpoints = touchpoints
        self.rejected = rejected
        self.clock = clock
        self.fresh_id = fresh_id
        self.subject = subject
        self.shares = Shares(settings.kafka.waiting_limit)

    def take(self, sending: Sending) -> Taken:
        """Begin to keep all of `sending`: what can be used as touchpoints, the rest as rejected, each with its reasons.

        A batch of which anything can be used is taken. Raises what keeps nothing: Unauthorized, Forbidden,
        TooManyCalls, TooLarge, UnknownEncoding, Busy and Starting.
        """
        outcome = self._decided(sending)
        return Taken(self, outcome, self._kept(outcome))

    def _decided(self, sending: Sending) -> Outcome:
        now, snapshot = self.clock(), self.registry.current
        request = opened(sending, snapshot, now, self.limit)
        self._admit(request, now)

        arrival = self._arrival(sending, request, now, snapshot.plan)
        try:
            verdicts = [
                judge(each, arrival, self.fresh_id)
                if isinstance(each, Raw)
                else _unusable(each, place, request, arrival)
                for place, each in enumerate(request.parcel.batch)
            ]
        except Unavailable:  # keys that verify user tokens have not been read yet
            self.counts.quotas.give_back(request.source, len(request.parcel.batch), now.date())
            raise

        accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
        records = [(each.key, encode(each.touchpoint)) for each in accepted]
        refusals = [] if len(accepted) == len(verdicts) else self._refusals(verdicts, request, arrival)
        return Outcome(
            source=request.source,
            day=now.date(),
            records=records,
            refusals=refusals,
            departures=[each.departure for each in verdicts if each.departure is not None],
            cut=sum([each.cut for each in accepted]),
            size=_size(records) + _size([each.record for each in refusals]),
        )

    def _arrival(self, sending: Sending, request: Opened, now: datetime, plan: Plan) -> Arrival:
        parcel = request.parcel
        context = common(parcel.context)
        token = context.pop(TOKEN, None)
        return Arrival(
            source=request.source,
            received_at=now,
            plan=plan,
            call=sending.call,
            sent_at=known(parcel.sent_at),
            user_agent=sending.user_agent,
            traceparent=sending.traceparent,
            context=context,
            integrations=common(parcel.integrations),
            proof=Proof(token=sending.user_token if token is None else token, subject=self.subject),
        )

    def _admit(self, request: Opened, now: datetime) -> None:
        """Raises TooManyCalls where the source has had its share."""
        source = request.source
        seconds = self.counts.quotas.admit(source, len(request.parcel.batch), monotonic(), now.date())
        if seconds is not None:
            rate = f"{source.rate:g} calls a second" if source.rate is not None else ""
            quota = f"{source.quota:,} calls a day" if source.quota is not None else ""
            may = " and ".join(filter(None, (rate, quota)))
            raise TooManyCalls(f"source {source.name!r} may send {may}, and has: send this again later", seconds)

    def _refusals(self, verdicts: Sequence[Accepted | Refused], request: Opened, arrival: Arrival) -> list[Refusal]:
        parcel, key = request.parcel, request.source.name.encode()
        refusals = []
        for place, each in enumerate(verdicts):
            if isinstance(each, Refused):
                kept = replace(each, body=parcel.original(place))
                record = encode(rejection(kept, arrival, self.fresh_id(), parcel.form))
                refusals.append(Refusal(parcel.path(place), each, (key, record)))
        return refusals

    def _kept(self, outcome: Outcome) -> Appended:
        """The touchpoints on their way into the log; the rejected are there before them.

        Should only these arrive, the retry repeats them, where a person sees it; touchpoints without ids of their own
        would count twice.
        """
        try:
            self.shares.take(outcome.source.name, outcome.size)
        except Unavailable:
            self._not_taken(outcome)
            raise
        if outcome.refusals:
            both = asyncio.get_running_loop().create_task(self._rejected_first(outcome))
            return Appended(both, both.result)
        return self.touchpoints.put(outcome.records)

    async def _rejected_first(self, outcome: Outcome) -> list[Position]:
        await self.rejected.append([each.record for each in outcome.refusals])
        return await self.touchpoints.append(outcome.records) if outcome.records else []

    def settle(self, outcome: Outcome, appended: Appended) -> list[Position]:
        """The positions of what was kept, which is counted now. Raises LogUnavailable."""
        self.shares.give_back(outcome.source.name, outcome.size)
        try:
            positions = appended.positions()
        except Unavailable:
            self._not_taken(outcome)
            raise
        self._count(outcome)
        return positions

    def _not_taken(self, outcome: Outcome) -> None:
        """Its client sends it again, and must not pay for it twice."""
        self.counts.quotas.give_back(outcome.source, outcome.calls, outcome.day)

    def _count(self, outcome: Outcome) -> None:
        source = outcome.source.name
        _accepted(source).inc(len(outcome.records))
        for departure in outcome.departures:
            self.counts.note_departure(departure)
        for each in outcome.refusals:
            metrics.REJECTED.labels(source, each.refused.reasons[0].code).inc()
        if outcome.cut:
            metrics.CUT.labels(source).inc(outcome.cut)


def _size(records: Sequence[Record]) -> int:
    return sum([len(key) + len(value) for key, value in records])


def _unusable(reasons: tuple[Reason, ...], place: int, request: Opened, arrival: Arrival) -> Refused:
    """A call that could not even be translated, known by what its original says."""
    original = request.parcel.original(place)
    return refused(reasons, outlined(original) if request.parcel.form == "cloudevent" else original, arrival)
