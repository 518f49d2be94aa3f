"""Dirty profiles out to Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from services.profile import metrics
from services.profile.domain.publication import SOURCE
from services.profile.service.publishing import AT_ONCE, Publications, Told, next_hold
from services.profile.store.profiles import Claimed
from shared import topics
from shared.clock import Clock
from shared.db import Database
from shared.events import Identified, Membership, Profiled, View, encode
from shared.kafka import Kafka


class ProfilePublisher:
    """Takes some dirty profiles, writes what they have become, sends it, and only then lets go of them.

    The claim is a transaction of its own around the one that writes: it ends after Kafka has everything, so that no
    other process sends an older state of the same profile after ours; and it ends by itself if this process dies.
    """

    def __init__(
        self,
        *,
        publications: Publications,
        database: Database,
        kafka: Kafka,
        batch: int,
        clock: Clock,
        longest_hold: timedelta = AT_ONCE,
    ) -> None:
        """`longest_hold`: how long profiles are held back at most while more waits than is told (`next_hold`)."""
        self.longest_hold = longest_hold
        self.hold = AT_ONCE
        self.publications = publications
        self.database = database
        self.identities = kafka.log(topics.IDENTITIES)
        self.profiles = kafka.log(topics.PROFILES)
        self.signals = kafka.log(topics.SIGNALS)
        self.batch = batch
        self.clock = clock

    async def publish(self) -> int:
        """Publish up to a batch of profiles; give how many. Raises what Kafka and PostgreSQL raise: nothing is lost."""
        async with self.database.begin() as claim:
            claimed = await self.publications.claim(self.batch, claim, self.hold)
            self.hold = next_hold(self.hold, len(claimed), self.batch, self.longest_hold)
            if not claimed:
                return 0
            told = await self.database.retrying(lambda work: self.publications.write(claimed, work))
            await self._send(told)
            await self.publications.confirm(told, claim)
        self._measure(claimed, told)
        return len(claimed)

    async def _send(self, told: Told) -> None:
        await asyncio.gather(
            self.identities.append([_identified(each, told) for each in told.memberships]),
            self.profiles.append([_profiled(each.view, told) for each in told.publications]),
            self.signals.append([(str(row.profile_id).encode(), row.body.encode()) for row in told.signals]),
        )

    def _measure(self, claimed: Sequence[Claimed], told: Told) -> None:
        now = self.clock()
        metrics.PUBLISHED.inc(len(told.publications))
        for each in claimed:
            metrics.PUBLISH_SECONDS.observe((now - each.marked_at).total_seconds())
        for publication in told.publications:
            for signal in publication.signals:
                metrics.SIGNALS.labels(signal.data.name).inc()


def _identified(membership: Membership, told: Told) -> tuple[bytes, bytes]:
    event = Identified(
        id=f"{membership.profile_id}:{membership.version}",
        source=SOURCE,
        time=told.at,
        subject=membership.profile_id,
        data=membership,
    )
    return membership.profile_id.encode(), encode(event)


def _profiled(view: View, told: Told) -> tuple[bytes, bytes]:
    event = Profiled(
        id=f"{view.profile_id}:{view.version}", source=SOURCE, time=told.at, subject=view.profile_id, data=view
    )
    return view.profile_id.encode(), encode(event)
