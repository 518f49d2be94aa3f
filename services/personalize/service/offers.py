"""Offers, as a marketer keeps them."""

from __future__ import annotations

from collections.abc import Callable

from services.personalize.domain.offers import Offer, eligibility
from services.personalize.errors import OfferNotFound
from services.personalize.store import offers
from shared.clock import Clock
from shared.db import Database


class Offers:
    """Put, find, list and withdraw. `after` is called once something has changed, so that decisions know at once."""

    def __init__(self, database: Database, *, clock: Clock, after: Callable[[], None]) -> None:
        self.database = database
        self.clock = clock
        self.after = after

    async def put(self, offer: Offer) -> Offer:
        """Make `offer` under its id, or change it; give it with its version. Raises RuleRefused."""
        if offer.eligibility is not None:
            eligibility(offer.eligibility)
        async with self.database.begin() as work:
            put = await offers.put(work, offer)
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

    async def withdraw(self, offer_id: str) -> None:
        """Make it no more. What was decided before stays on record. Raises OfferNotFound."""
        async with self.database.begin() as work:
            withdrawn = await offers.withdraw(work, offer_id, self.clock())
        if not withdrawn:
            raise _not_found(offer_id)
        self.after()


def _not_found(offer_id: str) -> OfferNotFound:
    return OfferNotFound(f"no offer has the id {offer_id!r}")
