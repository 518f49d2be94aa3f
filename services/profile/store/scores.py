"""The latest scores of each profile, as scoring gave them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text

from shared.db import Work
from shared.events import ShownScores

# Only higher versions apply, and only what shows is worth a publication: a new version with the same numbers is not.
KEEP = text("""
    INSERT INTO score (profile_id, version, engagement, ltv, churn_risk)
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:versions AS bigint[]), CAST(:engagements AS double precision[]),
        CAST(:ltvs AS double precision[]), CAST(:churn_risks AS double precision[])
    )
    ON CONFLICT (profile_id) DO UPDATE
    SET (version, engagement, ltv, churn_risk)
        = (excluded.version, excluded.engagement, excluded.ltv, excluded.churn_risk)
    WHERE excluded.version > score.version
        AND (excluded.engagement, excluded.ltv, excluded.churn_risk)
            IS DISTINCT FROM (score.engagement, score.ltv, score.churn_risk)
    RETURNING profile_id
""")


async def keep(work: Work, scores: Mapping[str, ShownScores]) -> set[str]:
    """Keep the `scores` that are newer than ours. Gives the profiles whose numbers changed."""
    rows = sorted(scores.items())
    changed = await work.execute(
        KEEP,
        {
            "ids": [profile_id for profile_id, _ in rows],
            "versions": [shown.version for _, shown in rows],
            "engagements": [shown.engagement for _, shown in rows],
            "ltvs": [shown.ltv for _, shown in rows],
            "churn_risks": [shown.churn_risk for _, shown in rows],
        },
    )
    return {str(id) for id in changed.scalars().all()}
