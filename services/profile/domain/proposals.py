"""Proposals: two profiles that are likely one person's, for a person to accept or refuse; and what becomes of those
that were proposed before when it is looked again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Literal
from uuid import uuid5

import msgspec

from services.profile.domain.identity import NAMESPACE, profile_id
from shared.identifiers import Identifier

Status = Literal["open", "accepted", "refused", "gone"]
"""Open until somebody decides; gone where there is nothing left to decide."""

DECIDED: tuple[Status, ...] = ("accepted", "refused")

Pair = frozenset[str]
"""Two profiles by their ids; a single one where they have become one."""

Whereabouts = Mapping[Identifier, str]
"""The profile that each identifier is in now."""


class Reason(msgspec.Struct, frozen=True):
    """What was compared and what came of it, in bits: how many times more often that is so of one person than of two,
    as a power of two. The values themselves are not kept here: they are in the profiles.
    """

    compared: str
    says: str
    bits: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Two profiles that look like one person, by the identifiers that name them. `weight`: the sum of all bits, those
    of how rare duplicates are included.
    """

    one: Identifier
    other: Identifier
    weight: float
    probability: float
    reasons: tuple[Reason, ...]

    @property
    def id(self) -> str:
        """The same for the same two, in whichever order."""
        return str(uuid5(NAMESPACE, " = ".join(["proposal", *sorted((str(self.one), str(self.other)))])))


class Proposal(Found, frozen=True, kw_only=True):
    """What was proposed, and what became of it: since when, by which key and why."""

    status: Status
    proposed_at: datetime
    decided_at: datetime | None = None
    who: str | None = None
    why: str | None = None


class Past(msgspec.Struct, frozen=True):
    """An earlier proposal, as far as another search minds it."""

    id: str
    one: Identifier
    other: Identifier
    status: Status


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What to write: those that are open now, and the ids of those that are gone. `new`: how many are open that were
    not; `decided` and `apart`: how many pairs were found of which somebody has decided, or ruled that they are two.
    """

    open: tuple[Found, ...]
    gone: tuple[str, ...]
    new: int
    decided: int
    apart: int


def revised(
    found: Iterable[Found], past: Collection[Past], splits: Collection[Pair], places: Whereabouts, *, complete: bool
) -> Revision:
    """What a search makes of earlier proposals.

    What was decided stays decided, also where another identifier names one of the profiles by now. An open proposal is
    gone once its two are one profile, were ruled apart, or look alike no more, which only a `complete` search can say.
    """
    earlier = {_pair(each, places): each for each in sorted(past, key=lambda each: each.status in DECIDED)}
    there = {_pair(each, places): each for each in found if _names(each.one, places) and _names(each.other, places)}
    decided = {pair for pair in there if pair in earlier and earlier[pair].status in DECIDED}
    apart = {pair for pair in there if pair in splits} - decided
    to_tell = {pair: each for pair, each in there.items() if len(pair) == 2 and pair not in decided | apart}
    proposals = tuple(_under(earlier.get(pair), each) for pair, each in to_tell.items())

    ids, open_before = {each.id for each in proposals}, [each for each in past if each.status == "open"]
    unseen = [each for each in open_before if each.id not in ids]
    return Revision(
        open=proposals,
        gone=tuple(sorted(each.id for each in unseen if complete or _settled(_pair(each, places), splits))),
        new=len(ids - {each.id for each in open_before}),
        decided=len(decided),
        apart=len(apart),
    )


def _pair(two: Found | Past, places: Whereabouts) -> Pair:
    return frozenset(places.get(each, profile_id(each)) for each in (two.one, two.other))


def _names(identifier: Identifier, places: Whereabouts) -> bool:
    """Whether `identifier` still names a profile, as it did when it was read."""
    return places.get(identifier) == profile_id(identifier)


def _settled(pair: Pair, splits: Collection[Pair]) -> bool:
    return len(pair) == 1 or pair in splits


def _under(earlier: Past | None, found: Found) -> Found:
    """Under the identifiers that the two were proposed by before, so that it is the same proposal."""
    return found if earlier is None else msgspec.structs.replace(found, one=earlier.one, other=earlier.other)
