"""A fragment: all that is known from the touchpoints of one identifier, as one mergeable value.

A touchpoint updates exactly one fragment, that of its owner. Everything in a fragment is a sum, a first or last by
`When`, or a winner by `When`: no value depends on the order of arrival. So folding fragments is commutative and
associative, with `EMPTY` as its neutral element, and a profile is the fold of the fragments of its identifiers. Merging
two profiles moves no history; taking them apart loses none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import tzinfo

import msgspec

from services.profile.domain import consent, groups, orders, traits
from services.profile.domain.consent import Consents
from services.profile.domain.groups import Stays
from services.profile.domain.identity import Owned
from services.profile.domain.orders import Orders
from services.profile.domain.traits import Traits
from services.profile.domain.when import When, earliest, latest
from shared.events import Touchpoint
from shared.identifiers import Identifier

REFERRAL = "Referral Made"

COUNTED = frozenset({REFERRAL})
"""The events whose number matters by itself. A closed set: what clients may name freely would grow a state freely."""


class Fragment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the touchpoints of one identifier, or of several, add up to.

    Traits and consent by who said them: servers, or clients, whose trust is lower. Traits of clients are those alone
    that no server has said anything of.
    """

    channels: Mapping[str, int] = {}
    events: Mapping[str, int] = {}
    first: When | None = None
    last: When | None = None
    traits: Traits = {}
    consent: Consents = {}
    client_traits: Traits = {}
    client_consent: Consents = {}
    groups: Stays = {}
    orders: Orders = orders.NONE

    @property
    def count(self) -> int:
        """How many touchpoints it is made of: each came by one channel."""
        return sum(self.channels.values())


EMPTY = Fragment()

Fragments = Mapping[Identifier, Fragment]


def fragment(touchpoint: Touchpoint, zone: tzinfo) -> Fragment:
    """One touchpoint as a fragment. `zone` is the account's time zone: days are dates there."""
    call = touchpoint.data
    when = When(touchpoint.at, touchpoint.id)
    said, agreed, by_client = traits.claimed(touchpoint), consent.stated(touchpoint), call.trust == "client"
    return Fragment(
        channels={call.channel: 1},
        events={call.name: 1} if call.type == "track" and call.name in COUNTED else {},
        first=when,
        last=when,
        traits={} if by_client else said,
        consent={} if by_client else agreed,
        client_traits=said if by_client else {},
        client_consent=agreed if by_client else {},
        groups=groups.stated(touchpoint),
        orders=orders.placed(touchpoint, zone),
    )


def fold(sides: Iterable[Fragment]) -> Fragment:
    """All sides as one. The sides must not share a touchpoint: counts add up."""
    sides = list(sides)
    if len(sides) <= 1:
        return sides[0] if sides else EMPTY
    by_servers = traits.fold(side.traits for side in sides)
    return Fragment(
        channels=_summed(side.channels for side in sides),
        events=_summed(side.events for side in sides),
        first=earliest(*(side.first for side in sides)),
        last=latest(*(side.last for side in sides)),
        traits=by_servers,
        consent=consent.fold(side.consent for side in sides),
        client_traits=traits.fold_clients([side.client_traits for side in sides], by_servers),
        client_consent=consent.fold([side.client_consent for side in sides if side.client_consent]),
        groups=groups.fold(side.groups for side in sides),
        orders=orders.fold(side.orders for side in sides),
    )


def absorbed(batch: Iterable[Owned], zone: tzinfo) -> dict[Identifier, Fragment]:
    """What a batch of touchpoints, each seen for the first time, adds to the fragment of each owner."""
    parts: defaultdict[Identifier, list[Fragment]] = defaultdict(list)
    for each in batch:
        parts[each.owner].append(fragment(each.touchpoint, zone))
    return {identifier: fold(fragments) for identifier, fragments in parts.items()}


def _summed(counts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total
