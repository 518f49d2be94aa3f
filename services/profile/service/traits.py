"""Answering where a trait comes from: its present word, and all that were said before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from services.profile.domain.identity import NAMED
from services.profile.domain.traits import Winner
from services.profile.service import history
from services.profile.service.history import Page
from services.profile.service.reading import EVER, found_profile, shown_removal
from services.profile.store import partitions, traits
from services.profile.store.timeline import Asked, Place
from shared.db import Work
from shared.identifiers import Identifier


class Words(NamedTuple):
    """A page of what was said of a trait; the word that wins of all; and before when retention removed words."""

    page: Page
    winner: Winner | None
    removed_before: datetime | None


class TraitHistory:
    """What can be asked about the traits of one person."""

    async def words(self, identifier: Identifier, name: str, work: Work, *, before: Place, limit: int) -> Words:
        """What was said of the trait `name` before `before`, the newest first. Raises ProfileNotFound."""
        found = await found_profile(work, identifier)
        removed = await partitions.removed_before(work)
        asked = Asked(found.profile_id, NAMED, removed or EVER, trait=name)
        winner = await traits.winner(work, found.profile_id, name)
        page = await history.page(work, asked, before=before, limit=limit)
        return Words(page, winner, shown_removal(found, removed))

    async def present(
        self, identifier: Identifier, after: str | None, limit: int, work: Work
    ) -> Sequence[tuple[str, Winner]]:
        """The last word for each trait, by name, those past `after`. Raises ProfileNotFound."""
        found = await found_profile(work, identifier)
        words = await traits.winners(work, found.profile_id)
        return sorted((name, word) for name, word in words.items() if after is None or name > after)[:limit]
