"""Answering: one person's view, one person's timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row

from services.profile.domain.identity import NAMED
from services.profile.errors import ProfileNotFound
from services.profile.store import profiles, timeline
from services.profile.store.profiles import Found
from services.profile.store.timeline import Place
from shared import ledger
from shared.db import Work
from shared.identifiers import PROFILE, Identifier, normal

NOW = Place(datetime(9999, 12, 31, tzinfo=UTC), "", "")
"""Where every timeline ends: it is read from here backwards."""


class Sight(NamedTuple):
    """A view as JSON, its version, and the version from which on it says what was asked for."""

    body: str
    version: int
    wanted: int


class Reading:
    """What can be asked about one person. `consumer` and `topic` are who absorbs touchpoints, and from where."""

    def __init__(self, *, consumer: str, topic: str) -> None:
        self.consumer = consumer
        self.topic = topic

    async def look(self, identifier: Identifier, after: Mapping[int, int], work: Work) -> Sight | None:
        """The view of whoever has `identifier`; None where the log has not been absorbed up to `after` yet.

        `after` is a position, {partition: offset}, or empty. Raises ProfileNotFound.
        """
        if after and not await ledger.reached(work, self.consumer, self.topic, after):
            return None
        found = await found_profile(work, identifier)
        # What was never published has version 0, which nobody wants.
        return Sight(found.body or "", found.shown or 0, found.version if after else found.joined)

    async def timeline(
        self, identifier: Identifier, work: Work, *, limit: int, before: Place, channel: str | None, name: str | None
    ) -> Sequence[Row[Any]]:
        """That person's touchpoints that are older than `before`, the newest first. Raises ProfileNotFound."""
        found = await found_profile(work, identifier)
        return await timeline.newest(
            work, found.profile_id, kinds=NAMED, before=before, limit=limit, channel=channel, name=name
        )


async def found_profile(work: Work, identifier: Identifier) -> Found:
    """The profile of whoever has `identifier`, absorbed or not. Raises ProfileNotFound."""
    found = await _find(work, identifier)
    if found is None:
        raise ProfileNotFound(identifier)
    return found


async def _find(work: Work, identifier: Identifier) -> Found | None:
    if identifier.kind != PROFILE:
        return await profiles.find(work, normal(identifier))
    try:
        return await profiles.find_by_id(work, str(UUID(identifier.value)))
    except ValueError:  # no id of ours, so nobody's
        return None
