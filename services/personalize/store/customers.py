"""The read model: each profile's view, by any identifier, and what the person was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text

from services.personalize.domain.customers import Exposure
from services.personalize.store.reading import Reader
from shared.db import Work, aware
from shared.events import View
from shared.identifiers import Identifier


class Found(msgspec.Struct, frozen=True):
    """What is kept of a person: the view as JSON, for a memory holds many more of those than of views."""

    view: str | None
    exposures: tuple[Exposure, ...]


PUT = text("""
    INSERT INTO customer (profile_id, version, redirect, view, orders, order_value)
    SELECT * FROM unnest(
        CAST(:profile_ids AS text[]), CAST(:versions AS bigint[]), CAST(:redirects AS text[]), CAST(:views AS json[]),
        CAST(:orders AS bigint[]), CAST(:order_values AS double precision[])
    )
    ON CONFLICT (profile_id) DO UPDATE
    SET version = excluded.version, redirect = excluded.redirect, view = excluded.view, orders = excluded.orders,
        order_value = excluded.order_value
    WHERE customer.version < excluded.version
    RETURNING profile_id
""")
FORGET = text("""
    DELETE FROM customer_identifier
    WHERE profile_id = ANY(CAST(:profile_ids AS text[])) AND (kind, value, profile_id) NOT IN (
        SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:owners AS text[]))
    )
""")
NAME = text("""
    INSERT INTO customer_identifier (kind, value, profile_id)
    SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[]), CAST(:owners AS text[]))
    ON CONFLICT DO NOTHING
""")
# One round trip for all that a decision asks. `trail` follows redirects. Two profiles may claim an identifier that has
# just moved, until both have been heard: then the choice is arbitrary, but the same each time.
FIND = """
    WITH RECURSIVE trail (profile_id, steps) AS (
        SELECT profile_id, 0 FROM (
            SELECT profile_id FROM customer_identifier WHERE kind = $1 AND value = $2
            UNION ALL SELECT $2 WHERE $1 = 'profile_id'
        ) AS claim
        UNION ALL
        SELECT redirect, steps + 1 FROM trail JOIN customer USING (profile_id)
        WHERE redirect IS NOT NULL AND steps < 8
    ), person AS (
        SELECT profile_id, view FROM trail JOIN customer USING (profile_id) WHERE redirect IS NULL
        ORDER BY version DESC, profile_id LIMIT 1
    ), named AS (
        SELECT kind, value FROM customer_identifier JOIN person USING (profile_id)
        UNION SELECT $1, $2
    ), shown AS (
        SELECT offer_id, shown_at, accepted_at, dismissed_at FROM exposure JOIN named USING (kind, value)
        WHERE greatest(shown_at, accepted_at, dismissed_at) > $3
        ORDER BY shown_at DESC LIMIT $4
    )
    SELECT (SELECT CAST(view AS text) FROM person) AS view, array_agg(offer_id) AS offer_ids,
        array_agg(shown_at) AS shown, array_agg(accepted_at) AS accepted, array_agg(dismissed_at) AS dismissed
    FROM shown
"""

EXPOSURES = 2_000
"""Of one person, at most; the latest count. Nobody is shown more in the time that caps look back on, and robots are."""

_encoder = msgspec.json.Encoder()


async def put(work: Work, views: Mapping[str, View]) -> int:
    """Keep the `views` (by profile id) that are newer than what is kept, and their identifiers. Gives how many."""
    rows = [view for _, view in sorted(views.items())]
    parameters = {
        "profile_ids": [view.profile_id for view in rows],
        "versions": [view.version for view in rows],
        "redirects": [view.redirect for view in rows],
        "views": [None if view.redirect else _encoder.encode(view).decode() for view in rows],
        "orders": [view.computed.get("order_count", 0) for view in rows],
        "order_values": [view.computed.get("order_value", 0.0) for view in rows],
    }
    newer = set((await work.execute(PUT, parameters)).scalars())
    await _name(work, [view for view in rows if view.profile_id in newer])
    return len(newer)


async def _name(work: Work, views: Sequence[View]) -> None:
    """Let `views` have the identifiers they list, and no others. Their rows are locked, so nobody else does."""
    named = sorted((each.kind, each.value, view.profile_id) for view in views for each in view.identifiers)
    kinds, values, owners = zip(*named, strict=True) if named else ((), (), ())
    keys = {"kinds": list(kinds), "values": list(values), "owners": list(owners)}
    await work.execute(FORGET, {"profile_ids": [view.profile_id for view in views], **keys})
    await work.execute(NAME, keys)


async def find(reader: Reader, person: Identifier, since: datetime) -> Found:
    """What is known of `person`; exposures that something happened to after `since`, under all their identifiers."""
    view, *columns = await reader.fetchrow(FIND, person.kind, person.value, since, EXPOSURES)
    if columns[0] is None:
        return Found(view, ())
    exposures = zip(*columns, strict=True)
    return Found(view, tuple(Exposure(offer_id, *map(aware, steps)) for offer_id, *steps in exposures))
