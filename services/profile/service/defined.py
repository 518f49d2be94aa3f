"""What computed traits there are, as a transaction must see them: read once for each generation."""

from __future__ import annotations

from datetime import tzinfo

import structlog

from services.profile.domain.computed.definitions import Defined, usable_filter
from services.profile.store import definitions
from services.profile.store.definitions import Kept
from shared.db import Work

log = structlog.get_logger(__name__)


class Definitions:
    """The definitions as of the last look, and that look. `zone` is where the account's calendar is."""

    def __init__(self, zone: tzinfo) -> None:
        self.known = Defined(zone=zone)

    async def current(self, work: Work) -> Defined:
        """Those of now, and until `work` ends: nothing is defined, shown or deleted meanwhile.

        To be called before anything is read or locked that they are about.
        """
        await definitions.share(work)
        generation, known = await definitions.generation(work), self.known
        if generation != known.generation:
            known = self.known = _defined(generation, await definitions.live(work), known.zone)
        return known


def _defined(generation: int, rows: list[Kept], zone: tzinfo) -> Defined:
    for each in rows:
        if (text := each.definition.formula.filter) is not None and usable_filter(text) is None:
            log.warning("the filter of a saved trait is refused: it holds for nothing", trait=each.definition.id)
    return Defined(
        zone=zone,
        generation=generation,
        counted=tuple(each.definition for each in rows),
        shown=tuple(each.definition for each in rows if each.phase != "filling"),
    )
