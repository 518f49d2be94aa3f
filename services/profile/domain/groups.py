"""Groups: the companies and households that people are in, and what is known of each of them itself.

A `group` call says that its owner is in the group at its event time, and a `Group Left` that they have left it. The
last word by (event time, touchpoint id, source) counts: the last of servers, where any has spoken of this person and
group, else the last of clients. Words are kept under the identifier that said them, as all of a fragment is, and a
person's are the fold of their identifiers': so a visitor's group is the user's after the login.

What may be left out to bound a state is chosen by what never changes about it (a group's id), by what can only bring it
forward (a server has spoken of it), or can't matter any more (what is older than the last leave): else the same words
in another order would leave another state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from services.profile.domain import traits
from services.profile.domain.identity import LONGEST
from services.profile.domain.precedence import RANKS
from services.profile.domain.traits import Traits, Word
from services.profile.domain.when import When, earliest, latest
from shared.clock import rfc3339
from shared.events import InGroup, Touchpoint, Trust
from shared.identifiers import names_nobody

LEFT = "Group Left"

MOST = 1_000
"""Groups of one person that anything is kept of, those that servers speak of before others, the first by id: a client
that makes up a group each time stops here, and pushes none out that a server has named.

Those that they have left are among them, and have to be: a word from before the leave may still arrive, and would bring
them back.
"""

SHOWN = 100
"""Groups that a view shows of those that somebody is in: those that servers say before others, the first by id."""

KEPT = 8
"""Times that somebody was said to be in a group, of each membership: they tell since when, after they came back."""


class Said(msgspec.Struct, frozen=True, order=True, array_like=True):
    """The place of a word about a group among all others; no two touchpoints share it."""

    at: datetime
    touchpoint_id: str
    source: str


class Stay(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was said of one person and one group.

    `first`: the first time that they were said to be in it. `left`: the last time that they were said to have left.
    `after`: the last times, `KEPT` at most, that they were said to be in it after that; in their order. `trust`: of
    those who said so; once a server has, what clients say is not kept.
    """

    first: Said | None = None
    left: Said | None = None
    after: tuple[Said, ...] = ()
    trust: Trust = "server"

    @property
    def since(self) -> datetime | None:
        """Since when they are in it; None where they are not.

        That is the first time it was said, or, of somebody who came back, the first since they last left. Where that
        was said very often since, it is the oldest of the last few times: no bounded state could tell more.
        """
        if self.first is not None and (self.left is None or self.left < self.first):
            return self.first.at
        return self.after[0].at if self.after else None


Stays = Mapping[str, Stay]
"""By the group's id."""


def stated(touchpoint: Touchpoint) -> Stays:
    """What `touchpoint` says of the groups of its owner."""
    if (joined := _joined(touchpoint)) is not None:
        return {joined: Stay(first=_said(touchpoint), after=(_said(touchpoint),), trust=touchpoint.data.trust)}
    if (left := _left(touchpoint)) is not None:
        return {left: Stay(left=_said(touchpoint), trust=touchpoint.data.trust)}
    return {}


def fold(sides: Iterable[Stays]) -> Stays:
    """All that the sides say."""
    sides = [side for side in sides if side]
    if len(sides) <= 1:
        return sides[0] if sides else {}
    by_group: defaultdict[str, list[Stay]] = defaultdict(list)
    for side in sides:
        for group_id, stay in side.items():
            by_group[group_id].append(stay)
    folded = {group_id: _stay(by_group[group_id]) for group_id in sorted(by_group)}
    return folded if len(folded) <= MOST else _first(folded, MOST)


def present(stays: Stays) -> tuple[InGroup, ...]:
    """The groups that somebody is in, `SHOWN` at most; by id. Those left take nobody's place."""
    if not stays:
        return ()
    there = {group_id: stay for group_id, stay in stays.items() if stay.since is not None}
    return tuple(
        InGroup(group_id, rfc3339(stay.since), stay.trust)
        for group_id, stay in _first(there, SHOWN).items()
        if stay.since is not None
    )


def _first(stays: Stays, most: int) -> Stays:
    """So many of `stays`, those of servers before those of clients; by id."""
    ranked = sorted(stays, key=lambda group_id: (RANKS[stays[group_id].trust], group_id))
    return {group_id: stays[group_id] for group_id in sorted(ranked[:most])}


def _stay(sides: list[Stay]) -> Stay:
    if len(sides) == 1:
        return sides[0]
    trust: Trust = "server" if any(side.trust == "server" for side in sides) else "client"
    sides = [side for side in sides if side.trust == trust]
    left = max((side.left for side in sides if side.left is not None), default=None)
    after = {said for side in sides for said in side.after if left is None or left < said}
    return Stay(
        first=min((side.first for side in sides if side.first is not None), default=None),
        left=left,
        after=tuple(sorted(after)[-KEPT:]),
        trust=trust,
    )


def _said(touchpoint: Touchpoint) -> Said:
    return Said(touchpoint.at, touchpoint.id, touchpoint.source)


def _joined(touchpoint: Touchpoint) -> str | None:
    return _usable(touchpoint.data.group_id) if touchpoint.data.type == "group" else None


def _left(touchpoint: Touchpoint) -> str | None:
    call = touchpoint.data
    return _usable(touchpoint.properties().get("group_id")) if call.type == "track" and call.name == LEFT else None


def _usable(value: Any) -> str | None:
    """A group's id as text; None where it is none. Clients send whole numbers, too."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return None if len(text) > LONGEST or names_nobody(text) else text


# --- the group itself ------------------------------------------------------------------------------------------------


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the group calls of everybody add up to: a mergeable value, as a fragment is."""

    calls: int = 0
    first: When | None = None
    last: When | None = None
    traits: Traits = {}
    client_traits: Traits = {}


def described(batch: Iterable[Touchpoint]) -> dict[str, Group]:
    """What a batch of touchpoints, each seen for the first time, says of groups themselves, by their ids."""
    parts: defaultdict[str, list[Group]] = defaultdict(list)
    for touchpoint in batch:
        if (group_id := _joined(touchpoint)) is not None:
            parts[group_id].append(_group(touchpoint))
    return {group_id: fold_group(sides) for group_id, sides in parts.items()}


def _group(touchpoint: Touchpoint) -> Group:
    """Ingest puts a group call's traits with its properties: `traits` are what its context says of the person."""
    when, source = When(touchpoint.at, touchpoint.id), touchpoint.source
    words = {name: Word(when.at, when.touchpoint_id, source, value) for name, value in touchpoint.properties().items()}
    if touchpoint.data.trust == "client":
        return Group(calls=1, first=when, last=when, client_traits=words)
    return Group(calls=1, first=when, last=when, traits=words)


def fold_group(sides: Iterable[Group]) -> Group:
    """All sides as one. The sides must not share a touchpoint: calls add up."""
    sides = list(sides)
    by_servers = traits.fold(side.traits for side in sides)
    return Group(
        calls=sum(side.calls for side in sides),
        first=earliest(*(side.first for side in sides)),
        last=latest(*(side.last for side in sides)),
        traits=by_servers,
        client_traits=traits.fold_clients((side.client_traits for side in sides), by_servers),
    )
