"""Profiles as readers find them, by the shortest way (shared/lookups.py): the statements are those of `profiles`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.profile.store.profiles import BY_ID, BY_IDENTIFIER, Found
from shared.identifiers import Identifier
from shared.lookups import Lookup, Lookups

_BY_IDENTIFIER = Lookup(BY_IDENTIFIER)
_BY_ID = Lookup(BY_ID)


async def find(lookups: Lookups, identifier: Identifier) -> Found | None:
    """The profile that has `identifier`."""
    return await _found(lookups, _BY_IDENTIFIER, {"kind": identifier.kind, "value": identifier.value})


async def find_by_id(lookups: Lookups, profile_id: str) -> Found | None:
    """The profile with this id, or the one that absorbed it."""
    return await _found(lookups, _BY_ID, {"profile_id": profile_id})


async def _found(lookups: Lookups, lookup: Lookup, values: Mapping[str, Any]) -> Found | None:
    for profile_id, *rest in await lookups.rows(lookup, values):
        return Found(str(profile_id), *rest)
    return None
