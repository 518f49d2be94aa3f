"""`duplicates`, from its options to what came of it: everybody is read, compared, and what is found is proposed."""

from __future__ import annotations

from functools import partial

from services.profile.domain.proposals import Revision
from services.profile.service.matching.pool import Looked, pool
from services.profile.service.proposing import Proposals
from services.profile.service.ruling import Rulings
from services.profile.settings import Settings
from shared.audit import of_operator
from shared.db import Database, Work

CHUNK = 2_000
"""Views read in one transaction: a few megabytes."""


async def looked_for(
    settings: Settings, rulings: Rulings, at_least: float, limit: int, *, dry_run: bool = False
) -> tuple[Looked, Revision]:
    """Propose likely duplicates, or with `dry_run` only say what would be. Raises ExtraMissing."""
    proposals = Proposals(rulings, rulings.clock)
    with pool() as waiting:
        async with Database.open(settings.database) as database:
            chunk = await database.retrying(lambda work: proposals.descriptions(None, CHUNK, work))
            waiting.add(chunk.descriptions)
            while after := chunk.last:
                chunk = await database.retrying(partial(proposals.descriptions, after, CHUNK))
                waiting.add(chunk.descriptions)

            looked = waiting.look(at_least=at_least, limit=limit)

            async def propose(work: Work) -> Revision:
                revision = await proposals.revise(looked.found, work, complete=looked.complete)
                if not dry_run:
                    await proposals.keep(revision, of_operator(), work)
                return revision

            return looked, await database.retrying(propose)
