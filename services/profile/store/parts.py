"""Parts of computed traits: what each identifier's events add up to for each definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, text

from services.profile.domain.computed.definitions import Defined, Definition
from services.profile.domain.computed.parts import Days, Key, Parts, decoded, encoded, fold
from shared.db import Work

# As with fragments: what is new is inserted, the rest locked, folded and put. Keys arrive sorted.
BEGIN = text("""
    INSERT INTO computed_part (kind, value, trait, revision, state)
    SELECT * FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:traits AS text[]), CAST(:revisions AS integer[]),
        CAST(:states AS json[])
    )
    ON CONFLICT DO NOTHING RETURNING kind, value, trait, revision
""")
LOCK = text("""
    SELECT kind, value, trait, revision, CAST(state AS text) AS state
    FROM computed_part JOIN unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:traits AS text[]), CAST(:revisions AS integer[])
    ) AS wanted (kind, value, trait, revision) USING (kind, value, trait, revision)
    ORDER BY kind, value, trait, revision FOR NO KEY UPDATE OF computed_part
""")
PUT = text("""
    UPDATE computed_part SET state = new.state
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:traits AS text[]), CAST(:revisions AS integer[]),
        CAST(:states AS json[])
    ) AS new (kind, value, trait, revision, state)
    WHERE (computed_part.kind, computed_part.value, computed_part.trait, computed_part.revision)
        = (new.kind, new.value, new.trait, new.revision)
""")
OF_PROFILE = text("""
    SELECT trait, revision, CAST(state AS text) AS state FROM identifier JOIN computed_part USING (kind, value)
    WHERE profile_id = CAST(:profile_id AS uuid)
""")
SWEEP = text("""
    DELETE FROM computed_part WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM computed_part WHERE trait = :trait AND revision = :revision LIMIT :most
    ))
""")


async def add(work: Work, additions: Parts, defined: Defined) -> None:
    """Fold `additions` into the stored parts."""
    if not additions:
        return
    begun = {Key(*row) for row in await work.execute(BEGIN, _states(additions))}
    if rest := additions.keys() - begun:
        stored = await work.execute(LOCK, _keys(sorted(rest)))
        await work.execute(PUT, _states({key: _sum(defined, key, row.state, additions) for key, row in _keyed(stored)}))


async def of_profile(work: Work, profile_id: str, shown: Sequence[Definition]) -> list[tuple[Definition, Days]]:
    """What the person's events add up to, for each of the definitions that show."""
    rows = [tuple(row) for row in await work.execute(OF_PROFILE, {"profile_id": profile_id})]
    return folded(rows, shown)


def folded(rows: Iterable[Sequence[Any]], shown: Sequence[Definition]) -> list[tuple[Definition, Days]]:
    """From rows (trait, revision, state) of all of a person's identifiers: for each of `shown` its days."""
    states: dict[tuple[str, int], list[str]] = {}
    for trait, revision, state in rows:
        states.setdefault((trait, revision), []).append(state)
    return [(each, fold(each, [decoded(each, state) for state in states.get(each.key, ())])) for each in shown]


async def sweep(work: Work, key: tuple[str, int], most: int) -> int:
    """Delete parts of a definition that is gone, so many at most; give how many they were."""
    trait, revision = key
    return (await work.execute(SWEEP, {"trait": trait, "revision": revision, "most": most})).rowcount


def _sum(defined: Defined, key: Key, stored: str, additions: Parts) -> Days:
    definition = defined.by_key[key[2:]]
    return fold(definition, [decoded(definition, stored), additions[key]])


def _keyed(rows: Iterable[Row[Any]]) -> Iterable[tuple[Key, Row[Any]]]:
    return ((Key(row.kind, row.value, row.trait, row.revision), row) for row in rows)


def _keys(keys: Iterable[Key]) -> dict[str, list[Any]]:
    kinds, values, traits, revisions = zip(*keys, strict=True)
    return {"kinds": list(kinds), "values": list(values), "traits": list(traits), "revisions": list(revisions)}


def _states(parts: Parts) -> dict[str, list[Any]]:
    ordered = sorted(parts)
    return {**_keys(ordered), "states": [encoded(parts[key]) for key in ordered]}
