"""What touchpoints state about identifiers.

Each statement is an `Edge` from a member to its owner, and of each the first moment is kept:

- seen: this user id, or this anonymous id, was itself there;
- login: this anonymous id was used by this user;
- claim: this email, phone or external id was given as the owner's;
- alias: these two user ids are one person: the one statement that joins people.

Values that name nobody (`null`, `0000`, `anonymous`) are blocked: they link nothing, or they would join everybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec

from services.profile.domain.when import When
from shared.events import Call, Identifier, Touchpoint

USER = "user_id"
ANONYMOUS = "anonymous_id"
EMAIL = "email"
PHONE = "phone"
PROFILE = "profile_id"

NAMED = frozenset({USER, ANONYMOUS})
"""The kinds that a touchpoint is sent under. Only they have fragments, and only they name profiles."""

RESERVED = NAMED | {PROFILE}
"""Kinds that nobody can claim as an external id: that would be a login or an alias by the back door."""

NAMESPACE = UUID("6f0f5d3a-3c0e-5b43-9d55-1f7a52d1c8b4")
"""Of all profile ids. Never to be changed: two machines agree on an id without talking."""

LONGEST = 512
"""Characters of a claimed value; a longer one is no email, phone or id, and would not fit into an index."""


def profile_id(name: Identifier) -> str:
    """The id of the profile that `name` names."""
    return str(uuid5(NAMESPACE, str(name)))


# --- values that name nobody -----------------------------------------------------------------------------------------

# Zeros, however they are set apart (0, 00-00, the UUID of zeros); or one digit over and over (11, 999999).
_PLACEHOLDER = re.compile(r"[\s0.:_-]*0[\s0.:_-]*|(\d)\1+")


class Blocked(msgspec.Struct, frozen=True):
    """The values that name nobody: a list, in lower case, beside emptiness, zeros and one digit over and over."""

    values: frozenset[str]

    def __contains__(self, value: str) -> bool:
        plain = value.strip().lower()
        return not plain or plain in self.values or _PLACEHOLDER.fullmatch(plain) is not None


# --- normal forms ----------------------------------------------------------------------------------------------------

_PHONE_PUNCTUATION = re.compile(r"[\s().-]")


def normal(identifier: Identifier) -> Identifier:
    """`identifier` as it is compared and shown: emails in lower case, phones without punctuation, others as given."""
    if identifier.kind == EMAIL:
        return Identifier(EMAIL, identifier.value.strip().lower())
    if identifier.kind == PHONE:
        return Identifier(PHONE, _PHONE_PUNCTUATION.sub("", identifier.value))
    return identifier


# --- statements ------------------------------------------------------------------------------------------------------


class Edge(msgspec.Struct, frozen=True, order=True):
    """A statement that `member` belongs to `owner`."""

    kind: Literal["seen", "login", "claim", "alias"]
    member: Identifier
    owner: Identifier


Statements = Mapping[Edge, When]
"""Each statement with the first moment it was made."""


class Owned(msgspec.Struct, frozen=True):
    """A touchpoint and whose it is: `owner` is the one identifier whose fragment it updates.

    That is the user's, else the visitor's. One of `ids`, the identifiers it was sent under, that is `blocked` owns it
    only for want of another.
    """

    touchpoint: Touchpoint
    owner: Identifier
    ids: tuple[Identifier, ...]
    blocked: tuple[Identifier, ...]


def owned(touchpoint: Touchpoint, blocked: Blocked) -> Owned:
    """Whose `touchpoint` is."""
    named = _named(touchpoint.data)
    nobody = tuple(identifier for identifier in named if identifier.value in blocked)
    owner = named[0] if len(nobody) == len(named) else next(each for each in named if each not in nobody)
    return Owned(touchpoint, owner, named, nobody)


def said(batch: Iterable[Owned], blocked: Blocked) -> dict[Edge, When]:
    """All statements in `batch`, each with its first moment."""
    first: dict[Edge, When] = {}
    for each in batch:
        when = When(each.touchpoint.at, each.touchpoint.id)
        for edge in _edges(each, blocked):
            if edge not in first or when < first[edge]:
                first[edge] = when
    return first


def _edges(said: Owned, blocked: Blocked) -> Iterator[Edge]:
    call, whose = said.touchpoint.data, said.owner
    yield Edge("seen", whose, whose)
    if whose in said.blocked:
        return
    if whose.kind == USER:
        yield from _logins(said)
        yield from _aliases(call, whose, blocked)
    for claimed in _claimed(call):
        if claimed.value not in blocked and len(claimed.value) <= LONGEST:
            yield Edge("claim", claimed, whose)


def _logins(said: Owned) -> Iterator[Edge]:
    for visitor in said.ids:
        if visitor.kind == ANONYMOUS and visitor not in said.blocked:
            yield Edge("seen", visitor, visitor)
            yield Edge("login", visitor, said.owner)


def _aliases(call: Call, user: Identifier, blocked: Blocked) -> Iterator[Edge]:
    """`previous_id` may be a user's or a visitor's: nobody says which, so both are stated, and what was seen counts."""
    previous = call.previous_id
    if call.type != "alias" or previous is None or previous in blocked or previous == user.value:
        return
    yield Edge("alias", Identifier(USER, previous), user)
    yield Edge("login", Identifier(ANONYMOUS, previous), user)


def _claimed(call: Call) -> Iterator[Identifier]:
    # The traits of a group call are the group's: its email is nobody's own.
    if call.type != "group":
        for kind in (EMAIL, PHONE):
            if value := _text(call.traits.get(kind)):
                yield normal(Identifier(kind, value))
    for external in call.external_ids:
        if external.kind not in RESERVED:
            yield normal(external)


def _text(value: Any) -> str:
    """Emails and phones are text; clients send phones as whole numbers too."""
    if isinstance(value, bool):
        return ""
    return str(value) if isinstance(value, str | int) else ""


def _named(call: Call) -> tuple[Identifier, ...]:
    """The ids that the call was sent under, the user's first."""
    both = ((USER, call.user_id), (ANONYMOUS, call.anonymous_id))
    return tuple(Identifier(kind, value) for kind, value in both if value is not None)
