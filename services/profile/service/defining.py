"""Defining computed traits, and what they are for one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from services.profile.domain.computed.answers import answer
from services.profile.domain.computed.cells import Answer
from services.profile.domain.computed.definitions import (
    CORE,
    Definition,
    Formula,
    filter_rule,
    first_day,
)
from services.profile.domain.computed.filling import Fill
from services.profile.errors import ComputedNotFound, ComputedReserved, TooManyComputed
from services.profile.service.defined import Definitions
from services.profile.service.reading import found_profile
from services.profile.store import definitions, parts
from services.profile.store.definitions import Kept
from shared.audit import Audit
from shared.clock import Clock
from shared.db import Work
from shared.identifiers import Identifier

MOST = 200
"""Definitions. Each costs every event that it is about, and every publication."""


class Computed(NamedTuple):
    """A computed trait of a person."""

    kept: Kept
    answer: Answer


class Defining:
    """What can be done with definitions."""

    def __init__(self, current: Definitions, clock: Clock) -> None:
        self.current = current
        self.clock = clock
        self.audit = Audit(clock)

    async def save(self, id: str, name: str, formula: Formula, actor: str, work: Work) -> Kept:
        """Make or change a definition, which fills in the background; the one before shows until then.

        The same formula again changes nothing but the name. Raises ComputedReserved, TooManyComputed and RuleRefused,
        with line and column.
        """
        self._check(id, formula)
        held = await definitions.hold(work, id)
        if held and held[0].definition.formula == formula:
            await definitions.rename(work, id, name)
            return await self._saved(id, actor, held, work)
        await definitions.lock(work)
        if await definitions.count_others(work, id) >= MOST:
            raise TooManyComputed(MOST)
        definition = self._definition(id, await definitions.advance(work), formula)

        await definitions.add(work, definition, name, Fill(), self.clock())
        await definitions.supersede(work, definition)
        return await self._saved(id, actor, held, work)

    async def _saved(self, id: str, actor: str, before: Sequence[Kept], work: Work) -> Kept:
        """The newest revision, once it is written down who saved it. `before`: what there was, the newest first."""
        kept = await self.get(id, work)
        await self.audit.changed(work, actor, path(id), before=told(before[0]) if before else None, after=told(kept))
        return kept

    async def get(self, id: str, work: Work) -> Kept:
        """The newest revision. Raises ComputedNotFound."""
        for found in await definitions.page(work, "", 1, only=id):
            return found
        raise ComputedNotFound(id)

    async def page(self, after: str, limit: int, work: Work) -> list[Kept]:
        """The newest revisions by id, those past `after`."""
        return await definitions.page(work, after, limit)

    async def delete(self, id: str, actor: str, work: Work) -> None:
        """Take it out of all views, in the background; nothing is counted by it any more. Raises ComputedNotFound."""
        held = await definitions.hold(work, id)
        if not held:
            raise ComputedNotFound(id)
        await definitions.lock(work)
        await definitions.advance(work)
        await definitions.leave(work, id)
        await self.audit.changed(work, actor, path(id), before=told(held[0]), after=None)

    async def of_person(self, identifier: Identifier, work: Work) -> list[Computed]:
        """What shows of a person, by id, as of now. Raises ProfileNotFound."""
        defined = await self.current.current(work)
        found = await found_profile(work, identifier)
        kept = {each.definition.key: each for each in await definitions.live(work)}
        held = await parts.of_profile(work, found.profile_id, defined.shown)
        now = self.clock()
        return [Computed(kept[each.key], answer(each, days, now, defined.zone)) for each, days in held]

    def _check(self, id: str, formula: Formula) -> None:
        if id in CORE:
            raise ComputedReserved(id)
        if formula.filter is not None:
            filter_rule(formula.filter)

    def _definition(self, id: str, revision: int, formula: Formula) -> Definition:
        first = first_day(formula.window_days, self.clock(), self.current.known.zone)
        return Definition(id=id, revision=revision, formula=formula, since=first)


def path(id: str) -> str:
    """A computed trait in the audit."""
    return f"computed/{id}"


def told(kept: Kept) -> dict[str, Any]:
    """A computed trait as the audit has it: its definition, not how far it is filled."""
    formula = msgspec.structs.asdict(kept.definition.formula)
    return {"id": kept.definition.id, "revision": kept.definition.revision, "name": kept.name, **formula}
