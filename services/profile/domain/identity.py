"""What touchpoints state about identifiers.

Each statement is an `Edge` from a member to its owner, and of each the first is kept (domain/precedence.py):

- seen: this user id, or this anonymous id, was itself there;
- login: this anonymous id was used by this user;
- claim: this email, phone or external id was given as the owner's;
- alias: these two user ids are one person: the one statement that joins people;
- merge: a person, no touchpoint, ruled that these two are one (domain/rulings.py).

Values that name nobody (`null`, `0000`, `anonymous`, and of phones `+000`) are blocked: they link nothing, or they
would join everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec

from services.profile.domain.precedence import Precedence, precedence, sighted
from shared.events import Call, Touchpoint
from shared.identifiers import ANONYMOUS, EMAIL, PHONE, PROFILE, USER, Identifier, links_nothing, names_nobody, normal

NAMED = frozenset({USER, ANONYMOUS})
"""The kinds that a touchpoint is sent under. Only they have fragments, and only they name profiles."""

RESERVED = NAMED | {PROFILE}
"""Kinds that nobody can claim as an external id: that would be a login or an alias by the back door."""

NAMESPACE = UUID("6f0f5d3a-3c0e-5b43-9d55-1f7a52d1c8b4")
"""Of all profile ids. Never to be changed: two machines agree on an id without talking."""

LONGEST = 512
"""Characters of a claimed value; a longer one is no email, phone or id, and would not fit into an index."""


@lru_cache(maxsize=16_384)  # each is asked for several times while somebody new is placed
def profile_id(name: Identifier) -> str:
    """The id of the profile that `name` names."""
    return str(uuid5(NAMESPACE, str(name)))


# --- statements ------------------------------------------------------------------------------------------------------


class Edge(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """A statement that `member` belongs to `owner`."""

    kind: Literal["seen", "login", "claim", "alias", "merge"]
    member: Identifier
    owner: Identifier


Statements = Mapping[Edge, Precedence]
"""Each statement with the first place in the order of precedence that it was made at."""


class Owned(msgspec.Struct, frozen=True):
    """A touchpoint and whose it is: `owner` is the one identifier whose fragment it updates.

    That is the user's, else the visitor's. One of `ids`, the identifiers it was sent under, that names nobody owns it
    only for want of another. Whose it is, all services agree on; what it links is ours: those of `ids` that are
    `blocked`, because they name nobody or by our configuration (`unlinked`), link nothing.
    """

    touchpoint: Touchpoint
    owner: Identifier
    ids: tuple[Identifier, ...]
    blocked: tuple[Identifier, ...]
    unlinked: frozenset[Identifier] = frozenset()


def owned(touchpoint: Touchpoint, unlinked: frozenset[Identifier] = frozenset()) -> Owned:
    """Whose `touchpoint` is. `unlinked`: what links nothing, beside what names nobody anyway."""
    ids = touchpoint.ids
    blocked = tuple(each for each in ids if each in unlinked or names_nobody(each.value))
    return Owned(touchpoint, touchpoint.owner, ids, blocked, unlinked)


def said(batch: Iterable[Owned]) -> dict[Edge, Precedence]:
    """All statements in `batch`, each with its first place."""
    first: dict[Edge, Precedence] = {}
    for each in batch:
        when = precedence(each.touchpoint)
        for edge in _edges(each):
            before = first.get(edge)
            first[edge] = when if before is None else _first(edge, before, when)
    return first


def _first(edge: Edge, one: Precedence, other: Precedence) -> Precedence:
    """The same statement, made at two places."""
    return sighted(one, other) or one if edge.kind == "seen" else min(one, other)


def _edges(said: Owned) -> Iterator[Edge]:
    call, whose = said.touchpoint.data, said.owner
    yield Edge("seen", whose, whose)
    if whose in said.blocked:
        return
    if whose.kind == USER:
        yield from _logins(said)
        yield from (alias for alias in _aliases(call, whose) if alias.member not in said.unlinked)
    for given in _given(call):
        claimed = normal(given)
        if claimed not in said.unlinked and not links_nothing(given) and len(claimed.value) <= LONGEST:
            yield Edge("claim", claimed, whose)


def _logins(said: Owned) -> Iterator[Edge]:
    for visitor in said.ids:
        if visitor.kind == ANONYMOUS and visitor not in said.blocked:
            yield Edge("seen", visitor, visitor)
            yield Edge("login", visitor, said.owner)


def _aliases(call: Call, user: Identifier) -> Iterator[Edge]:
    """`previous_id` may be a user's or a visitor's: nobody says which, so both are stated, and what was seen counts.

    But a client that names its own visitor is an SDK at somebody's first login: that says nothing of two users.
    """
    previous = call.previous_id
    if call.type != "alias" or previous is None or names_nobody(previous) or previous == user.value:
        return
    if call.trust == "server" or previous != call.anonymous_id:
        yield Edge("alias", Identifier(USER, previous), user)
    yield Edge("login", Identifier(ANONYMOUS, previous), user)


def _given(call: Call) -> Iterator[Identifier]:
    """What is claimed, as the client wrote it."""
    # The traits of a group call are the group's: its email is nobody's own.
    if call.type != "group":
        for kind in (EMAIL, PHONE):
            if value := _text(call.traits.get(kind)):
                yield Identifier(kind, value)
    for external in call.external_ids:
        if external.kind not in RESERVED:
            yield external


def _text(value: Any) -> str:
    """Emails and phones are text; clients send phones as whole numbers too."""
    if isinstance(value, bool):
        return ""
    return str(value) if isinstance(value, str | int) else ""
