"""Parts of computed traits: what each identifier's events add up to for each definition."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import text

from services.profile.domain.computed.definitions import Defined, Definition
from services.profile.domain.computed.parts import Days, Key, Parts, decoded, encoded, fold
from shared.db import Work

# As with fragments: what is there is locked, folded and put, and the rest inserted. Keys arrive sorted. A subquery
# with an offset is asked for one key after the other, through the primary key: a batch is small, the table is not.
LOCK = text("""
    SELECT stored.*
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:traits AS text[]), CAST(:revisions AS integer[])
    ) AS wanted (kind, value, trait, revision)
    CROSS JOIN LATERAL (
        SELECT part.kind, part.value, part.trait, part.revision, CAST(part.state AS text) AS state
        FROM computed_part AS part
        WHERE part.kind = wanted.kind AND part.value = wanted.value
            AND part.trait = wanted.trait AND part.revision = wanted.revision
        OFFSET 0 FOR NO KEY UPDATE OF part
    ) AS stored
""")
# A new part is its first addition. Where another transaction is inserting the same, this waits for it.
BEGIN = text("""
    INSERT INTO computed_part (kind, value, trait, revision, state)
    SELECT * FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:traits AS text[]), CAST(:revisions AS integer[]),
        CAST(:states AS json[])
    )
    ON CONFLICT DO NOTHING RETURNING kind, value, trait, revision
""")
# Of rows that are locked: no order is needed.
PUT = text("""
    INSERT INTO computed_part (kind, value, trait, revision, state)
    SELECT * FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:traits AS text[]), CAST(:revisions AS integer[]),
        CAST(:states AS json[])
    )
    ON CONFLICT (kind, value, trait, revision) DO UPDATE SET state = excluded.state
""")
OF_PROFILE = text("""
    SELECT trait, revision, CAST(state AS text) AS state FROM identifier JOIN computed_part USING (kind, value)
    WHERE profile_id = CAST(:profile_id AS uuid)
""")
SWEEP = text("""
    DELETE FROM computed_part WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM computed_part WHERE trait = :trait AND revision + 0 = :revision LIMIT :most
    ))
""")


async def add(work: Work, additions: Parts, defined: Defined) -> None:
    """Fold `additions` into the stored parts."""
    new = additions.keys() - await _fold_in(work, additions, additions.keys(), defined)
    if new:
        begun = {Key(*row) for row in (await work.execute(BEGIN, _states(additions, new))).all()}
        await _fold_in(work, additions, new - begun, defined)  # which others began meanwhile


async def _fold_in(work: Work, additions: Parts, wanted: Collection[Key], defined: Defined) -> Collection[Key]:
    """Those of `wanted` that are stored become the sums. Gives which they were."""
    if not wanted:
        return ()
    rows = (await work.execute(LOCK, _keys(sorted(wanted)))).all()
    sums = {key: _sum(defined, key, row[4], additions) for row in rows for key in [Key(*row[:4])]}
    if sums:
        await work.execute(PUT, _states(sums, sums))
    return sums.keys()


async def of_profile(work: Work, profile_id: str, shown: Sequence[Definition]) -> list[tuple[Definition, Days]]:
    """What the person's events add up to, for each of the definitions that show."""
    rows = [tuple(row) for row in await work.execute(OF_PROFILE, {"profile_id": profile_id})]
    return folded(rows, shown)


def folded(rows: Iterable[Sequence[Any]], shown: Sequence[Definition]) -> list[tuple[Definition, Days]]:
    """From rows (trait, revision, state) of all of a person's identifiers: for each of `shown` its days."""
    states: dict[tuple[str, int], list[str]] = {}
    for trait, revision, state in rows:
        states.setdefault((trait, revision), []).append(state)
    return [(each, _days(each, states.get(each.key, ()))) for each in shown]


def _days(definition: Definition, states: Sequence[str]) -> Days:
    return fold(definition, [decoded(definition, state) for state in states]) if states else {}


async def sweep(work: Work, key: tuple[str, int], most: int) -> int:
    """Delete parts of a definition that is gone, so many at most; give how many they were."""
    trait, revision = key
    return (await work.execute(SWEEP, {"trait": trait, "revision": revision, "most": most})).rowcount


def _sum(defined: Defined, key: Key, stored: str, additions: Parts) -> Days:
    definition = defined.by_key[key[2:]]
    return fold(definition, [decoded(definition, stored), additions[key]])


def _keys(keys: Iterable[Key]) -> dict[str, list[Any]]:
    kinds, values, traits, revisions = zip(*keys, strict=True)
    return {"kinds": list(kinds), "values": list(values), "traits": list(traits), "revisions": list(revisions)}


def _states(parts: Parts, wanted: Iterable[Key]) -> dict[str, list[Any]]:
    ordered = sorted(wanted)
    return {**_keys(ordered), "states": [encoded(parts[key]) for key in ordered]}
