"""Scores: what comes in about customers, what goes out, and what is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import msgspec

from services.scoring import metrics
from services.scoring.domain import fragment, membership
from services.scoring.domain.fragment import Fragment
from services.scoring.domain.purchases import day_of
from services.scoring.domain.scores import Customer, Forecast, forecast, scored
from services.scoring.domain.terms import Terms
from services.scoring.errors import ProfileNotFound
from services.scoring.service.models import Models
from services.scoring.store import fragments, marks, members, models
from shared.clock import Clock
from shared.db import Database, Work
from shared.events import Identified, Touchpoint, Valuation
from shared.identifiers import Identifier, normal


class Batch(msgspec.Struct, frozen=True):
    """Profiles that were due, at their versions, and the scores of those that still stand."""

    due: Sequence[marks.Dirty]
    valuations: Sequence[Valuation]


class Standing(msgspec.Struct, frozen=True):
    """How many profiles wait to be scored, and the moment whose customers the active model was fitted on."""

    dirty: int
    model_as_of: datetime | None


class Answer(msgspec.Struct, frozen=True):
    """A person's scores, and a forecast where one was asked for and can be made."""

    valuation: Valuation
    forecast: Forecast | None


class Scores:
    """What can be done with scores. Fragments are locked before scores are marked, here as everywhere."""

    def __init__(self, database: Database, models: Models, terms: Terms, clock: Clock) -> None:
        self.database = database
        self.models = models
        self.terms = terms
        self.clock = clock

    # --- in ----------------------------------------------------------------------------------------------------------

    async def absorb(self, batch: Sequence[Touchpoint], work: Work) -> None:
        """Bring new touchpoints into their fragments, those that count, inside the consumer's transaction `work`.

        Whose profile that concerns is asked only once the fragments are locked: `link` holds them too, so one of the
        two always sees what the other wrote, and no profile misses its mark.
        """
        fresh = defaultdict(list)
        for touchpoint in filter(self.terms.counts, batch):
            fresh[touchpoint.owner].append(fragment.fragment(touchpoint, self.terms.signals, self.terms.zone))
        owners = sorted(fresh)
        if not owners:
            return
        before = await fragments.lock(work, owners)

        after = {owner: fragment.merged([before[owner], *fresh[owner]]) for owner in owners}

        await fragments.put(work, after)
        await marks.mark(work, await marks.owners(work, owners), self.clock())

    async def link(self, batch: Sequence[Identified], work: Work) -> None:
        """Learn who is who, inside the consumer's transaction `work`."""
        heard = membership.latest(event.data for event in batch)
        known = await members.lock(work, list(heard))

        relinked = membership.relinked(known, heard)

        await members.put(work, relinked)
        await fragments.hold(work, relinked.owners)
        await marks.mark(work, relinked.changed, self.clock())

    # --- out ---------------------------------------------------------------------------------------------------------

    async def score_dirty(self, limit: int) -> Batch:
        """Score some of the profiles that wait. They stay dirty until `published`."""

        async def score(work: Work) -> Batch:
            model = await models.scoring(work)
            due = await marks.take(work, limit)
            if not due:
                return Batch((), ())
            standing = {each.profile_id: each for each in due if each.stands}
            known = await fragments.of_profiles(work, list(standing))

            now = self.clock()
            customers = [
                Customer(each.profile_id, each.version, known.get(each.profile_id, Fragment()))
                for each in standing.values()
            ]
            with metrics.VALUATION_SECONDS.time():
                valuations = scored(customers, model, now, self.terms, present=True)

            buys = {each.profile_id: False for each in due}
            buys |= {customer.profile_id: customer.known.buys for customer in customers}
            await marks.keep(work, buys, day_of(now, self.terms.zone))
            return Batch(due, valuations)

        return await self.database.retrying(score)

    async def published(self, batch: Batch) -> None:
        """The batch's scores are in the log: who has not changed since is dirty no more."""
        versions = {each.profile_id: each.version for each in batch.due}
        await self.database.retrying(lambda work: marks.clear(work, versions))
        now = self.clock()
        waited = {each.profile_id: now - each.marked_at for each in batch.due}
        for valuation in batch.valuations:
            metrics.PUBLISH_DELAY.observe(max(waited[valuation.profile_id].total_seconds(), 0.0))
        metrics.SCORED.inc(len(batch.valuations))

    async def mark_aging(self, limit: int) -> int:
        """Mark some customers whose scores are of an earlier model, or an earlier day. Gives how many."""

        async def mark(work: Work) -> int:
            now = self.clock()
            profiles = await self.models.next_to_mark(work, limit)
            profiles = profiles or await marks.aged(work, day_of(now, self.terms.zone), limit)
            await marks.mark(work, profiles, now)
            return len(profiles)

        return await self.database.retrying(mark)

    async def standing(self) -> Standing:
        """How far behind we are, and how old the active model is."""
        async with self.database.begin() as work:
            named = await models.active(work)
            return Standing(await marks.backlog(work), named.model.as_of if named else None)

    # --- asked -------------------------------------------------------------------------------------------------------

    async def of(
        self, identifier: Identifier, *, as_of: datetime | None, model: str | None, weeks: int | None
    ) -> Answer:
        """A person's scores: as of now, or purchases as of `as_of`; by the named model, or the active one.

        With `weeks` a forecast for that time beside them, where there is a model. Raises ProfileNotFound,
        ModelNotFound, ModelNotReady.
        """
        async with self.database.begin() as work:
            profile_id = await members.find(work, normal(identifier))
            if profile_id is None:
                raise ProfileNotFound(f"no profile has {identifier.kind} {identifier.value!r}")
            version = await marks.version(work, profile_id)
            found = await fragments.of_profiles(work, [profile_id])
            named = await self.models.fitted(work, model) if model else await models.active(work)

        customer = Customer(profile_id, version, found.get(profile_id, Fragment()))
        then = as_of or self.clock()
        (valuation,) = scored([customer], named, then, self.terms, present=as_of is None)
        outlook = forecast(customer, named.model, then, self.terms.zone, weeks) if named and weeks else None
        return Answer(valuation, outlook)
