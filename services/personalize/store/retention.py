"""Forgetting what is too old to matter, a little at a time, so that nobody waits for locks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from shared.db import Work

DECISIONS = text("""
    WITH old AS (
        DELETE FROM decision
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM decision WHERE decided_at < :before LIMIT :limit))
        RETURNING decision_id
    ), theirs AS (
        DELETE FROM outcome USING old WHERE outcome.decision_id = old.decision_id
    )
    SELECT count(*) FROM old
""")
# Also of decisions that nobody knows: whoever has a write key may report feedback on whatever they make up.
OUTCOMES = text("""
    DELETE FROM outcome WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM outcome
        WHERE shown_at < :before AND greatest(clicked_at, accepted_at, dismissed_at, shown_at) < :before
        AND due_at IS NULL LIMIT :limit
    ))
""")
EXPOSURES = text("""
    DELETE FROM exposure WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM exposure
        WHERE shown_at < :before AND greatest(accepted_at, dismissed_at, shown_at) < :before LIMIT :limit
    ))
""")


async def forget(work: Work, before: datetime, limit: int) -> int:
    """Delete decisions, outcomes and exposures from before that moment, `limit` of each; give how many in all. What
    outcomes have taught stays in the evidence."""
    parameters = {"before": before, "limit": limit}
    decisions: int = (await work.execute(DECISIONS, parameters)).scalar_one()
    outcomes = (await work.execute(OUTCOMES, parameters)).rowcount
    exposures = (await work.execute(EXPOSURES, parameters)).rowcount
    return decisions + outcomes + exposures
