"""A component of the identity graph: all that decides whose some identifiers are, and never the whole graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import text

from services.profile.domain.graph import CLAIMS, Limits
from services.profile.domain.identity import NAMED, Edge
from services.profile.domain.linking import Component
from services.profile.domain.precedence import Precedence
from services.profile.domain.rulings import Ruling, holding
from services.profile.store import rulings
from services.profile.store.identities import Places, edge_of, keys, place_of, placed
from shared.db import Work
from shared.identifiers import USER, Identifier

# One step along the graph: those given, their owners, all that share a profile with them, and the users they are said
# to be aliases of. An alias is walked from its member only: its owner was seen when it was said, so whoever may be seen
# for the first time after it is the member.
AROUND = text("""
    WITH start AS MATERIALIZED (
        SELECT identifier.*
        FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
        JOIN identifier USING (kind, value)
    ), found AS MATERIALIZED (
        SELECT kind, value FROM start
        UNION SELECT owner_kind, owner_value FROM start WHERE owner_value IS NOT NULL
        UNION SELECT identifier.kind, identifier.value
            FROM (SELECT DISTINCT profile_id FROM start) AS shared JOIN identifier USING (profile_id)
        UNION SELECT edge.owner_kind, edge.owner_value
            FROM start JOIN edge ON (edge.member_kind, edge.member_value) = (start.kind, start.value)
            WHERE start.kind = 'user_id' AND edge.kind = 'alias'
    )
    SELECT identifier.* FROM found JOIN identifier USING (kind, value)
""")
# Of a member's aliases the other end is found too: they are one person, or split, and then found by the ruling.
ALIASES = text("""
    SELECT DISTINCT edge.* FROM unnest(CAST(:values AS text[])) AS wanted (value)
    JOIN edge ON edge.member_kind = 'user_id' AND edge.member_value = wanted.value
    WHERE edge.kind = 'alias'
""")
# The earliest claims on each owner of each kind: as many as a profile takes, however many there are. As
# domain/precedence.py orders them; no event time stands for the latest there can be, so it comes last.
CLAIMANTS = text("""
    SELECT earliest.*
    FROM unnest(CAST(:owner_kinds AS text[]), CAST(:owner_values AS text[])) AS owner (kind, value)
    CROSS JOIN unnest(CAST(:kinds AS text[]), CAST(:limits AS integer[])) AS wanted (kind, most)
    CROSS JOIN LATERAL (
        SELECT * FROM identifier
        WHERE identifier.owner_kind = owner.kind AND identifier.owner_value = owner.value
            AND identifier.kind = wanted.kind
        ORDER BY claimed_rank, claimed_at, claimed_happened_at, claimed_id, value LIMIT wanted.most
    ) AS earliest
""")
# Of each the earliest claims: an id that everybody used has more than anybody looks at.
CLAIMED = text("""
    SELECT earliest.*
    FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    CROSS JOIN LATERAL (
        SELECT * FROM edge
        WHERE member_kind = wanted.kind AND member_value = wanted.value AND edge.kind IN ('login', 'claim')
        ORDER BY rank, at, happened_at, touchpoint_id, owner_kind, owner_value LIMIT :most
    ) AS earliest
""")


async def component(work: Work, seeds: Iterable[Identifier], limits: Limits) -> Component:
    """All that decides whose `seeds` are: their profiles, those that rulings tie to them, and what was said."""
    return await _Walk(work, limits).component(seeds)


class _Walk:
    """One walk through the graph: whoever is found, and what was asked about them already."""

    def __init__(self, work: Work, limits: Limits) -> None:
        self.work = work
        self.limits = limits
        self.found: Places = {}
        self.rulings: dict[str, Ruling] = {}
        self.evidence: dict[Edge, Precedence] = {}
        self.asked: set[Identifier] = set()

    async def component(self, seeds: Iterable[Identifier]) -> Component:
        frontier = set(seeds)
        while frontier:
            await self._around(frontier)
            frontier = await self._ruled()
        await self._aliases()
        return Component(self.found, self.evidence, holding(self.rulings.values()))

    async def _around(self, frontier: set[Identifier]) -> None:
        """Find the profiles of `frontier`, and all that they own or are aliases of."""
        walked: set[str | None] = {None}
        while frontier:
            around = placed((await self.work.execute(AROUND, keys(frontier))).all(), self.found)
            self.found |= around
            walked |= {self.found[each].profile_id for each in frontier if each in self.found}
            # Of a profile that was walked everybody is found, and with them all that they own or are aliases of.
            frontier = {each for each, place in around.items() if place.profile_id not in walked}
            if not frontier:
                frontier = set(await self._claimants())

    async def _claimants(self) -> Places:
        """Those that the ones found own, of each kind the earliest, and that are not found yet."""
        kinds = sorted({key.kind for key, place in self.found.items() if place.standing.claim is not None})
        if not kinds:
            return {}
        owners = keys(key for key in self.found if key.kind in NAMED)
        wanted = {"kinds": kinds, "limits": [self.limits.of(kind) for kind in kinds]}
        owned = {"owner_kinds": owners["kinds"], "owner_values": owners["values"]}
        return placed((await self.work.execute(CLAIMANTS, {**owned, **wanted})).all(), self.found)

    async def _ruled(self) -> set[Identifier]:
        """Those not found yet that rulings on the ones found lead to: the other of the pair, and further claimants."""
        new = self.found.keys() - self.asked
        self.asked |= new
        about = await rulings.about(self.work, new)
        self.rulings |= {each.id: each for each in about}
        parties = {party for each in about for party in (each.member, each.owner)}
        claims = await self._claims({each for each in parties if each.kind != USER})
        return (parties | {edge.owner for edge in claims}) - self.found.keys() - self.asked

    async def _claims(self, ruled: Collection[Identifier]) -> list[Edge]:
        if not ruled:
            return []
        rows = await self.work.execute(CLAIMED, {**keys(ruled), "most": CLAIMS})
        claims = {edge_of(row): place_of(row) for row in rows}
        self.evidence |= claims
        return list(claims)

    async def _aliases(self) -> None:
        users = sorted(key.value for key in self.found if key.kind == USER)
        if users:
            rows = await self.work.execute(ALIASES, {"values": users})
            self.evidence |= {edge_of(row): place_of(row) for row in rows}
