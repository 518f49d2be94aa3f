"""Model versions: asked for, shown, activated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.scoring.domain.scores import Named
from services.scoring.errors import ModelNotFound, ModelNotReady, NoModel
from services.scoring.store import marks
from services.scoring.store import models as store
from services.scoring.store.models import Version
from shared.audit import Audit
from shared.clock import Clock, rfc3339
from shared.db import Database, Work
from shared.errors import Invalid


class Models:
    """What can be done with model versions, but for the fitting itself."""

    def __init__(self, database: Database, clock: Clock, after: Callable[[], None] = lambda: None) -> None:
        self.database = database
        self.clock = clock
        # Called when a fit was asked for: whoever fits need not wait until he looks again.
        self.after = after
        self.audit = Audit(clock)

    async def refit(self, as_of: datetime | None, actor: str, *, activate: bool) -> Version:
        """Ask for a model of the customers as of `as_of`, else of now. It is fitted in the background.

        Its id is the time of asking; of two that ask in one second, the later one's is the next free second.
        Raises Invalid for a time that is still to come.
        """
        now = self.clock()
        if as_of is not None and as_of > now:
            raise Invalid("as_of: that is in the future", details=[{"path": "as_of", "code": "in_the_future"}])
        async with self.database.begin() as work:
            asked = now.astimezone(UTC).replace(microsecond=0)
            while not await store.request(work, _id(asked), as_of=as_of or now, activate=activate, now=now):
                asked += timedelta(seconds=1)
            version = await self._version(work, _id(asked))
            await self.note(work, actor, "requested", None, version)
        self.after()
        return version

    async def activate(self, id: str, actor: str) -> Version:
        """Let this model make the scores from now on. Raises ModelNotFound, ModelNotReady."""
        async with self.database.begin() as work:
            await self.activated(work, id, actor)
            return await self._version(work, id)

    async def activated(self, work: Work, id: str, actor: str) -> None:
        """The same, inside `work`. The scores of all who buy are brought up to it in the background."""
        await store.activating(work)
        version = await self._version(work, id)
        if version.model is None:
            raise ModelNotReady(_why_not(version))
        if version.status != "active":
            await store.activate(work, id)
            await self.note(work, actor, "activated", version, await self._version(work, id))

    async def note(self, work: Work, actor: str, action: str, before: Version | None, after: Version) -> None:
        """Write down what has become of a model, and with whom."""
        await self.audit.changed(
            work, actor, f"models/{after.id}", action=action, before=_told(before), after=_told(after)
        )

    async def get(self, id: str) -> Version:
        """Raises ModelNotFound."""
        async with self.database.begin() as work:
            return await self._version(work, id)

    async def newest(self, before: str | None, limit: int) -> Sequence[Version]:
        """The newest first, older ones than the id `before`."""
        async with self.database.begin() as work:
            return await store.versions(work, before=before, limit=limit)

    async def fitted(self, work: Work, id: str | None) -> Named:
        """The model of that id, the active one without. Raises ModelNotFound, ModelNotReady, NoModel."""
        if id is None:
            active = await store.active(work)
            if active is None:
                raise NoModel("no model is active yet: POST /v1/models/refit fits one")
            return active
        version = await self._version(work, id)
        if version.model is None:
            raise ModelNotReady(_why_not(version))
        return Named(version.id, version.model)

    async def next_to_mark(self, work: Work, limit: int) -> list[str]:
        """Some profiles that buy, to be scored by the active model for the first time; then taken as marked."""
        unmarked = await store.to_mark(work)
        if unmarked is None:
            return []
        id, after = unmarked
        profiles = await marks.buying(work, after, limit)
        await store.marked(work, id, profiles[-1] if profiles else None)
        return profiles

    async def _version(self, work: Work, id: str) -> Version:
        version = await store.get(work, id)
        if version is None:
            raise ModelNotFound(f"there is no model {id!r}: GET /v1/models lists them")
        return version


def _id(asked: datetime) -> str:
    return asked.strftime("%Y-%m-%dT%H:%M:%SZ")


def _why_not(version: Version) -> str:
    if version.status == "failed":
        return f"model {version.id!r} could not be fitted: {version.reason}"
    return f"model {version.id!r} is still being fitted"


def _told(version: Version | None) -> dict[str, Any] | None:
    """A model as the audit has it: without what was fitted, which stays with it."""
    if version is None:
        return None
    return {
        "id": version.id,
        "status": version.status,
        "as_of": rfc3339(version.as_of),
        "activate": version.activate,
        "reason": version.reason,
    }
