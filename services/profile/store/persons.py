"""What is stored of a few identifiers: taken out to be made anew, and set aside to be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import text

from services.profile import tables
from services.profile.domain.fragment import Fragment
from services.profile.store.facts import FACTS, Fact
from services.profile.store.fragments import decoded
from services.profile.store.identities import keys
from shared.db import Work
from shared.identifiers import Identifier

WANTED = "SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[]))"

MEMBERS = text("""
    SELECT kind, value FROM identifier WHERE profile_id IN (
        SELECT profile_id FROM identifier
        WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
    )
""")
KNOWN = text("""
    SELECT EXISTS (
        SELECT FROM identifier
        WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
    ) OR EXISTS (
        SELECT FROM fragment
        WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
    )
""")
CLAIMED = text("""
    SELECT DISTINCT member_kind, member_value FROM edge
    WHERE (owner_kind, owner_value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
""")
FRAGMENTS = text("""
    SELECT kind, value, CAST(state AS text) AS state FROM fragment
    WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
""")
SINCE = text("""
    SELECT min(received_at) FROM timeline
    WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
""")
UNKNOW = text("""
    UPDATE identifier
    SET (seen_at, seen_happened_at, seen_id) = (NULL, NULL, NULL), (owner_kind, owner_value) = (NULL, NULL),
        (claimed_at, claimed_happened_at, claimed_id) = (NULL, NULL, NULL), (seen_rank, claimed_rank) = (0, 0)
    WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
""")
# The earliest claim that there is evidence of; as domain/graph.py orders them.
RECLAIM = text("""
    UPDATE identifier
    SET (owner_kind, owner_value, claimed_rank, claimed_at, claimed_happened_at, claimed_id) = (
        SELECT first.owner_kind, first.owner_value, coalesce(first.rank, 0),
            first.at, first.happened_at, first.touchpoint_id
        FROM (VALUES (true)) AS always LEFT JOIN LATERAL (
            SELECT edge.* FROM edge
            WHERE (member_kind, member_value) = (identifier.kind, identifier.value) AND edge.kind IN ('login', 'claim')
            ORDER BY edge.rank, edge.at, edge.happened_at, edge.touchpoint_id, edge.owner_kind, edge.owner_value LIMIT 1
        ) AS first ON true
    )
    WHERE (kind, value) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
""")


async def members(work: Work, identifier: Identifier) -> set[Identifier]:
    """All that share a profile with `identifier`."""
    return {Identifier(*row) for row in await work.execute(MEMBERS, keys([identifier]))}


async def known(work: Work, people: Collection[Identifier]) -> bool:
    """Whether anything is stored of any of `people`."""
    return bool((await work.execute(KNOWN, keys(people))).scalar())


async def claimed(work: Work, owners: Iterable[Identifier]) -> set[Identifier]:
    """All that `owners` were ever said to have."""
    return {Identifier(*row) for row in await work.execute(CLAIMED, keys(owners))}


async def fragments(work: Work, owners: Iterable[Identifier]) -> dict[Identifier, Fragment]:
    rows = await work.execute(FRAGMENTS, keys(owners))
    return {Identifier(row.kind, row.value): decoded(row.state) for row in rows}


async def since(work: Work, owners: Iterable[Identifier]) -> datetime | None:
    """When the first touchpoint in their timelines was received."""
    found: datetime | None = (await work.execute(SINCE, keys(owners))).scalar()
    return found


async def take_out(work: Work, owners: Collection[Identifier], unknown: Collection[Identifier]) -> None:
    """Delete what follows from the touchpoints of `owners`, and what was said of `unknown`."""
    for fact in FACTS:
        if fact.owner is not None and fact.table is not tables.IDENTIFIER:
            await work.execute(text(f"DELETE FROM {fact.name} WHERE {_among(fact)}"), keys(owners))  # noqa: S608
    await work.execute(UNKNOW, keys(unknown))


async def reclaim(work: Work, wanted: Collection[Identifier]) -> None:
    """Let the earliest claim be theirs that there is evidence of."""
    await work.execute(RECLAIM, keys(wanted))


async def set_aside(work: Work, schema: str, wanted: Collection[Identifier]) -> None:
    """Copy what is stored of `wanted` into a new schema, to be dropped before `work` ends."""
    await work.execute(text(f'CREATE SCHEMA "{schema}"'))
    for fact in FACTS:
        await work.execute(text(f'CREATE TABLE "{schema}".{fact.name} (LIKE {fact.name})'))
        if fact.owner is not None:
            copied = f'INSERT INTO "{schema}".{fact.name} SELECT * FROM {fact.name} WHERE {_among(fact)}'  # noqa: S608
            await work.execute(text(copied), keys(wanted))


def _among(fact: Fact) -> str:
    return f"({', '.join(fact.owner or ())}) IN ({WANTED})"
