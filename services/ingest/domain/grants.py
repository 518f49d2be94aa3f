"""What a source may state: which grant a call needs, and what is wrong with one that needs more than its source has.

A public key stands in a page, where anybody can read it; so a source that is a `client` may by default do what an SDK
in a page or an app does, and nothing that only the company's own systems know. Each grant can be given and taken away.

| grant          | what it lets a source state                                                                    |
| -------------- | ---------------------------------------------------------------------------------------------- |
| `identify`     | who somebody is: a `userId`, `traits`, `identify`, `group` and `alias` calls                   |
| `alias`        | that two users are one. An SDK's alias at the first login says so of a visitor: no need of it  |
| `external_ids` | ids of other systems: `context.externalIds`                                                    |
| `consent`      | what somebody agrees to: `Consent Changed`                                                     |
| `orders`       | what becomes of orders: `EVENTS` says which events do                                          |
| `points`       | points of a loyalty programme: events whose names begin with `Points `                         |
| `feedback`     | what became of an offer: `Offer Shown` and so on. `Feedback Given` is an opinion, and free     |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, get_args

from shared.events import Call, Reason, Trust

Grant = Literal["identify", "alias", "external_ids", "consent", "orders", "points", "feedback"]

GRANTS: frozenset[Grant] = frozenset(get_args(Grant))

USUAL: Mapping[Trust, frozenset[Grant]] = MappingProxyType(
    {"server": GRANTS, "client": frozenset({"identify", "consent", "orders", "feedback"})}
)
"""What a source may state where nobody has said otherwise."""

EVENTS: Mapping[str, Grant] = MappingProxyType({
    "Consent Changed": "consent",
    "Order Completed": "orders",
    "Order Updated": "orders",
    "Order Cancelled": "orders",
    "Order Refunded": "orders",
    "Order Shipped": "orders",
    "Order Out For Delivery": "orders",
    "Order Delivered": "orders",
    "Order Delayed": "orders",
    "Offer Shown": "feedback",
    "Offer Clicked": "feedback",
    "Offer Accepted": "feedback",
    "Offer Dismissed": "feedback",
})  # fmt: skip
"""Events that mean something by their name, and need a grant. Those who give them their meaning compare names letter by
letter, and look at track calls only: another spelling means nothing to them, so it needs no grant.
"""

POINTS = "Points "
"""How the names of events begin that move points."""


def ungranted(call: Call, may: frozenset[Grant], source: str) -> tuple[Reason, ...]:
    """What `call` states without its `source` having the grant. The first lines let nearly every call pass quickly."""
    if may is GRANTS:
        return ()
    if call.type == "track" and not call.external_ids and "identify" in may:
        grant = _by_event(call.name)
        if grant is None or grant in may:
            return ()
    return tuple([_reason(grant, path, source) for grant, path in _needed(call) if grant not in may])


def states_identity(call: Call) -> bool:
    """Whether `call` says who somebody is."""
    return call.user_id is not None or bool(call.traits) or call.type in _IDENTITY


_IDENTITY = frozenset({"identify", "alias", "group"})


def _needed(call: Call) -> Iterator[tuple[Grant, str]]:
    """The grants that `call` needs, each with the path of the field that needs it."""
    if states_identity(call):
        path = "$.userId" if call.user_id is not None else "$.traits" if call.traits else "$.type"
        yield "identify", path
    if call.type == "alias" and call.previous_id not in (None, call.anonymous_id, call.user_id):
        yield "alias", "$.previousId"
    if call.external_ids:
        yield "external_ids", "$.context.externalIds"
    if call.type == "track" and (grant := _by_event(call.name)) is not None:
        yield grant, "$.event"


@lru_cache(maxsize=4_096)  # the same events come again and again
def _by_event(name: str | None) -> Grant | None:
    """The grant that a track call of this name needs."""
    name = name or ""
    return EVENTS.get(name) or ("points" if name.startswith(POINTS) else None)


def _reason(grant: Grant, path: str, source: str) -> Reason:
    message = (
        f"source {source!r} has no grant to state this, {grant!r}: send it with a key of a source that has it, or give "
        f'it with PUT /v1/sources/{source} and {grant!r} among the others in "may"'
    )
    return Reason(path, "not_granted", message)
