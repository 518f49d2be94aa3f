"""Proposals: two profiles that are likely one person's, for a person to accept or refuse; and what becomes of those
that were proposed before when it is looked again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal
from uuid import uuid5

import msgspec

from services.profile.domain.identity import NAMESPACE
from shared.identifiers import Identifier

Status = Literal["open", "accepted", "refused", "gone"]
"""Open until somebody decides; gone where there is nothing left to decide."""


class Pair(msgspec.Struct, frozen=True, order=True):
    """Two profiles by their ids, the lesser one first."""

    one: str
    other: str


def pair(one: str, other: str) -> Pair:
    """The two in either order."""
    return Pair(min(one, other), max(one, other))


class Reason(msgspec.Struct, frozen=True):
    """What was compared and what came of it, in bits: how much more, as a power of two, it is said of one person than
    of two. The values themselves are not kept here: they are in the profiles.
    """

    compared: str
    says: str
    bits: float


class Found(msgspec.Struct, frozen=True):
    """Two profiles that look like one person, with the sum of all bits, what was known beforehand included."""

    pair: Pair
    weight: float
    probability: float
    reasons: tuple[Reason, ...]


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What is proposed: that the two identifiers, which name their profiles, are one person's."""

    id: str
    one: Identifier
    other: Identifier
    weight: float
    probability: float
    reasons: tuple[Reason, ...]


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier proposal, and the profiles that its two identifiers are in now."""

    id: str
    one: Identifier
    other: Identifier
    status: Status
    pair: Pair

    @property
    def together(self) -> bool:
        return self.pair.one == self.pair.other


class Revision(msgspec.Struct, frozen=True):
    """What to write: proposals that are open now, new or again, and the ids of those that are gone."""

    open: tuple[Proposal, ...]
    gone: tuple[str, ...]
    new: int
    refused: int
    apart: int


def proposal_id(one: Identifier, other: Identifier) -> str:
    """The same for the same two, in whichever order."""
    return str(uuid5(NAMESPACE, "/".join(sorted((f"proposal {one}", f"proposal {other}")))))


def revised(
    found: Sequence[Found],
    named: Mapping[str, Identifier],
    past: Collection[Past],
    apart: Collection[Pair],
    *,
    complete: bool,
) -> Revision:
    """What `found` makes of earlier proposals.

    `named`: the identifier that names each profile that still is there; `apart`: the profiles that were ruled to be
    apart. What was decided stays decided, also where another identifier names one of the profiles by now. An open
    proposal is gone once its two are one profile, or look alike no more; that is known only of a `complete` search.
    """
    before: dict[Pair, Past] = {}
    for each in sorted(past, key=lambda each: (each.status in DECIDED, each.id)):
        before[each.pair] = each
    refused = {each for each, earlier in before.items() if earlier.status in DECIDED}
    there = [each for each in found if each.pair.one in named and each.pair.other in named]
    to_tell = [each for each in there if each.pair not in refused and each.pair not in apart]
    proposals = tuple(_proposal(each, before.get(each.pair), named) for each in to_tell)

    ids = {each.id for each in proposals}
    unseen = [each for each in past if each.status == "open" and each.id not in ids]
    gone = tuple(sorted(each.id for each in unseen if complete or each.together or each.pair in apart))
    known = {each.id for each in past if each.status == "open"}
    return Revision(
        open=proposals,
        gone=gone,
        new=len(ids - known),
        refused=sum(each.pair in refused for each in there),
        apart=sum(each.pair in apart for each in there),
    )


DECIDED: tuple[Status, ...] = ("accepted", "refused")


def _proposal(found: Found, earlier: Past | None, named: Mapping[str, Identifier]) -> Proposal:
    """Under the identifiers that were proposed before, where the two were: so that it is the same proposal."""
    one, other = (earlier.one, earlier.other) if earlier else sorted((named[found.pair.one], named[found.pair.other]))
    return Proposal(
        id=earlier.id if earlier else proposal_id(one, other),
        one=one,
        other=other,
        weight=found.weight,
        probability=found.probability,
        reasons=found.reasons,
    )
