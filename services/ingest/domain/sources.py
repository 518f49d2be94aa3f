"""Sources and their keys: where calls come from, and what a key may do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from services.ingest.domain.grants import USUAL, Grant
from shared.events import Trust
from shared.scopes import Scope, opens

IdentityProof = Literal["none", "required"]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where calls come from. What is None or empty is no limit.

    `usual` is the channel of its calls where nothing else tells it. `origins` are those that browsers may send from, as
    `https://www.example.com`. `rate` is calls a second in one process, `quota` calls a day (UTC) in all of them.
    `unplanned` says what becomes of events that the tracking plan does not know.

    `trust` is the source's, whatever the scopes of its keys: to make it a `server` says that all of them are kept
    secret, for SDKs of servers send with write keys, too. `may` is what it may state. `identity_proof`: `required`
    where nothing is believed of who somebody is without a user token of theirs.
    """

    name: str
    usual: str = "unknown"
    origins: frozenset[str] = frozenset()
    rate: float | None = None
    quota: int | None = None
    unplanned: Literal["allow", "enforce"] = "allow"
    trust: Trust = "client"
    may: frozenset[Grant] = USUAL["client"]
    identity_proof: IdentityProof = "none"


class Narrowing(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is for: some services, and of ingest what is some sources'. None is all of them."""

    services: frozenset[str] | None = None
    sources: frozenset[str] | None = None

    def within(self, other: Narrowing) -> bool:
        """Whether a key that is so narrowed opens nothing that one with the narrowing `other` does not."""
        return _within(self.services, other.services) and _within(self.sources, other.sources)

    def __str__(self) -> str:
        named = {"services": self.services, "sources": self.sources}
        said = (f"{what} {', '.join(sorted(names))}" for what, names in named.items() if names is not None)
        return " and ".join(said) or "everything"


EVERYTHING = Narrowing()


def _within(some: frozenset[str] | None, others: frozenset[str] | None) -> bool:
    return others is None or (some is not None and some <= others)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a source. `ends_at`: when it stops to hold, because it was revoked or another took its place."""

    id: str
    source: Source
    scopes: frozenset[Scope]
    ends_at: datetime | None = None
    narrowing: Narrowing = EVERYTHING

    def holds(self, now: datetime) -> bool:
        return self.ends_at is None or now < self.ends_at

    @property
    def public(self) -> bool:
        """Whether it can do nothing but send calls, so that it may stand in a page, an app or an address."""
        return self.scopes == {"write"}

    def may(self, scope: Scope) -> bool:
        return opens(self.scopes, scope) and self.opens_ingest

    @property
    def opens_ingest(self) -> bool:
        return self.narrowing.services is None or "ingest" in self.narrowing.services


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a source is to be believed, as somebody who changes it says. What is None stays as it is.

    So a script that knows nothing of it neither gives nor takes anything. A source that may what is usual for its trust
    goes on to do so when its trust is changed.
    """

    trust: Trust | None = None
    may: frozenset[Grant] | None = None
    identity_proof: IdentityProof | None = None

    def of(self, source: Source, before: Source | None) -> Source:
        """`source` with this standing, where it had that of `before`."""
        before = before or Source(name=source.name)
        trust = self.trust or before.trust
        usual = before.may == USUAL[before.trust]
        may = self.may if self.may is not None else USUAL[trust] if usual else before.may
        return replace(source, trust=trust, may=may, identity_proof=self.identity_proof or before.identity_proof)


Keys = Mapping[bytes, Key]
"""All keys, by the digest of their text."""
