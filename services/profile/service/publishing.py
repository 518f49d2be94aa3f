"""Telling what changed: state, not deltas. However often it is told, and however late, it is the same."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

import msgspec
import structlog
from sqlalchemy import Row

from services.profile import metrics
from services.profile.domain.computed.definitions import Defined
from services.profile.domain.counts import hour_of
from services.profile.domain.publication import Known, Publication, published
from services.profile.domain.segments import Asked, asked, saved
from services.profile.service.defined import Definitions
from services.profile.store import counts, groups, known, profiles, segments
from services.profile.store.known import Stored
from services.profile.store.profiles import Claimed
from shared.clock import Clock
from shared.db import Work
from shared.events import Membership
from shared.rules import Rule, RuleRefused

log = structlog.get_logger(__name__)


TURN = 20
"""Profiles decided before whoever waits for an answer has a turn: about two milliseconds."""


AT_ONCE = timedelta()
STEP = timedelta(milliseconds=50)


def next_hold(hold: timedelta, claimed: int, limit: int, longest: timedelta) -> timedelta:
    """How long the next ones who are marked are held back, so that what else happens to them is told together.

    It grows while every round is full, up to `longest`, and melts away within a second or two once rounds are half
    empty: somebody who is busy while much waits is told twice a second, not twenty times.
    """
    if claimed >= limit:
        return min(2 * hold + STEP, longest)
    if claimed > limit // 2:
        return hold
    return 0.9 * hold if hold > STEP else AT_ONCE


@dataclass(frozen=True)
class Told:
    """What was written and is to be sent. `memberships`: only those that Kafka was not told before.

    `digests`: what stands for the membership of each of `publications`.
    """

    publications: Sequence[Publication]
    memberships: Sequence[Membership]
    signals: Sequence[Row[Any]]
    at: datetime
    digests: Sequence[bytes]


class Publications:
    """Three steps, in two transactions: `claim` and `confirm` in one that lasts until Kafka has all, `write` within."""

    def __init__(self, clock: Clock, zone: tzinfo = UTC) -> None:
        self.clock = clock
        self.definitions = Definitions(zone)

    async def claim(self, limit: int, claim: Work, hold: timedelta = AT_ONCE) -> list[Claimed]:
        """Profiles to publish that wait for `hold` already, nobody else's while `claim` lasts."""
        return await profiles.claim(claim, limit, self.clock(), hold)

    async def write(self, claimed: Sequence[Claimed], work: Work) -> Told:
        """Fold what is known of the claimed profiles, and write their views, segments and signals."""
        now = self.clock()
        defined = await self.definitions.current(work)
        everything = await self._known([each.profile_id for each in claimed], defined, work)
        ready = asked(usable(await segments.rules(work)))

        publications = [each async for each in _decided([each.known for each in everything], ready, now)]

        await profiles.write(work, publications)
        before = {each.known.profile_id: each.known.segments for each in everything}
        await groups.change(work, publications)
        moved = await segments.change(work, before, publications)
        await counts.add(work, moved, hour_of(now))
        await segments.put_signals(work, [signal for each in publications for signal in each.signals])
        metrics.UNKNOWN.inc(sum(each.unknown for each in publications))
        digests = [digested(each.membership) for each in publications]
        changed = [digest != told.membership for digest, told in zip(digests, everything, strict=True)]
        return Told(
            publications,
            [each.membership for each, is_new in zip(publications, changed, strict=True) if is_new],
            await segments.signals(work, list(before)),
            now,
            digests,
        )

    async def _known(self, ids: Sequence[str], defined: Defined, work: Work) -> list[Stored]:
        found = await known.known(work, ids, defined)
        # Written already, so somebody died, or Kafka was away, before it was sent: or perhaps after. Readers take a
        # version once, and time may have changed what is to be told: a new version tells it.
        unsure = {each.known.profile_id for each in found if each.written == each.known.version}
        if await profiles.mark(work, unsure, self.clock()):
            return await known.known(work, ids, defined)
        return found

    async def confirm(self, told: Told, claim: Work) -> None:
        """Kafka has it all: unmark what has not changed meanwhile, and let go of the signals."""
        pairs = zip(told.publications, told.digests, strict=True)
        cleared = [(each.view.profile_id, each.view.version, membership) for each, membership in pairs]
        await profiles.clear(claim, cleared, told.at)
        await segments.drop_signals(claim, told.signals)

    async def measure(self, work: Work) -> None:
        """Show how much waits, and for how long."""
        waiting, since = await profiles.backlog(work)
        metrics.BACKLOG.set(waiting)
        metrics.OLDEST.set(max(0.0, (self.clock() - since).total_seconds()) if since else 0)


async def _decided(everything: Sequence[Known], rules: Asked, now: datetime) -> AsyncIterator[Publication]:
    """What to tell about each. Lets others have their turn now and then: a batch is tens of milliseconds of work."""
    for index, each in enumerate(everything):
        if index % TURN == 0:
            await asyncio.sleep(0)
        yield published(each, rules, now)


def digested(membership: Membership) -> bytes:
    """Stands for who the members are, whatever the version."""
    content = msgspec.json.encode((membership.identifiers, membership.redirect))
    return hashlib.blake2b(content, digest_size=16).digest()


def usable(texts: Mapping[str, str]) -> dict[str, Rule]:
    """The rules of the segments that can be asked."""
    compiled = {name: _usable(name, text) for name, text in texts.items()}
    return {name: rule for name, rule in compiled.items() if rule is not None}


def cost(segment_id: str, text: str) -> int | None:
    """Steps that a saved rule takes at most; None for one that can't be asked."""
    rule = _usable(segment_id, text)
    return None if rule is None else rule.cost


@lru_cache(maxsize=4096)
def _usable(segment_id: str, text: str) -> Rule | None:
    """A saved rule, or None where this version of us no longer takes it: that must not stop everybody's publication."""
    try:
        return saved(text)
    except RuleRefused:
        log.warning("the rule of a saved segment is refused: it holds for nobody", segment=segment_id)
        return None
