"""Answering: one person's view, one person's timeline."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.profile.domain.identity import NAMED
from services.profile.errors import ProfileNotFound
from services.profile.service import history
from services.profile.service.history import Page
from services.profile.store import partitions, profiles, sights
from services.profile.store.profiles import Found
from services.profile.store.timeline import Asked, Place
from shared import ledger
from shared.clock import rfc3339
from shared.db import Work
from shared.events import Touchpoints
from shared.identifiers import PROFILE, Identifier, normal
from shared.lookups import Lookups

EVER = datetime.min.replace(tzinfo=UTC)
"""The first moment of our calendar."""


class Sight(NamedTuple):
    """A view as JSON, its version, and the version from which on it says what was asked for."""

    body: str
    version: int
    wanted: int


class Filter(NamedTuple):
    """Which touchpoints of a person: from `since` on, and only those of this channel, name and type."""

    since: datetime = EVER
    channel: str | None = None
    name: str | None = None
    type: str | None = None


class Leaf(NamedTuple):
    """A page of somebody's timeline; and before when retention removed what happened, where it removed anything."""

    page: Page
    removed_before: datetime | None


class _First(msgspec.Struct):
    """What of a view says when somebody was first there."""

    touchpoints: Touchpoints = Touchpoints()


class Reading:
    """What can be asked about one person. `consumer` and `topic` are who absorbs touchpoints, and from where."""

    def __init__(self, *, consumer: str, topic: str) -> None:
        self.consumer = consumer
        self.topic = topic

    async def look(self, identifier: Identifier, after: Mapping[int, int], lookups: Lookups) -> Sight | None:
        """The view of whoever has `identifier`; None where the log has not been absorbed up to `after` yet.

        `after` is a position, {partition: offset}, or empty. Raises ProfileNotFound.
        """
        if after and not await ledger.reached(lookups, self.consumer, self.topic, after):
            return None
        found = await _seen(lookups, identifier)
        if found is None:
            raise ProfileNotFound(identifier)
        # What was never published has version 0, which nobody wants.
        return Sight(found.body or "", found.shown or 0, found.version if after else found.joined)

    async def timeline(self, identifier: Identifier, asked: Filter, work: Work, *, before: Place, limit: int) -> Leaf:
        """That person's touchpoints that are older than `before`, the newest first. Raises ProfileNotFound."""
        found = await found_profile(work, identifier)
        removed = await partitions.removed_before(work)
        since = max(asked.since, removed or asked.since)
        wanted = Asked(found.profile_id, NAMED, since, asked.channel, asked.name, asked.type)
        page = await history.page(work, wanted, before=before, limit=limit)
        return Leaf(page, shown_removal(found, removed))


def shown_removal(found: Found, removed: datetime | None) -> datetime | None:
    """The moment `removed`, before which retention has removed everything, where anything of this person is older."""
    first = msgspec.json.decode(found.body, type=_First).touchpoints.first_at if found.body else None
    return removed if removed is not None and first is not None and first < rfc3339(removed) else None


async def found_profile(work: Work, identifier: Identifier) -> Found:
    """The profile of whoever has `identifier`, absorbed or not. Raises ProfileNotFound."""
    found = await _find(work, identifier)
    if found is None:
        raise ProfileNotFound(identifier)
    return found


async def _find(work: Work, identifier: Identifier) -> Found | None:
    if identifier.kind != PROFILE:
        return await profiles.find(work, normal(identifier))
    profile_id = _id(identifier)
    return None if profile_id is None else await profiles.find_by_id(work, profile_id)


async def _seen(lookups: Lookups, identifier: Identifier) -> Found | None:
    if identifier.kind != PROFILE:
        return await sights.find(lookups, normal(identifier))
    profile_id = _id(identifier)
    return None if profile_id is None else await sights.find_by_id(lookups, profile_id)


def _id(identifier: Identifier) -> str | None:
    """The id of a profile that it names; None where it is no id of ours, so nobody's."""
    try:
        return str(UUID(identifier.value))
    except ValueError:
        return None
