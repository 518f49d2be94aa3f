"""Fragments: what each identifier's touchpoints add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import text

from services.profile.domain.fragment import Fragment, fold
from shared.db import Work
from shared.identifiers import Identifier

# A new fragment is its first addition. Where another transaction is inserting the same, this waits for it.
BEGIN = text("""
    INSERT INTO fragment (kind, value, state)
    SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:states AS json[]))
    ON CONFLICT DO NOTHING RETURNING kind, value
""")
LOCK = text("""
    SELECT kind, value, CAST(state AS text) AS state
    FROM fragment JOIN unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    USING (kind, value) ORDER BY kind, value FOR NO KEY UPDATE OF fragment
""")
PUT = text("""
    UPDATE fragment SET state = new.state
    FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:states AS json[])) AS new (kind, value, state)
    WHERE fragment.kind = new.kind AND fragment.value = new.value
""")

_decoder = msgspec.json.Decoder(Fragment)
# Keys in one order: two fragments that say the same are the same bytes, in whatever order they were told.
_encoder = msgspec.json.Encoder(order="deterministic")


async def add(work: Work, additions: Mapping[Identifier, Fragment]) -> None:
    """Fold `additions` into the stored fragments."""
    begun = {Identifier(*row) for row in (await work.execute(BEGIN, _rows(additions))).all()}
    if rest := additions.keys() - begun:
        await work.execute(
            PUT, _rows({key: fold([old, additions[key]]) for key, old in (await _lock(work, rest)).items()})
        )


def decoded(state: str) -> Fragment:
    """A fragment from its stored state."""
    return _decoder.decode(state)


async def _lock(work: Work, wanted: Iterable[Identifier]) -> dict[Identifier, Fragment]:
    keys = {"kinds": [key.kind for key in wanted], "values": [key.value for key in wanted]}
    rows = (await work.execute(LOCK, keys)).all()  # all at once: row by row costs ten times as much
    return {Identifier(kind, value): decoded(state) for kind, value, state in rows}


def _rows(fragments: Mapping[Identifier, Fragment]) -> dict[str, list[Any]]:
    ordered = sorted(fragments.items())
    return {
        "kinds": [key.kind for key, _ in ordered],
        "values": [key.value for key, _ in ordered],
        "states": [_encoder.encode(state).decode() for _, state in ordered],
    }
