"""Sources and their keys: where calls come from, and what a key may do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from shared.scopes import Scope, opens


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where calls come from. What is None or empty is no limit.

    `usual` is the channel of its calls where nothing else tells it. `origins` are those that browsers may send from, as
    `https://www.example.com`. `rate` is calls a second in one process, `quota` calls a day (UTC) in all of them.
    `unplanned` says what becomes of events that the tracking plan does not know.
    """

    name: str
    usual: str = "unknown"
    origins: frozenset[str] = frozenset()
    rate: float | None = None
    quota: int | None = None
    unplanned: Literal["allow", "enforce"] = "allow"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a source. `ends_at`: when it stops to hold, because it was revoked or another took its place."""

    id: str
    source: Source
    scopes: frozenset[Scope]
    ends_at: datetime | None = None

    def holds(self, now: datetime) -> bool:
        return self.ends_at is None or now < self.ends_at

    @property
    def public(self) -> bool:
        """Whether it can do nothing but send calls, so that it may stand in a page, an app or an address."""
        return self.scopes == {"write"}

    def may(self, scope: Scope) -> bool:
        return opens(self.scopes, scope)


Keys = Mapping[bytes, Key]
"""All keys, by the digest of their text."""
