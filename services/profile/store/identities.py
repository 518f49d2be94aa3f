"""The identity graph: what is known of each identifier, whose it is, and the evidence."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from services.profile.domain.graph import Claim, Standing, Standings, fold
from services.profile.domain.identity import NAMED, Edge, Statements
from services.profile.domain.linking import Placed
from services.profile.domain.precedence import Precedence
from shared.db import Work, aware
from shared.identifiers import Identifier

FIND = text("""
    SELECT identifier.*
    FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    JOIN identifier USING (kind, value)
""")
BEGIN = text("""
    INSERT INTO identifier
        (kind, value, seen_rank, seen_at, seen_happened_at, seen_id, owner_kind, owner_value,
         claimed_rank, claimed_at, claimed_happened_at, claimed_id)
    SELECT * FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]),
        CAST(:seen_ranks AS smallint[]), CAST(:seen_ats AS timestamptz[]), CAST(:seen_happened_ats AS timestamptz[]),
        CAST(:seen_ids AS text[]), CAST(:owner_kinds AS text[]), CAST(:owner_values AS text[]),
        CAST(:claimed_ranks AS smallint[]), CAST(:claimed_ats AS timestamptz[]),
        CAST(:claimed_happened_ats AS timestamptz[]), CAST(:claimed_ids AS text[])
    )
    ON CONFLICT DO NOTHING RETURNING kind, value
""")
LOCK = text("""
    SELECT identifier.*
    FROM identifier JOIN unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    USING (kind, value) ORDER BY kind, value FOR NO KEY UPDATE OF identifier
""")
PUT = text("""
    UPDATE identifier SET
        (seen_rank, seen_at, seen_happened_at, seen_id)
            = (new.seen_rank, new.seen_at, new.seen_happened_at, new.seen_id),
        (owner_kind, owner_value) = (new.owner_kind, new.owner_value),
        (claimed_rank, claimed_at, claimed_happened_at, claimed_id)
            = (new.claimed_rank, new.claimed_at, new.claimed_happened_at, new.claimed_id)
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]),
        CAST(:seen_ranks AS smallint[]), CAST(:seen_ats AS timestamptz[]), CAST(:seen_happened_ats AS timestamptz[]),
        CAST(:seen_ids AS text[]), CAST(:owner_kinds AS text[]), CAST(:owner_values AS text[]),
        CAST(:claimed_ranks AS smallint[]), CAST(:claimed_ats AS timestamptz[]),
        CAST(:claimed_happened_ats AS timestamptz[]), CAST(:claimed_ids AS text[])
    ) AS new
        (kind, value, seen_rank, seen_at, seen_happened_at, seen_id, owner_kind, owner_value,
         claimed_rank, claimed_at, claimed_happened_at, claimed_id)
    WHERE identifier.kind = new.kind AND identifier.value = new.value
""")
# Of a row of `edge` that is there already the first statement stays. `{before}` is what the table is called there.
TAKE_EARLIER = """
    DO UPDATE SET (rank, at, happened_at, touchpoint_id)
        = (excluded.rank, excluded.at, excluded.happened_at, excluded.touchpoint_id)
    WHERE (excluded.rank, excluded.at, coalesce(excluded.happened_at, excluded.at), excluded.touchpoint_id)
        < ({before}.rank, {before}.at, coalesce({before}.happened_at, {before}.at), {before}.touchpoint_id)
"""
# Only what is new or earlier comes here, so this is rare.
PUT_EDGES = text(f"""
    INSERT INTO edge (member_kind, member_value, owner_kind, owner_value, kind, rank, at, happened_at, touchpoint_id)
    SELECT * FROM unnest(
        CAST(:member_kinds AS text[]), CAST(:member_values AS text[]), CAST(:owner_kinds AS text[]),
        CAST(:owner_values AS text[]), CAST(:kinds AS text[]), CAST(:ranks AS smallint[]),
        CAST(:ats AS timestamptz[]), CAST(:happened_ats AS timestamptz[]), CAST(:ids AS text[])
    )
    ON CONFLICT (member_kind, member_value, owner_kind, owner_value, kind) {TAKE_EARLIER.format(before="edge")}
    RETURNING edge.*, xmax = 0 AS is_new
""")  # noqa: S608 - nothing in it but names of ours
MOVE = text("""
    UPDATE identifier SET profile_id = new.profile_id, joined = new.joined
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:profile_ids AS uuid[]), CAST(:joined AS bigint[])
    ) AS new (kind, value, profile_id, joined)
    WHERE identifier.kind = new.kind AND identifier.value = new.value
""")

NAMING = text("""
    SELECT identifier.kind, identifier.value
    FROM profile AS asked JOIN identifier ON identifier.profile_id = coalesce(asked.redirect, asked.profile_id)
    WHERE asked.profile_id = CAST(:profile_id AS uuid) AND identifier.kind = ANY(CAST(:kinds AS text[]))
""")

PROFILES_OF = text("""
    SELECT DISTINCT identifier.profile_id
    FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    JOIN identifier USING (kind, value) WHERE identifier.profile_id IS NOT NULL
""")

SHOW_NOW = text("""
    UPDATE identifier SET joined = profile.version
    FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value), profile
    WHERE (identifier.kind, identifier.value) = (wanted.kind, wanted.value)
        AND profile.profile_id = identifier.profile_id
""")

Places = dict[Identifier, Placed]


async def find(work: Work, wanted: Iterable[Identifier]) -> Places:
    """What is known of those of `wanted` that are known."""
    return placed((await work.execute(FIND, keys(wanted))).all())


async def naming(work: Work, profile_id: str) -> list[Identifier]:
    """Who in the profile of this id, or in the one that absorbed it, may name one: a thousand or so at most."""
    rows = await work.execute(NAMING, {"profile_id": profile_id, "kinds": sorted(NAMED)})
    return [Identifier(*row) for row in rows]


async def profiles_of(work: Work, wanted: Iterable[Identifier]) -> set[str]:
    """The profiles that `wanted` are in."""
    return {str(id) for id in (await work.execute(PROFILES_OF, keys(wanted))).scalars().all()}


async def add(work: Work, additions: Standings) -> None:
    """Fold `additions` into what is known. Their rows stay locked: whoever says something about them next waits."""
    begun = {Identifier(*row) for row in (await work.execute(BEGIN, _rows(additions))).all()}
    if rest := additions.keys() - begun:
        before = placed((await work.execute(LOCK, keys(rest))).all())
        await work.execute(PUT, _rows({key: fold(old.standing, additions[key]) for key, old in before.items()}))


async def put_edges(work: Work, statements: Statements) -> dict[Edge, bool]:
    """Keep the evidence of `statements` (sightings are kept with their identifier).

    Gives those never made before (True), or not as early (False).
    """
    rows = sorted((edge, when) for edge, when in statements.items() if edge.kind != "seen")
    if not rows:
        return {}
    answer = await work.execute(
        PUT_EDGES,
        {
            "member_kinds": [edge.member.kind for edge, _ in rows],
            "member_values": [edge.member.value for edge, _ in rows],
            "owner_kinds": [edge.owner.kind for edge, _ in rows],
            "owner_values": [edge.owner.value for edge, _ in rows],
            "kinds": [edge.kind for edge, _ in rows],
            **_places("", [when for _, when in rows]),
        },
    )
    return {edge_of(row): row.is_new for row in answer.all()}


async def move(work: Work, places: Mapping[Identifier, tuple[str | None, int]]) -> None:
    """Put identifiers into profiles (None: into none), to show there from a version on."""
    if not places:
        return
    rows = sorted(places.items())
    await work.execute(
        MOVE,
        {
            **keys(places),
            "profile_ids": [profile_id for _, (profile_id, _) in rows],
            "joined": [joined for _, (_, joined) in rows],
        },
    )


async def show_now(work: Work, wanted: Iterable[Identifier]) -> None:
    """Whoever asks for one of `wanted` from now on waits until what their profile has just become shows."""
    await work.execute(SHOW_NOW, keys(wanted))


def standing(row: Row[Any]) -> Standing:
    """What a row of `identifier` says."""
    seen, claim = None, None
    if row.seen_at is not None:
        seen = _place(row.seen_rank, row.seen_at, row.seen_happened_at, row.seen_id)
    if row.owner_kind is not None:
        when = _place(row.claimed_rank, row.claimed_at, row.claimed_happened_at, row.claimed_id)
        claim = Claim(when, Identifier(row.owner_kind, row.owner_value))
    return Standing(Identifier(row.kind, row.value), seen, claim)


def placed(rows: Iterable[Row[Any]], but: Container[Identifier] = ()) -> Places:
    """What `rows` say, those of the identifiers in `but` left out."""
    keyed = ((Identifier(row.kind, row.value), row) for row in rows)
    return {
        key: Placed(standing(row), None if row.profile_id is None else str(row.profile_id))
        for key, row in keyed
        if key not in but
    }


def edge_of(row: Row[Any]) -> Edge:
    """The statement in a row of `edge`."""
    member, owner = Identifier(row.member_kind, row.member_value), Identifier(row.owner_kind, row.owner_value)
    return Edge(row.kind, member, owner)


def place_of(row: Row[Any]) -> Precedence:
    """The place of the statement in a row of `edge`."""
    return _place(row.rank, row.at, row.happened_at, row.touchpoint_id)


def _place(rank: int, at: datetime, happened_at: datetime | None, touchpoint_id: str) -> Precedence:
    """An event time is stored only where it is another than the time that counts; then it is earlier."""
    counts_from = aware(at)
    return Precedence(rank, counts_from, counts_from if happened_at is None else aware(happened_at), touchpoint_id)


def keys(identifiers: Iterable[Identifier]) -> dict[str, list[Any]]:
    """`identifiers` as parameters of a statement, in their order."""
    ordered = sorted(identifiers)
    return {"kinds": [key.kind for key in ordered], "values": [key.value for key in ordered]}


def _rows(known: Standings) -> dict[str, list[Any]]:
    ordered = [known[key] for key in sorted(known)]
    claims = [each.claim for each in ordered]
    return {
        **keys(known),
        **_places("seen_", [each.seen for each in ordered]),
        "owner_kinds": [claim and claim.owner.kind for claim in claims],
        "owner_values": [claim and claim.owner.value for claim in claims],
        **_places("claimed_", [None if claim is None else claim.when for claim in claims]),
    }


def _places(prefix: str, places: Sequence[Precedence | None]) -> dict[str, list[Any]]:
    """Places of statements as parameters: see `_place`."""
    return {
        f"{prefix}ranks": [0 if each is None else each.rank for each in places],
        f"{prefix}ats": [each and each.at for each in places],
        f"{prefix}happened_ats": [
            None if each is None or each.happened_at == each.at else each.happened_at for each in places
        ],
        f"{prefix}ids": [each and each.touchpoint_id for each in places],
    }
