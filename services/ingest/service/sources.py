"""Keeping sources and their keys.

A key is a secret (`sk_…`) unless all that it can do is write: then it is public (`wk_…`) and may stand in a page. One
key may well write and read, and is a secret then. Its text is made here, told once, and kept nowhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row

from services.ingest.domain.sources import Key, Narrowing, Source, Standing
from services.ingest.errors import KeyEnded, KeyNotFound, NothingVerifies, SourceNotFound, TooManyKeys, TooManySources
from services.ingest.store import sources
from shared import audit
from shared.clock import Clock, rfc3339
from shared.db import Work
from shared.errors import Forbidden
from shared.scopes import Scope, digest

MOST_SOURCES = 1_000
"""Every process holds all of them, and each is a label of its metrics."""

MOST_KEYS = 10
"""That hold at one moment, of one source."""

HINT = 7
"""Characters of a key that are kept to know it again by: its prefix and four more, of 32."""


class Made(NamedTuple):
    """A new key: its text, which nobody can ask for again, and its row."""

    text: str
    row: Row[Any]


class Sources:
    """What can be done with sources and their keys. Whoever does it is written down, never the key itself."""

    def __init__(self, clock: Clock, *, proves: bool) -> None:
        """`proves`: there is something to verify user tokens with."""
        self.clock = clock
        self.proves = proves

    async def save(self, source: Source, standing: Standing, actor: Key, work: Work) -> Row[Any]:
        """Make a source, or change it: what `standing` does not say stays as it is.

        Raises TooManySources; NothingVerifies where it asks for proof that nobody could give; and Forbidden where a key
        for some sources would change what is believed of them.
        """
        await audit.lock(work)
        before = await sources.find(work, source.name)
        if before is None and await sources.count(work) >= MOST_SOURCES:
            raise TooManySources(MOST_SOURCES)

        if standing.identity_proof == "required" and not self.proves:
            raise NothingVerifies
        source, as_before = standing.of(source, before), Standing().of(source, before)
        if source != as_before and actor.narrowing.sources is not None:
            raise Forbidden(
                "a key that is for some sources changes neither `trust` nor `may` nor `identity_proof`: leave them "
                "out, or use a key that is not narrowed"
            )
        if source != before:
            await sources.put(work, source, self.clock())
            action, were = ("made", None) if before is None else ("changed", _told(before))
            await self._note(work, actor, action, f"sources/{source.name}", before=were, after=_told(source))
        return await self.get(source.name, work)

    async def get(self, name: str, work: Work) -> Row[Any]:
        """A source and what it has sent today. Raises SourceNotFound."""
        found = await sources.show(work, name, self.clock().date())
        if found is None:
            raise SourceNotFound(name)
        return found

    async def page(self, after: str, limit: int, work: Work) -> Sequence[Row[Any]]:
        """Sources by name, those past `after`, and what each has sent today."""
        return await sources.page(work, after, limit, self.clock().date())

    async def keys(self, name: str, before: tuple[datetime, str] | None, limit: int, work: Work) -> Sequence[Row[Any]]:
        """The keys of a source, newest first, those after the place `before`. Raises SourceNotFound."""
        await self.get(name, work)
        return await sources.keys_of(work, name, before, limit)

    async def make_key(self, name: str, scopes: Sequence[Scope], asked: Narrowing, actor: Key, work: Work) -> Made:
        """A new key of the source, narrowed as `asked`, and where that says nothing as the `actor` is.

        Raises SourceNotFound and TooManyKeys; Forbidden where it would open what the actor's does not.
        """
        await audit.lock(work)
        await self.get(name, work)
        own = actor.narrowing
        narrowing = Narrowing(
            services=own.services if asked.services is None else asked.services,
            sources=own.sources if asked.sources is None else asked.sources,
        )
        _check_within(narrowing, actor)
        return await self._made(name, scopes, narrowing, actor, work)

    async def rotate(self, name: str, id: str, overlap: timedelta, actor: Key, work: Work) -> tuple[Made, Row[Any]]:
        """A new key that may do what the key `id` may, and that one, which ends after `overlap` unless it does before.

        Raises KeyNotFound, KeyEnded and TooManyKeys; Forbidden where it opens what the actor's does not.
        """
        await audit.lock(work)
        old, now = await self._key(name, id, work), self.clock()
        _check_within(sources.narrowing(old), actor)
        if old.ends_at is not None and old.ends_at <= now:
            raise KeyEnded(name, id)

        made = await self._made(name, old.scopes, sources.narrowing(old), actor, work)
        ends_at = min(now + overlap, old.ends_at or now + overlap)
        return made, await self._end(old, ends_at, "rotated", actor, work)

    async def revoke(self, name: str, id: str, actor: Key, work: Work) -> None:
        """The key holds no longer, from now on. Raises KeyNotFound, and Forbidden as `rotate` does."""
        await audit.lock(work)
        key, now = await self._key(name, id, work), self.clock()
        _check_within(sources.narrowing(key), actor)
        if key.ends_at is None or key.ends_at > now:
            await self._end(key, now, "revoked", actor, work)

    async def _key(self, name: str, id: str, work: Work) -> Row[Any]:
        found = await sources.key(work, name, id)
        if found is None:
            raise KeyNotFound(name, id)
        return found

    async def _made(self, name: str, scopes: Sequence[Scope], narrowing: Narrowing, actor: Key, work: Work) -> Made:
        now = self.clock()
        if await sources.count_holding(work, name, now) >= MOST_KEYS:
            raise TooManyKeys(name, MOST_KEYS)

        text = ("wk_" if set(scopes) == {"write"} else "sk_") + secrets.token_urlsafe(24)
        row = await sources.put_key(
            work,
            id=f"{name}:{secrets.token_hex(6)}",
            source=name,
            digest=digest(text),
            hint=text[:HINT],
            scopes=sorted(set(scopes)),
            narrowing=narrowing,
            now=now,
        )
        await self._note(work, actor, "made", _path(row), after=_limits(row))
        return Made(text, row)

    async def _end(self, key: Row[Any], ends_at: datetime, action: str, actor: Key, work: Work) -> Row[Any]:
        ended = await sources.end_key(work, key.id, ends_at)
        await self._note(work, actor, action, _path(key), before=_limits(key), after=_limits(ended))
        return ended

    async def _note(
        self, work: Work, actor: Key, action: str, object: str, *, before: Any = None, after: Any = None
    ) -> None:
        now = self.clock()
        await audit.note(work, at=now, actor=actor.id, action=action, object=object, before=before, after=after)


def _check_within(narrowing: Narrowing, actor: Key) -> None:
    """Raises Forbidden: with a key that opens more, whoever has the actor's could give themselves what it lacks."""
    if not narrowing.within(actor.narrowing):
        raise Forbidden(
            f"this key is for {actor.narrowing}, and that other one is for {narrowing}: a key can't make, rotate or "
            "revoke one that opens more; use a key that is not narrowed"
        )


def _path(key: Row[Any]) -> str:
    return f"sources/{key.source}/keys/{key.id}"


def _limits(key: Row[Any]) -> dict[str, Any]:
    """A key as the audit has it."""
    narrowed = {"services": key.services, "sources": key.sources}
    return {
        "scopes": key.scopes,
        **{what: names for what, names in narrowed.items() if names is not None},
        "ends_at": key.ends_at and rfc3339(key.ends_at),
    }


def _told(source: Source) -> dict[str, Any]:
    """A source as the audit has it."""
    return {
        "usual": source.usual,
        "origins": sorted(source.origins),
        "rate": source.rate,
        "quota": source.quota,
        "unplanned": source.unplanned,
        "trust": source.trust,
        "may": sorted(source.may),
        "identity_proof": source.identity_proof,
    }
