"""The evidence of a profile, page by page: every statement that has one of its identifiers at either end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text

from services.profile.domain.identity import Edge
from services.profile.domain.precedence import Precedence
from services.profile.store.identities import edge_of, place_of
from shared.db import Work
from shared.identifiers import Identifier

MEMBER = text("SELECT kind, value FROM identifier WHERE profile_id = CAST(:profile_id AS uuid) LIMIT 1")
# Of each identifier the next few, straight from an index, in its order; then the first of those.
PAGE = text("""
    WITH mine AS MATERIALIZED (
        SELECT kind, value FROM identifier WHERE profile_id = CAST(:profile_id AS uuid)
    ), found AS (
        SELECT said.* FROM mine CROSS JOIN LATERAL (
            SELECT * FROM edge
            WHERE member_kind = mine.kind AND member_value = mine.value
                AND (member_kind, member_value, owner_kind, owner_value, kind)
                    > (:member_kind, :member_value, :owner_kind, :owner_value, :kind)
            ORDER BY member_kind, member_value, owner_kind, owner_value, kind LIMIT :limit
        ) AS said
        UNION
        SELECT said.* FROM mine CROSS JOIN LATERAL (
            SELECT * FROM edge
            WHERE owner_kind = mine.kind AND owner_value = mine.value
                AND (member_kind, member_value) >= (:member_kind, :member_value)
                AND (member_kind, member_value, owner_kind, owner_value, kind)
                    > (:member_kind, :member_value, :owner_kind, :owner_value, :kind)
            ORDER BY member_kind, member_value, kind LIMIT :limit
        ) AS said
    )
    SELECT * FROM found ORDER BY member_kind, member_value, owner_kind, owner_value, kind LIMIT :limit
""")
# A login that lost: this profile's user on another's device, or another's user on this one's.
CONFLICTS = text("""
    WITH mine AS MATERIALIZED (
        SELECT kind, value FROM identifier WHERE profile_id = CAST(:profile_id AS uuid)
    )
    SELECT count(*) FROM (
        SELECT 1 FROM mine JOIN edge ON (edge.owner_kind, edge.owner_value) = (mine.kind, mine.value)
        JOIN identifier ON (identifier.kind, identifier.value) = (edge.member_kind, edge.member_value)
        WHERE edge.kind = 'login' AND identifier.profile_id <> CAST(:profile_id AS uuid)
        UNION ALL
        SELECT 1 FROM mine JOIN edge ON (edge.member_kind, edge.member_value) = (mine.kind, mine.value)
        JOIN identifier ON (identifier.kind, identifier.value) = (edge.owner_kind, edge.owner_value)
        WHERE edge.kind = 'login' AND identifier.profile_id <> CAST(:profile_id AS uuid)
        LIMIT :most
    ) AS conflict
""")

MOST_COUNTED = 10_000
"""Conflicts of one profile: an id that a shop's whole staff uses has more, and nobody needs to know how many."""


class Place(NamedTuple):
    """The key of a statement: pages begin after one."""

    member_kind: str = ""
    member_value: str = ""
    owner_kind: str = ""
    owner_value: str = ""
    kind: str = ""


def place(edge: Edge) -> Place:
    """The key of `edge`."""
    return Place(edge.member.kind, edge.member.value, edge.owner.kind, edge.owner.value, edge.kind)


async def member(work: Work, profile_id: str) -> Identifier | None:
    """Any identifier of the profile."""
    row = (await work.execute(MEMBER, {"profile_id": profile_id})).one_or_none()
    return None if row is None else Identifier(*row)


async def page(work: Work, profile_id: str, after: Place, limit: int) -> Sequence[tuple[Edge, Precedence]]:
    """Statements about the identifiers of a profile, in the order of their keys, those after the place `after`."""
    rows = await work.execute(PAGE, {"profile_id": profile_id, "limit": limit, **after._asdict()})
    return [(edge_of(row), place_of(row)) for row in rows]


async def conflicts(work: Work, profile_id: str) -> int:
    """How many logins join nobody, because the device is another's; at most `MOST_COUNTED`."""
    count: int = (await work.execute(CONFLICTS, {"profile_id": profile_id, "most": MOST_COUNTED})).scalar_one()
    return count
