"""Decision records, by id: exactly what the `decisions` topic said."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import text

from shared.db import Work
from shared.events import Decided

# A record never changes: the same one again is nothing new.
PUT = text("""
    INSERT INTO decision (decision_id, profile_id, decided_at, holdout, record)
    SELECT * FROM unnest(
        CAST(:decision_ids AS text[]), CAST(:profile_ids AS text[]), CAST(:decided AS timestamptz[]),
        CAST(:holdouts AS boolean[]), CAST(:records AS json[])
    )
    ON CONFLICT DO NOTHING
""")
FIND = text("SELECT CAST(record AS text) FROM decision WHERE decision_id = :decision_id")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Decided)


async def put(work: Work, records: Sequence[Decided]) -> None:
    """Keep the records; those that are kept already stay as they are."""
    rows = sorted({record.data.decision_id: record for record in records}.items())
    await work.execute(
        PUT,
        {
            "decision_ids": [decision_id for decision_id, _ in rows],
            "profile_ids": [record.data.profile_id for _, record in rows],
            "decided": [record.time for _, record in rows],
            "holdouts": [record.data.holdout for _, record in rows],
            "records": [_encoder.encode(record).decode() for _, record in rows],
        },
    )


async def find(work: Work, decision_id: str) -> Decided | None:
    found = (await work.execute(FIND, {"decision_id": decision_id})).scalar_one_or_none()
    return None if found is None else _decoder.decode(found)
