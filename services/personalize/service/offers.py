"""Offers, as a marketer keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.personalize.domain.offers import Offer, eligibility
from services.personalize.errors import OfferNotFound
from services.personalize.schemas import OfferAnswer
from services.personalize.store import offers
from shared import audit
from shared.audit import Audit
from shared.clock import Clock
from shared.db import Database


class Offers:
    """Put, find, list and withdraw. `after` is called once something has changed, so that decisions know at once.

    Who changes something is written down, by the id of the key.
    """

    def __init__(self, database: Database, *, clock: Clock, after: Callable[[], None]) -> None:
        self.database = database
        self.clock = clock
        self.after = after
        self.audit = Audit(clock)

    async def put(self, offer: Offer, actor: str) -> Offer:
        """Make `offer` under its id, or change it; give it with its version. Raises RuleRefused."""
        if offer.eligibility is not None:
            eligibility(offer.eligibility)
        async with self.database.begin() as work:
            await audit.lock(work)
            before = await offers.find(work, offer.id)
            put = await offers.put(work, offer)
            await self.audit.changed(work, actor, _path(offer.id), before=_told(before), after=_told(put))
        self.after()
        return put

    async def find(self, offer_id: str) -> Offer:
        """Raises OfferNotFound."""
        async with self.database.begin() as work:
            offer = await offers.find(work, offer_id)
        if offer is None:
            raise _not_found(offer_id)
        return offer

    async def page(self, after: str, limit: int) -> list[Offer]:
        """At most `limit` offers, by id, that come after `after`."""
        async with self.database.begin() as work:
            return await offers.page(work, after, limit)

    async def withdraw(self, offer_id: str, actor: str) -> None:
        """Make it no more. What was decided before stays on record. Raises OfferNotFound."""
        async with self.database.begin() as work:
            await audit.lock(work)
            before = await offers.find(work, offer_id)
            if before is None:
                raise _not_found(offer_id)
            await offers.withdraw(work, offer_id, self.clock())
            await self.audit.changed(work, actor, _path(offer_id), before=_told(before), after=None)
        self.after()


def _not_found(offer_id: str) -> OfferNotFound:
    return OfferNotFound(f"no offer has the id {offer_id!r}")


def _path(offer_id: str) -> str:
    return f"offers/{offer_id}"


def _told(offer: Offer | None) -> dict[str, Any] | None:
    """An offer as the audit has it: as it is shown."""
    return None if offer is None else OfferAnswer.model_validate(offer).model_dump(mode="json")
