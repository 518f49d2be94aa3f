"""The one use case of ingest: take what a client sends, judge it, and answer once Kafka has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from services.ingest import metrics
from services.ingest.domain.bodies import Parcel, common, inflated, parcel, write_key
from services.ingest.domain.judgement import Accepted, Arrival, Refused, judge, rejection
from services.ingest.domain.moments import known
from services.ingest.errors import TooLarge, UnknownEncoding
from services.ingest.settings import Settings
from shared.auth import credential, same
from shared.clock import Clock
from shared.errors import Invalid, Unauthorized
from shared.events import CallType, Reason, encode
from shared.kafka import Log, token

ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")

MOST_DETAILS = 100
"""Bad fields that an answer names. The first ones tell what to do; all of them are in touchpoints.rejected."""


class Source(NamedTuple):
    """Where calls come from, by the key they carry; `usual` is their channel where nothing else tells it."""

    name: str
    usual: str


@dataclass(frozen=True, slots=True)
class Sending:
    """One request as it came. `call`: the kind that its address names; None for a batch."""

    call: CallType | None
    body: bytes
    encoding: str = ""
    authorization: str = ""
    query_key: str | None = None
    user_agent: str = ""
    traceparent: str | None = None


class Receipt(NamedTuple):
    """What became of a request: the `Temas-Position` of its touchpoints, and how many of its calls were rejected."""

    position: str
    rejected: int


class Keys:
    """Which key is whose. The write key is public and comes in many ways, the secret key in a header only."""

    def __init__(self, settings: Settings) -> None:
        self.write_key = settings.write_key
        self.secret_key = settings.secret_key

    def by_header(self, authorization: str) -> Source | None:
        """The source of the header's key; None where it carries none. Raises Unauthorized for a wrong one."""
        key = credential(authorization)
        if key is None:
            return None
        return SERVER if same(key, self.secret_key) else self.by_write_key(key)

    def by_write_key(self, key: object) -> Source:
        """Raises Unauthorized where it is none."""
        if isinstance(key, str) and same(key, self.write_key):
            return WEB
        raise Unauthorized(
            "give the write key: as HTTP Basic user name, as writeKey in the body, or as ?writeKey= in the address; "
            "or the secret key, as HTTP Basic user name or Bearer token"
        )


WEB = Source("web", usual="unknown")
SERVER = Source("server", usual="server")


class Outcome(NamedTuple):
    """What is to be done with a request: records for both topics, and what to say of the calls that were refused."""

    source: str
    touchpoints: list[tuple[bytes, bytes]]
    rejected: list[tuple[bytes, bytes]]
    reasons: list[tuple[str, tuple[Reason, ...]]]
    cut: int


class Ingest:
    """What can be done with ingest: `take`."""

    def __init__(
        self, settings: Settings, *, touchpoints: Log, rejected: Log, clock: Clock, fresh_id: Callable[[], str]
    ) -> None:
        self.keys = Keys(settings)
        self.limit = settings.unpacked_limit
        self.touchpoints = touchpoints
        self.rejected = rejected
        self.clock = clock
        self.fresh_id = fresh_id

    async def take(self, sending: Sending) -> Receipt:
        """Keep all of `sending`: what can be used as touchpoints, the rest as rejected, each with its reasons.

        Returns once Kafka has acknowledged both. A batch of which anything can be used is taken. Raises Invalid where
        nothing of it can be, and keeps it all the same: clients throw away what gets a 400. Raises Unauthorized,
        TooLarge and UnknownEncoding, which keep nothing, and LogUnavailable.
        """
        outcome = self._decided(sending)
        del sending  # records are all that may sit in memory for as long as Kafka takes

        position = await self._kept(outcome)
        _count(outcome)
        if outcome.reasons and not outcome.touchpoints:
            raise _invalid(outcome.reasons)
        return Receipt(position, rejected=len(outcome.rejected))

    def _decided(self, sending: Sending) -> Outcome:
        received_at = self.clock()
        source, sent = self._opened(sending)

        arrival = _arrival(sending, source, received_at, sent)
        verdicts = _verdicts(sent, arrival, self.fresh_id)

        accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
        refused = [(place, verdict) for place, verdict in enumerate(verdicts) if isinstance(verdict, Refused)]
        whole = sending.call is not None or isinstance(sent, Unreadable)
        return Outcome(
            source=source.name,
            touchpoints=[(each.key, encode(each.touchpoint)) for each in accepted],
            rejected=[(source.name.encode(), encode(rejection(each, arrival, self.fresh_id()))) for _, each in refused],
            reasons=[("$" if whole else f"$.batch[{place}]", each.reasons) for place, each in refused],
            cut=sum(each.cut for each in accepted),
        )

    def _opened(self, sending: Sending) -> tuple[Source, Parcel | Unreadable]:
        """Whose request it is, and the calls in it. Raises what keeps nothing."""
        source = self.keys.by_header(sending.authorization)
        if source is None and sending.query_key is not None:
            source = self.keys.by_write_key(sending.query_key)
        if sending.encoding not in ENCODINGS:
            raise UnknownEncoding(f"send the body as it is, or with gzip: {sending.encoding!r} is not read here")
        body = inflated(sending.body, sending.encoding, self.limit)
        if isinstance(body, Reason) and body.code == "too_large":
            raise TooLarge(body.message)
        sent = body if isinstance(body, Reason) else parcel(body, single=sending.call is not None)
        if isinstance(sent, Parcel):
            return source or self.keys.by_write_key(write_key(sent)), sent
        if source is None:  # whoever's it is can't be read: nothing is kept of it
            raise _invalid([("$", (sent,))])
        return source, Unreadable(sent, sending.body)

    async def _kept(self, outcome: Outcome) -> str:
        """The position of the touchpoints, once both topics have what is theirs.

        The rejected go first. Should only they arrive, the retry repeats them, where a person sees it; touchpoints
        without ids of their own would count twice.
        """
        with metrics.LOG_SECONDS.time():
            if outcome.rejected:
                await self.rejected.append(outcome.rejected)
            return token(await self.touchpoints.append(outcome.touchpoints)) if outcome.touchpoints else ""


class Unreadable(NamedTuple):
    """A body that no call can be found in: why, and its bytes as received."""

    reason: Reason
    body: bytes


def _arrival(sending: Sending, source: Source, received_at: datetime, sent: Parcel | Unreadable) -> Arrival:
    shared = sent if isinstance(sent, Parcel) else Parcel([])
    return Arrival(
        source=source.name,
        usual=source.usual,
        received_at=received_at,
        call=sending.call,
        sent_at=known(shared.sent_at),
        user_agent=sending.user_agent,
        traceparent=sending.traceparent,
        context=common(shared.context),
        integrations=common(shared.integrations),
    )


def _verdicts(sent: Parcel | Unreadable, arrival: Arrival, fresh_id: Callable[[], str]) -> Sequence[Accepted | Refused]:
    if isinstance(sent, Unreadable):
        return [Refused((sent.reason,), sent.body, message_id=None)]
    return [judge(each, arrival, fresh_id) for each in sent.batch]


def _invalid(refused: Sequence[tuple[str, tuple[Reason, ...]]]) -> Invalid:
    """What the client is told where nothing can be used: each bad field by its path, the first ones in words."""
    details = [
        {"path": place + reason.path.removeprefix("$"), "code": reason.code, "message": reason.message}
        for place, reasons in refused
        for reason in reasons
    ]
    first = f"{details[0]['path']}: {details[0]['message']}"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return Invalid(first + more, details=details[:MOST_DETAILS])


def _count(outcome: Outcome) -> None:
    metrics.ACCEPTED.labels(outcome.source).inc(len(outcome.touchpoints))
    metrics.BATCH_CALLS.observe(len(outcome.touchpoints) + len(outcome.rejected))
    if outcome.cut:
        metrics.CUT.labels(outcome.source).inc(outcome.cut)
    for _, reasons in outcome.reasons:
        metrics.REJECTED.labels(outcome.source, reasons[0].code).inc()
