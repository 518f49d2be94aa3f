"""The identity graph: what is known of each identifier, whose it is, and the evidence."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from sqlalchemy import Row, text

from services.profile.domain.graph import Claim, Limits, Standing, Standings, fold
from services.profile.domain.identity import NAMED, Edge, Statements
from services.profile.domain.linking import Placed
from services.profile.domain.when import When
from shared.db import Work, aware
from shared.identifiers import Identifier

FIND = text("""
    SELECT identifier.*
    FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    JOIN identifier USING (kind, value)
""")
BEGIN = text("""
    INSERT INTO identifier (kind, value, seen_at, seen_id, owner_kind, owner_value, claimed_at, claimed_id)
    SELECT * FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:seen_ats AS timestamptz[]), CAST(:seen_ids AS text[]),
        CAST(:owner_kinds AS text[]), CAST(:owner_values AS text[]),
        CAST(:claimed_ats AS timestamptz[]), CAST(:claimed_ids AS text[])
    )
    ON CONFLICT DO NOTHING RETURNING kind, value
""")
LOCK = text("""
    SELECT identifier.*
    FROM identifier JOIN unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    USING (kind, value) ORDER BY kind, value FOR NO KEY UPDATE OF identifier
""")
PUT = text("""
    UPDATE identifier SET (seen_at, seen_id, owner_kind, owner_value, claimed_at, claimed_id)
        = (new.seen_at, new.seen_id, new.owner_kind, new.owner_value, new.claimed_at, new.claimed_id)
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:seen_ats AS timestamptz[]), CAST(:seen_ids AS text[]),
        CAST(:owner_kinds AS text[]), CAST(:owner_values AS text[]),
        CAST(:claimed_ats AS timestamptz[]), CAST(:claimed_ids AS text[])
    ) AS new (kind, value, seen_at, seen_id, owner_kind, owner_value, claimed_at, claimed_id)
    WHERE identifier.kind = new.kind AND identifier.value = new.value
""")
# The evidence keeps the first moment of each statement. Only what is new or earlier comes here, so this is rare.
PUT_EDGES = text("""
    INSERT INTO edge (member_kind, member_value, owner_kind, owner_value, kind, at, touchpoint_id)
    SELECT * FROM unnest(
        CAST(:member_kinds AS text[]), CAST(:member_values AS text[]), CAST(:owner_kinds AS text[]),
        CAST(:owner_values AS text[]), CAST(:kinds AS text[]), CAST(:ats AS timestamptz[]), CAST(:ids AS text[])
    )
    ON CONFLICT (member_kind, member_value, owner_kind, owner_value, kind)
    DO UPDATE SET at = excluded.at, touchpoint_id = excluded.touchpoint_id
        WHERE (excluded.at, excluded.touchpoint_id) < (edge.at, edge.touchpoint_id)
    RETURNING member_kind, member_value, owner_kind, owner_value, kind, xmax = 0 AS is_new
""")
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
ALIASES = text("""
    SELECT DISTINCT edge.* FROM unnest(CAST(:values AS text[])) AS wanted (value)
    JOIN edge ON edge.member_kind = 'user_id' AND edge.member_value = wanted.value
    WHERE edge.kind = 'alias'
""")
# The earliest claims on each owner of each kind: as many as a profile takes, however many there are.
CLAIMANTS = text("""
    SELECT earliest.*
    FROM unnest(CAST(:owner_kinds AS text[]), CAST(:owner_values AS text[])) AS owner (kind, value)
    CROSS JOIN unnest(CAST(:kinds AS text[]), CAST(:limits AS integer[])) AS wanted (kind, most)
    CROSS JOIN LATERAL (
        SELECT * FROM identifier
        WHERE identifier.owner_kind = owner.kind AND identifier.owner_value = owner.value
            AND identifier.kind = wanted.kind
        ORDER BY claimed_at, claimed_id, value LIMIT wanted.most
    ) AS earliest
""")
MOVE = text("""
    UPDATE identifier SET profile_id = new.profile_id, joined = new.joined
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:profile_ids AS uuid[]), CAST(:joined AS bigint[])
    ) AS new (kind, value, profile_id, joined)
    WHERE identifier.kind = new.kind AND identifier.value = new.value
""")

PROFILES_OF = text("""
    SELECT DISTINCT identifier.profile_id
    FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    JOIN identifier USING (kind, value) WHERE identifier.profile_id IS NOT NULL
""")

Places = dict[Identifier, Placed]


async def find(work: Work, wanted: Iterable[Identifier]) -> Places:
    """What is known of those of `wanted` that are known."""
    return _placed(await work.execute(FIND, _keys(wanted)))


async def profiles_of(work: Work, wanted: Iterable[Identifier]) -> set[str]:
    """The profiles that `wanted` are in."""
    return {str(id) for id in (await work.execute(PROFILES_OF, _keys(wanted))).scalars()}


async def add(work: Work, additions: Standings) -> None:
    """Fold `additions` into what is known. Their rows stay locked: whoever says something about them next waits."""
    begun = {Identifier(*row) for row in await work.execute(BEGIN, _rows(additions))}
    if rest := additions.keys() - begun:
        before = _placed(await work.execute(LOCK, _keys(rest)))
        await work.execute(PUT, _rows({key: fold(old.standing, additions[key]) for key, old in before.items()}))


async def put_edges(work: Work, statements: Statements) -> set[Edge]:
    """Keep the evidence of `statements` (sightings are kept with their identifier). Gives those never made before."""
    rows = sorted((edge, when) for edge, when in statements.items() if edge.kind != "seen")
    if not rows:
        return set()
    answer = await work.execute(
        PUT_EDGES,
        {
            "member_kinds": [edge.member.kind for edge, _ in rows],
            "member_values": [edge.member.value for edge, _ in rows],
            "owner_kinds": [edge.owner.kind for edge, _ in rows],
            "owner_values": [edge.owner.value for edge, _ in rows],
            "kinds": [edge.kind for edge, _ in rows],
            "ats": [when.at for _, when in rows],
            "ids": [when.touchpoint_id for _, when in rows],
        },
    )
    return {_edge(row) for row in answer if row.is_new}


async def component(work: Work, seeds: Iterable[Identifier], limits: Limits) -> tuple[Places, list[Edge]]:
    """All that decides whose `seeds` are, and the aliases among it: their profiles, never the whole graph."""
    found: Places = {}
    walked: set[str | None] = {None}
    frontier = set(seeds)
    while frontier:
        around = _placed(await work.execute(AROUND, _keys(frontier)), found)
        found |= around
        walked |= {found[each].profile_id for each in frontier if each in found}
        # Of a profile that was walked everybody is found, and with them all that they own or are aliases of.
        frontier = {each for each, place in around.items() if place.profile_id not in walked}
        if not frontier:
            frontier = set(await _claimants(work, found, limits))
    return found, await _aliases(work, found)


async def move(work: Work, places: Mapping[Identifier, tuple[str | None, int]]) -> None:
    """Put identifiers into profiles (None: into none), to show there from a version on."""
    if not places:
        return
    rows = sorted(places.items())
    await work.execute(
        MOVE,
        {
            **_keys(places),
            "profile_ids": [profile_id for _, (profile_id, _) in rows],
            "joined": [joined for _, (_, joined) in rows],
        },
    )


async def _claimants(work: Work, found: Places, limits: Limits) -> Places:
    """Those that the ones `found` own, of each kind the earliest, and that are not found yet."""
    kinds = {key.kind for key, place in found.items() if place.standing.claim is not None}
    if not kinds:
        return {}
    owners = _keys(key for key in found if key.kind in NAMED)
    wanted = {"kinds": sorted(kinds), "limits": [limits.of(kind) for kind in sorted(kinds)]}
    rows = await work.execute(CLAIMANTS, {"owner_kinds": owners["kinds"], "owner_values": owners["values"], **wanted})
    return _placed(rows, found)


async def _aliases(work: Work, found: Places) -> list[Edge]:
    users = sorted(key.value for key in found if key.kind == "user_id")
    return [_edge(row) for row in await work.execute(ALIASES, {"values": users})] if users else []


def standing(row: Row[Any]) -> Standing:
    """What a row of `identifier` says."""
    seen = None if row.seen_at is None else When(aware(row.seen_at), row.seen_id)
    claim = None
    if row.owner_kind is not None:
        claim = Claim(When(aware(row.claimed_at), row.claimed_id), Identifier(row.owner_kind, row.owner_value))
    return Standing(Identifier(row.kind, row.value), seen, claim)


def _placed(rows: Iterable[Row[Any]], but: Container[Identifier] = ()) -> Places:
    """What `rows` say, those of the identifiers in `but` left out."""
    keyed = ((Identifier(row.kind, row.value), row) for row in rows)
    return {
        key: Placed(standing(row), None if row.profile_id is None else str(row.profile_id))
        for key, row in keyed
        if key not in but
    }


def _edge(row: Row[Any]) -> Edge:
    member, owner = Identifier(row.member_kind, row.member_value), Identifier(row.owner_kind, row.owner_value)
    return Edge(row.kind, member, owner)


def _keys(identifiers: Iterable[Identifier]) -> dict[str, list[Any]]:
    ordered = sorted(identifiers)
    return {"kinds": [key.kind for key in ordered], "values": [key.value for key in ordered]}


def _rows(known: Standings) -> dict[str, list[Any]]:
    ordered = [known[key] for key in sorted(known)]
    claims = [each.claim for each in ordered]
    return {
        **_keys(known),
        "seen_ats": [each.seen and each.seen.at for each in ordered],
        "seen_ids": [each.seen and each.seen.touchpoint_id for each in ordered],
        "owner_kinds": [claim and claim.owner.kind for claim in claims],
        "owner_values": [claim and claim.owner.value for claim in claims],
        "claimed_ats": [claim and claim.when.at for claim in claims],
        "claimed_ids": [claim and claim.when.touchpoint_id for claim in claims],
    }
