"""Rejected events judged once more, as if they had just arrived: with the plan now in force, and mended by a fix."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from services.ingest.domain.calls import NAME_LENGTH
from services.ingest.domain.cloudevents import translated
from services.ingest.domain.fixes import fixed
from services.ingest.domain.judgement import Accepted, Arrival, Refused, judge
from services.ingest.domain.plan import Plan
from services.ingest.domain.proof import Proof
from services.ingest.domain.sources import Source
from shared.errors import Unauthorized
from shared.events import Reason, Refusal
from shared.fixes import Fix, Replacement


class Attempt(NamedTuple):
    """What became of a rejected event: its bytes once mended (None where the fix did not fit it), and the verdict."""

    body: bytes | None
    verdict: Accepted | tuple[Reason, ...]


class Terms(NamedTuple):
    """What an attempt is judged by. Consumers remember what was received since `remembered`."""

    fix: Fix | None
    source: Source
    plan: Plan
    now: datetime
    remembered: datetime


def attempt(rejected_id: str, refusal: Refusal, terms: Terms) -> Attempt:
    """Judge a rejected event anew, mended by `terms.fix`.

    The touchpoint keeps the message id of its client, or has `rejected_id` where it had none: whoever replays an event
    twice makes the same touchpoint twice, and consumers know it by (source, id). So a fix may not give it another.

    It also keeps when it was received, for that corrects its client's clock, and says since when a duplicate of it may
    have been applied. Only what consumers no longer remember is given the present: they would put it aside for its age.
    When it happened stays what it was.
    """
    body = fixed(refusal.body, terms.fix)
    if not isinstance(body, bytes):
        return Attempt(None, body)
    call = _call(body, refusal)
    if not isinstance(call, Raw):
        return Attempt(body, call)
    own_id = _own_id(rejected_id, refusal)
    verdict = judge(call, _arrival(refusal, terms), lambda: own_id)
    if isinstance(verdict, Refused):
        return Attempt(body, verdict.reasons)
    return Attempt(body, _identified(_dated(verdict, terms), own_id, refusal, terms.fix))


def digest(source: str, refusal: Refusal) -> bytes | None:
    """The same for a call that its client sends again in the same words; None where no message id says that it did.

    When it was sent and received is no part of it: that differs each time.
    """
    if refusal.message_id is None:
        return None
    told = [source, refusal.form, refusal.call, refusal.context, refusal.integrations, refusal.body]
    if refusal.proven is not None:
        told.append(refusal.proven)
    return hashlib.blake2b(msgspec.json.encode(told), digest_size=16).digest()


def _call(body: bytes, refusal: Refusal) -> Raw | tuple[Reason, ...]:
    return translated(body) if refusal.form == "cloudevent" else Raw(body)


def _arrival(refusal: Refusal, terms: Terms) -> Arrival:
    return Arrival(
        source=terms.source,
        plan=terms.plan,
        received_at=refusal.received_at,
        call=refusal.call,
        sent_at=refusal.sent_at,
        user_agent=refusal.user_agent,
        context=refusal.context,
        integrations=refusal.integrations,
        proof=Proof(subject=_not_kept, proven=refusal.proven),
    )


def _not_kept(token: object) -> str:
    """Of a rejected event there is no token any more, and a fix may not bring one along: it would stay in the audit."""
    raise Unauthorized(_NOT_PROVEN)


_NOT_PROVEN = (
    "it was not proven who this is when it arrived, and a replay can't make up for it: send it anew with a user token, "
    "or with a key of a source that asks for none"
)


def _own_id(rejected_id: str, refusal: Refusal) -> str:
    """The id that the touchpoint has where the call does not say one."""
    said = refusal.message_id
    return said if said and len(said) < NAME_LENGTH else rejected_id  # a longer one was cut: others may begin like it


def _identified(accepted: Accepted, own_id: str, refusal: Refusal, fix: Fix | None) -> Accepted | tuple[Reason, ...]:
    """`accepted` with an id that nothing else has, or why not: a fix may say the same id of a thousand events.

    A call written anew, where none could be read, brings its own. A CloudEvent must have an id to be one: where it had
    none, the one that a fix gives it is not its touchpoint's.
    """
    id, unnamed = accepted.touchpoint.id, refusal.message_id is None
    if id in (own_id, refusal.message_id) or (unnamed and isinstance(fix, Replacement)):
        return accepted
    if unnamed and refusal.form == "cloudevent":
        return replace(accepted, touchpoint=replace(accepted.touchpoint, id=own_id))
    return (_OTHER_ID,)


_OTHER_ID = Reason(
    "$.messageId",
    "other_message_id",
    "a fix may not change messageId, by which duplicates are known: leave it as it was sent, or remove it",
)


def _dated(accepted: Accepted, terms: Terms) -> Accepted:
    touchpoint = accepted.touchpoint
    if touchpoint.data.received_at >= terms.remembered:
        return accepted
    data = replace(touchpoint.data, received_at=terms.now)
    return replace(accepted, touchpoint=replace(touchpoint, data=data))
