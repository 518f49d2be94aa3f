"""What keys may do. A key has one scope or several; each opens what stands beside it.

| scope         | opens                                                                                           |
| ------------- | ----------------------------------------------------------------------------------------------- |
| `write`       | ingest's door: events may be sent. Nothing else, and nothing of another service                 |
| `read`        | looking at what shows no person, in every service: definitions, counts, models, reports         |
| `read:people` | looking at people: who they are, what they did, what was decided for them; and what `read` opens |
| `decide`      | `POST /v1/decide` of personalize: what to offer somebody                                        |
| `admin`       | changing things, in every service; and what all others but `write` open                         |

The secret key of the settings has all of them. A key can be narrowed to some services, and to some sources: then it is
for ingest alone, and opens what is theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Literal, get_args

Scope = Literal["write", "read", "read:people", "decide", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

Service = Literal["ingest", "profile", "scoring", "personalize"]

_ALSO_OPENED_BY: Mapping[Scope, frozenset[Scope]] = {
    "write": frozenset(),
    "read": frozenset({"read:people", "admin"}),
    "read:people": frozenset({"admin"}),
    "decide": frozenset({"admin"}),
    "admin": frozenset(),
}
"""Scopes that open what another one does."""


def opens(scopes: Collection[str], wanted: Scope) -> bool:
    """Whether a key with these scopes may do what needs `wanted`. Words of a version to come open nothing."""
    return wanted in scopes or not _ALSO_OPENED_BY[wanted].isdisjoint(scopes)


def digest(key: str) -> bytes:
    """What is kept of a key. Keys are random and long, so a slow hash would protect nothing that this one does not."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
