"""Keeping the tracking plan. Every change is another version, and none is ever lost: any can be put in force again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from sqlalchemy import Row

from services.ingest.domain.dialect import written
from services.ingest.domain.plan import ALL, EVENTS, Mode, Where
from services.ingest.domain.shapes import compile_schema
from services.ingest.domain.sources import Key
from services.ingest.errors import (
    PlanChanged,
    PlannedEventNotFound,
    SourceNotFound,
    TooManyPlanned,
    VersionNotFound,
    VersionRemoved,
)
from services.ingest.store import plan, sources
from services.ingest.store.plan import LATEST, REMOVED
from shared import audit
from shared.clock import Clock
from shared.db import Work

DAYS = 7
"""Over which departures are counted where a planned event is shown."""

MOST_VIOLATIONS = 1_000
"""Rows of departures in one answer, the newest and most frequent."""


class Planning:
    """What can be done with the tracking plan. Whoever does it is written down."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def save(
        self, where: Where, mode: Mode, schema: Any, actor: Key, work: Work, *, version: int | None = None
    ) -> Row[Any]:
        """Plan an event, or change it. What is planned so already stays as it is.

        `version`: the one that the caller has seen (0: none), where nobody else's change may be overwritten. Raises
        SchemaRefused, SourceNotFound, PlanChanged and TooManyPlanned.
        """
        compile_schema(schema)
        await audit.lock(work)
        if where.source != ALL and await sources.find(work, where.source) is None:
            raise SourceNotFound(where.source)
        newest = await self._newest(where, work)
        held = _version(newest) if _planned(newest) else 0
        if version is not None and version != held:
            raise PlanChanged(_named(where), held)
        return await self._put(where, newest, actor, work, mode=mode, schema=written(schema))

    async def get(self, where: Where, work: Work) -> Row[Any]:
        """A planned event as it is in force. Raises PlannedEventNotFound."""
        found = await plan.show(work, where, self._since(DAYS))
        if found is None:
            raise PlannedEventNotFound(_named(where))
        return found

    async def page(self, after: Where, limit: int, work: Work) -> Sequence[Row[Any]]:
        """All that is in force, by type, name and source, past `after`."""
        return await plan.page(work, after, limit, self._since(DAYS))

    async def versions(self, where: Where, before: int | None, limit: int, work: Work) -> Sequence[Row[Any]]:
        """All versions, highest first, those below `before`. Raises PlannedEventNotFound where there never was one."""
        rows = await plan.versions(work, where, LATEST if before is None else before, limit)
        if not rows and before is None:
            raise PlannedEventNotFound(_named(where))
        return rows

    async def violations(self, where: Where, days: int, work: Work) -> Sequence[Row[Any]]:
        """Where calls departed from it, in so many days. Raises PlannedEventNotFound where there never was one."""
        await self.versions(where, None, 1, work)
        return await plan.violations(work, where, self._since(days), MOST_VIOLATIONS)

    async def remove(self, where: Where, actor: Key, work: Work) -> None:
        """Take an event out of the plan: what is planned for all holds again, if anything is.

        Raises PlannedEventNotFound.
        """
        await audit.lock(work)
        newest = await self._newest(where, work)
        if newest is None or not _planned(newest):
            raise PlannedEventNotFound(_named(where))
        await self._add(where, newest, actor, work, mode=REMOVED, schema=newest.schema_text)

    async def restore(self, where: Where, version: int, actor: Key, work: Work) -> Row[Any]:
        """Put an earlier version in force again, as a new one.

        Raises PlannedEventNotFound, VersionNotFound, VersionRemoved and TooManyPlanned; and SchemaRefused for what was
        taken in the past and is not any more.
        """
        await audit.lock(work)
        newest = await self._newest(where, work)
        if newest is None:
            raise PlannedEventNotFound(_named(where))
        wanted = next(iter(await plan.versions(work, where, version + 1, 1)), None)
        if wanted is None or wanted.version != version:
            raise VersionNotFound(_named(where), version)
        if wanted.mode == REMOVED:
            raise VersionRemoved(_named(where), version)
        compile_schema(msgspec.json.decode(wanted.schema_text))
        return await self._put(where, newest, actor, work, mode=wanted.mode, schema=wanted.schema_text)

    async def _put(
        self, where: Where, newest: Row[Any] | None, actor: Key, work: Work, *, mode: Mode, schema: str
    ) -> Row[Any]:
        if newest is None or (newest.mode, newest.schema_text) != (mode, schema):
            if not _planned(newest) and await plan.count(work) >= EVENTS:
                raise TooManyPlanned(EVENTS)
            await self._add(where, newest, actor, work, mode=mode, schema=schema)
        return await self.get(where, work)

    async def _add(
        self, where: Where, newest: Row[Any] | None, actor: Key, work: Work, *, mode: str, schema: str
    ) -> None:
        now, version = self.clock(), _version(newest) + 1
        await plan.add(work, where, version=version, mode=mode, schema=schema, now=now, by=actor.id)
        action = "removed" if mode == REMOVED else "changed" if _planned(newest) else "made"
        before, after = _told(newest), {"version": version, "mode": mode}
        await audit.note(work, at=now, actor=actor.id, action=action, object=_path(where), before=before, after=after)

    async def _newest(self, where: Where, work: Work) -> Row[Any] | None:
        return next(iter(await plan.versions(work, where, LATEST, 1)), None)

    def _since(self, days: int) -> Any:
        return (self.clock() - timedelta(days=days - 1)).date()


def _version(row: Row[Any] | None) -> int:
    return 0 if row is None else int(row.version)


def _planned(newest: Row[Any] | None) -> bool:
    """Whether the event is in the plan."""
    return newest is not None and newest.mode != REMOVED


def _named(where: Where) -> str:
    """A planned event in a sentence."""
    name = f" {where.name!r}" if where.name else ""
    return f"{where.type}{name} of {'all sources' if where.source == ALL else f'source {where.source!r}'}"


def _path(where: Where) -> str:
    """A planned event in the audit: its path below /v1."""
    name = f"/{quote(where.name, safe='')}" if where.name else ""
    return f"plan/{where.type}{name}" + ("" if where.source == ALL else f"?source={where.source}")


def _told(row: Row[Any] | None) -> dict[str, Any] | None:
    """A version as the audit has it: its schema stays with it for ever."""
    return None if row is None else {"version": row.version, "mode": row.mode}
