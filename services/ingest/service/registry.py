"""Sources, keys and the tracking plan, as they stand in the database, kept in a process's memory.

No request waits for the database, nor needs it: the registry is read once at the start, and again within a second of
every change, which shows in the highest id of the audit. While PostgreSQL is away, what was read last goes on to hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from pydantic import SecretStr

from services.ingest import metrics
from services.ingest.domain.grants import USUAL
from services.ingest.domain.plan import NO_PLAN, Plan
from services.ingest.domain.sources import Key, Keys, Source
from services.ingest.errors import Starting
from services.ingest.service.present import CommonClock
from services.ingest.settings import Settings
from services.ingest.store import plan, sources
from shared import audit
from shared.auth import credential
from shared.clock import Clock
from shared.db import Database, Work, is_away
from shared.health import Health
from shared.keys import SETTINGS_KEY
from shared.scopes import SCOPES, Scope, digest
from shared.tasks import library_call

log = structlog.get_logger(__name__)

EVERY = 1.0
"""Seconds between two looks at the database."""

REMEMBERED, LONGEST = 10_000, 200
"""Authorization headers whose key is known without decoding them, and their characters: Basic has room for any password
beside a key, and ten thousand long ones would fill the memory."""

WEB, SERVER = "web", "server"
"""The sources of the two keys that settings give."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it, as of one revision."""

    revision: int
    sources: Mapping[str, Source]
    keys: Keys
    plan: Plan
    _by_header: dict[str, Key] = field(default_factory=dict)

    def key(self, text: str) -> Key | None:
        return self.keys.get(digest(text))

    def by_header(self, authorization: str) -> Key | None:
        """The key in an `Authorization` header that was seen before, else the one that is found in it."""
        key = self._by_header.get(authorization)
        if key is None and (text := credential(authorization)) is not None and (key := self.key(text)) is not None:
            self._remember(authorization, key)
        return key

    def _remember(self, authorization: str, key: Key) -> None:
        if len(authorization) > LONGEST:
            return
        if len(self._by_header) >= REMEMBERED:
            self._by_header.clear()
        self._by_header[authorization] = key


class Registry:
    """The newest snapshot, and the loop that renews it."""

    def __init__(self, settings: Settings, database: Database, health: Health, clock: Clock) -> None:
        self.settings = settings
        self.database = database
        self.clock = clock
        self.part = health.part("registry")
        self.part.fail("sources and keys have not been read yet")
        self.pulse = health.pulse("registry")
        self._current: Snapshot | None = None

    @property
    def current(self) -> Snapshot:
        """Raises Starting until it has been read once."""
        if self._current is None:
            raise Starting("sources and keys have not been read yet: send this again in a moment")
        return self._current

    async def load(self) -> None:
        """Read all of it."""
        self._current = await self.database.retrying(self._read)
        self.part.beat()  # from now on: an absent database does not keep clients out
        self._warn(self._current)
        metrics.REGISTRY_REVISION.set(self._current.revision)

    def _warn(self, snapshot: Snapshot) -> None:
        """Log what is kept out, or goes unchecked, as things stand."""
        if broken := snapshot.plan.broken:
            log.warning("planned events are not checked: their schemas can't be compiled any more", events=len(broken))
        asking = [each.name for each in snapshot.sources.values() if each.identity_proof == "required"]
        if asking and not self.settings.takes_user_tokens:
            log.warning("no user token can be verified, and sources ask for proof by one", sources=asking[:10])

    async def run(self) -> None:
        """Keep it new until cancelled."""
        while True:
            self.pulse.beat()
            try:
                await library_call(self._renew())
                metrics.REGISTRY_READ.set_to_current_time()
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("the registry can't be renewed; what was read last holds", error=repr(error)[:300])
            await asyncio.sleep(EVERY)

    async def _renew(self) -> None:
        if isinstance(self.clock, CommonClock):
            await self.clock.compare(self.database)
        if self._current is None or await self.database.retrying(audit.revision) != self._current.revision:
            await self.load()

    async def _read(self, work: Work) -> Snapshot:
        # The revision comes first: what changes meanwhile moves it, and is read again.
        revision = await audit.revision(work)
        known = {source.name: source for source in await sources.sources(work)}
        stored = await sources.keys(work, known, self.clock())
        before = self._current.plan if self._current else NO_PLAN
        return Snapshot(
            revision=revision,
            sources=known,
            keys={**stored, **_given(self.settings, known)},
            plan=Plan.of(await plan.in_force(work), before),
        )


def _given(settings: Settings, known: Mapping[str, Source]) -> dict[bytes, Key]:
    """The keys that settings give. They hold for as long as they are given."""

    def key(id: str, secret: SecretStr, source: Source, *scopes: Scope) -> tuple[bytes, Key]:
        return digest(secret.get_secret_value()), Key(id=id, source=source, scopes=frozenset(scopes))

    server = known.get(SERVER) or Source(name=SERVER, trust="server", may=USUAL["server"])
    given = [key(SETTINGS_KEY, settings.secret_key, server, *SCOPES)]
    if settings.write_key is not None:
        given.append(key("settings:write", settings.write_key, known.get(WEB) or Source(name=WEB), "write"))
    return dict(given)
