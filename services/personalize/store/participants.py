"""Who has ever been decided for, and on which side of the holdout: by their first decision, whenever it is heard of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from services.personalize.domain.lift import Group
from shared.db import Work
from shared.events import Decided

PUT = text("""
    INSERT INTO participant (profile_id, decided_at, holdout)
    SELECT * FROM unnest(
        CAST(:profile_ids AS text[]), CAST(:decided AS timestamptz[]), CAST(:holdouts AS boolean[])
    )
    ON CONFLICT (profile_id) DO UPDATE SET decided_at = excluded.decided_at, holdout = excluded.holdout
    WHERE excluded.decided_at < participant.decided_at
""")
# Somebody who was absorbed counts with the profile that absorbed them, by whichever decision came first.
GROUPS = text("""
    SELECT holdout, count(*) AS people, count(*) FILTER (WHERE orders > 0) AS converted,
        avg(order_value) AS mean_value, coalesce(var_samp(order_value), 0) AS variance
    FROM (
        SELECT DISTINCT ON (customer.profile_id) participant.holdout, customer.orders, customer.order_value
        FROM participant
        JOIN customer AS named USING (profile_id)
        JOIN customer ON customer.profile_id = coalesce(named.redirect, named.profile_id)
        WHERE customer.redirect IS NULL
        ORDER BY customer.profile_id, participant.decided_at
    ) AS person
    GROUP BY holdout
""")


async def put(work: Work, records: Sequence[Decided]) -> None:
    """Take in who was decided for. Visitors without a profile are nobody yet."""
    first: dict[str, Decided] = {}
    for record in sorted(records, key=lambda record: record.time, reverse=True):
        if record.data.profile_id is not None:
            first[record.data.profile_id] = record
    rows = sorted(first.items())
    if rows:
        await work.execute(
            PUT,
            {
                "profile_ids": [profile_id for profile_id, _ in rows],
                "decided": [record.time for _, record in rows],
                "holdouts": [record.data.holdout for _, record in rows],
            },
        )


async def groups(work: Work) -> tuple[Group, Group]:
    """Those who get offers, and the holdout."""
    rows = {row.holdout: row for row in await work.execute(GROUPS)}
    sides = [rows.get(holdout) for holdout in (False, True)]
    treated, holdout = (
        Group() if row is None else Group(row.people, row.converted, row.mean_value, row.variance) for row in sides
    )
    return treated, holdout
