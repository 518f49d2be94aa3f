"""What keys may do. A key has one scope or several; each opens what stands beside it.

| scope    | opens                                                                                                |
| -------- | ---------------------------------------------------------------------------------------------------- |
| `write`  | ingest's door: events may be sent. Nothing else, and nothing of another service                      |
| `read`   | looking at things, in every service: whatever GET answers, and what only says what would be           |
| `decide` | `POST /v1/decide` of personalize: what to offer somebody                                             |
| `admin`  | changing things, in every service; and what `read` and `decide` open                                 |

The secret key of the settings has all four.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Literal, get_args

Scope = Literal["write", "read", "decide", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

_OPENED_BY_ADMIN = ("read", "decide")


def opens(scopes: Collection[str], wanted: Scope) -> bool:
    """Whether a key with these scopes may do what needs `wanted`. Words of a version to come open nothing."""
    return wanted in scopes or (wanted in _OPENED_BY_ADMIN and "admin" in scopes)


def digest(key: str) -> bytes:
    """What is kept of a key. Keys are random and long, so a slow hash would protect nothing that this one does not."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
