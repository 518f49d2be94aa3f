"""Taking in what clients send: judge it, and answer once Kafka has it. This is the hot path, all of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from services.ingest import metrics
from services.ingest.domain.bodies import Parcel, common
from services.ingest.domain.cloudevents import call, outlined
from services.ingest.domain.judgement import Accepted, Arrival, Refused, judge, refused, rejection
from services.ingest.domain.moments import known
from services.ingest.domain.plan import Departure
from services.ingest.domain.proof import TOKEN, Proof, nothing_verifies
from services.ingest.domain.sources import Source
from services.ingest.errors import TooManyCalls
from services.ingest.service.counts import Counts
from services.ingest.service.opening import Opened, Opening, Sending, invalid
from services.ingest.service.registry import Registry
from services.ingest.service.shares import Shares
from services.ingest.service.turns import Pace, Turns
from services.ingest.settings import Settings
from shared.clock import Clock
from shared.errors import Unavailable
from shared.events import Reason, encode
from shared.kafka import Appended, Log, Position, Record, token

SMALL_CALLS = 128
"""Of a request that is answered at once: such a batch takes 2 ms, or 4 where none of its calls can be used."""

GROUP_BYTES = 16_384
"""Of calls that are judged without a look at the time."""

CALL_BYTES = 400
"""That a call counts for beside its own: what is wrong with the smallest takes 50 µs to say."""

UNKNOWN = Source(name="unknown key")
"""Whose turn it is where a body has to be unpacked to find its key. No source can have this name."""

_accepted = cache(metrics.ACCEPTED.labels)  # to find a series by its labels takes longer than to count


class Receipt(NamedTuple):
    """The outcome of a request: the `Temas-Position` of its touchpoints, and how many of its calls were rejected."""

    position: str
    rejected: int


class Refusal(NamedTuple):
    """A call that can't be used: where it stands in the request, why, and its record for touchpoints.rejected."""

    path: str
    refused: Refused
    record: Record


@dataclass(slots=True)
class Outcome:
    """The work that is left to do for a request: no more than must sit in memory for as long as Kafka takes."""

    source: Source
    day: date
    records: list[Record] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    cut: int = 0

    @property
    def calls(self) -> int:
        return len(self.records) + len(self.refusals)


class Taken:
    """A request that is on its way into the log. Once `future` is done, `receipt` says what became of it."""

    def __init__(self, ingest: Ingest, outcome: Outcome, size: int, appended: Appended) -> None:
        self.ingest = ingest
        self.outcome = outcome
        self.size = size
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
        positions, refusals = self.ingest.settle(self.outcome, self.size, self.appended), self.outcome.refusals
        if refusals and not positions:
            raise invalid([(each.path, each.refused.reasons) for each in refusals])
        return Receipt(token(positions), rejected=len(refusals))

    def abandon(self) -> None:
        """The client has gone. What it sent is kept: it may have been told so by somebody on the way."""


class Taking:
    """A request that is still to be read, when it is its turn. As `Taken`; `receipt` raises whatever `take` does."""

    def __init__(self, task: asyncio.Task[Receipt], pace: Pace) -> None:
        self.future = task
        self.pace = pace

    def receipt(self) -> Receipt:
        return self.future.result()

    def abandon(self) -> None:
        """The client has gone, and nothing was kept yet: it sends again what it got no answer for."""
        self.pace.abandon()


class Ingest:
    """The use case of clients: `take`."""

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
        self.turns = Turns()

    def take(self, sending: Sending) -> Taken | Taking:
        """Begin to keep all of `sending`: what can be used as touchpoints, the rest as rejected, each with its reasons.

        A batch of which anything can be used is taken. Raises what keeps nothing: Unauthorized, Forbidden,
        TooManyCalls, TooLarge, UnknownEncoding, Busy and Starting.
        """
        now, snapshot = self.clock(), self.registry.current
        opening = Opening(sending, snapshot, now, self.limit)
        if not opening.is_tiny and opening.source() is None:
            return self._begun(opening, None)
        parcel = opening.small()
        if parcel is None or len(parcel.batch) > SMALL_CALLS:
            return self._begun(opening, parcel)
        request = opening.opened(parcel)
        self._admit(request, now)
        outcome = Outcome(request.source, now.date())
        try:
            self._judge(outcome, range(len(parcel.batch)), parcel, self._arrival(opening, request))
        except Unavailable:  # keys that verify user tokens have not been read yet
            self.counts.quotas.give_back(request.source, len(parcel.batch), now.date())
            raise
        return self._kept(outcome)

    def _begun(self, opening: Opening, parcel: Parcel | None) -> Taking:
        """A large request, or one that has to be mended before it can be read: it waits for its turn.

        Raises TooManyCalls where its source has had its share already, and Busy where too much of it waits.
        """
        source = opening.source() or UNKNOWN
        self._refuse(source, self.counts.quotas.exhausted(source, monotonic(), opening.now.date()))
        size = len(opening.sending.body)
        self.turns.check(source.name)
        self.shares.take(source.name, size)
        self.turns.enter(source.name)

        def ended(_: object) -> None:
            opening.drop()
            self.turns.leave(source.name)
            self.shares.give_back(source.name, size)

        pace = Pace()
        task = asyncio.get_running_loop().create_task(self._in_turn(opening, source, parcel, pace))
        task.add_done_callback(ended)
        return Taking(task, pace)

    async def _in_turn(self, opening: Opening, source: Source, parcel: Parcel | None, pace: Pace) -> Receipt:
        if source is UNKNOWN:
            async with self.turns.turn(source.name, pace):
                source = await pace.through(opening.seeking())
            self.turns.check(source.name)
        async with self.turns.turn(source.name, pace):
            if parcel is None:
                parcel = await pace.through(opening.steps())
            outcome = await self._decided(opening, parcel, pace)
        taken = self._kept(outcome)
        await asyncio.wait([taken.future])
        return taken.receipt()

    async def _decided(self, opening: Opening, parcel: Parcel, pace: Pace) -> Outcome:
        """As `take` decides, with pauses."""
        request, now = opening.opened(parcel), opening.now
        self._admit(request, now)
        outcome = Outcome(request.source, now.date())
        arrival = self._arrival(opening, request)
        try:
            for places in _groups(parcel):
                self._judge(outcome, places, parcel, arrival)
                if pace.is_due:
                    await pace.pause()
        except BaseException:
            self.counts.quotas.give_back(request.source, len(parcel.batch), now.date())
            raise
        return outcome

    def _judge(self, outcome: Outcome, places: range, parcel: Parcel, arrival: Arrival) -> None:
        """Add the calls at `places` to the outcome."""
        verdicts = [
            judge(each, arrival, self.fresh_id) if isinstance(each, Raw) else _unusable(each, place, parcel, arrival)
            for place, each in zip(places, _calls(parcel, places), strict=True)
        ]
        accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
        outcome.records += [(each.key, encode(each.touchpoint)) for each in accepted]
        outcome.departures += [each.departure for each in verdicts if each.departure is not None]
        outcome.cut += sum([each.cut for each in accepted])
        if len(accepted) < len(verdicts):
            outcome.refusals += self._refusals(zip(places, verdicts, strict=True), parcel, arrival)

    def _arrival(self, opening: Opening, request: Opened) -> Arrival:
        sending, parcel = opening.sending, request.parcel
        context = common(parcel.context)
        token = context.pop(TOKEN, None)
        return Arrival(
            source=request.source,
            received_at=opening.now,
            plan=opening.known.plan,
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
        calls = len(request.parcel.batch)
        self._refuse(request.source, self.counts.quotas.admit(request.source, calls, monotonic(), now.date()))

    def _refuse(self, source: Source, seconds: float | None) -> None:
        """Raises TooManyCalls where there are `seconds` until the source may send again."""
        if seconds is not None:
            rate = f"{source.rate:g} calls a second" if source.rate is not None else ""
            quota = f"{source.quota:,} calls a day" if source.quota is not None else ""
            may = " and ".join(filter(None, (rate, quota)))
            raise TooManyCalls(f"source {source.name!r} may send {may}, and has: send this again later", seconds)

    def _refusals(
        self, verdicts: Iterable[tuple[int, Accepted | Refused]], parcel: Parcel, arrival: Arrival
    ) -> Iterator[Refusal]:
        for place, each in verdicts:
            if isinstance(each, Refused):
                kept = replace(each, body=parcel.original(place))
                record = encode(rejection(kept, arrival, self.fresh_id(), parcel.form))
                yield Refusal(parcel.path(place), each, (arrival.source.name.encode(), record))

    def _kept(self, outcome: Outcome) -> Taken:
        """The touchpoints on their way into the log; the rejected are there before them.

        Should only these arrive, the retry repeats them, where a person sees it; touchpoints without ids of their own
        would count twice.
        """
        size = _size(outcome.records) + _size([each.record for each in outcome.refusals])
        try:
            self.shares.take(outcome.source.name, size)
        except Unavailable:
            self._not_taken(outcome)
            raise
        if outcome.refusals:
            both = asyncio.get_running_loop().create_task(self._rejected_first(outcome))
            return Taken(self, outcome, size, Appended(both, both.result))
        return Taken(self, outcome, size, self.touchpoints.put(outcome.records))

    async def _rejected_first(self, outcome: Outcome) -> list[Position]:
        await self.rejected.append([each.record for each in outcome.refusals])
        return await self.touchpoints.append(outcome.records) if outcome.records else []

    def settle(self, outcome: Outcome, size: int, appended: Appended) -> list[Position]:
        """The positions of what was kept, which is counted now. Raises LogUnavailable."""
        self.shares.give_back(outcome.source.name, size)
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
        if outcome.refusals:
            for code, calls in Counter([each.refused.reasons[0].code for each in outcome.refusals]).items():
                metrics.REJECTED.labels(source, code).inc(calls)
        if outcome.cut:
            metrics.CUT.labels(source).inc(outcome.cut)


def _size(records: Sequence[Record]) -> int:
    return sum([len(key) + len(value) for key, value in records])


def _unusable(reasons: tuple[Reason, ...], place: int, parcel: Parcel, arrival: Arrival) -> Refused:
    """A call that could not even be translated, known by what its original says."""
    original = parcel.original(place)
    return refused(reasons, outlined(original) if parcel.form == "cloudevent" else original, arrival)


def _calls(parcel: Parcel, places: range) -> Sequence[Raw | tuple[Reason, ...]]:
    if parcel.form == "call":
        return parcel.batch[places.start : places.stop]
    return [call(parcel, place) for place in places]


def _groups(parcel: Parcel) -> Iterator[range]:
    """The places of the calls in groups that are judged in one go: some calls, or a large one."""
    start = size = 0
    for place, each in enumerate(parcel.batch):
        size += CALL_BYTES + (len(bytes(each)) if isinstance(each, Raw) else GROUP_BYTES)
        if size >= GROUP_BYTES:
            yield range(start, place + 1)
            start, size = place + 1, 0
    yield range(start, len(parcel.batch))
