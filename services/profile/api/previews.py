"""Looking whom a rule would hold for, before it is saved. It changes nothing."""

from __future__ import annotations

from fastapi import APIRouter

from services.profile.api.desk import AtDesk
from services.profile.domain.publication import Known
from services.profile.schemas import NamedBy
from services.profile.schemas.segments import AskedRule, PreviewBody, Sampled

router = APIRouter(tags=["segments"])


@router.post("/segments/preview", summary="Whom a rule would hold for, before it is saved")
async def preview(body: AskedRule, desk: AtDesk) -> PreviewBody:
    """Everybody is asked about where there are at most 5,000 profiles, else a sample by chance."""
    seen = await desk.previewing.preview(body.rule, body.limit, desk.run)
    estimate = seen.estimate
    return PreviewBody(
        count=estimate.count,
        exact=seen.looked_at >= seen.of,
        low=estimate.low,
        high=estimate.high,
        of=seen.of,
        looked_at=seen.looked_at,
        unknown=seen.unknown,
        cost=seen.cost,
        sample=[_sampled(each) for each in seen.sample],
    )


def _sampled(known: Known) -> Sampled:
    names = sorted(member.identifier for member in known.members)
    return Sampled(
        profile_id=known.profile_id, identifiers=[NamedBy(kind=each.kind, value=each.value) for each in names]
    )
