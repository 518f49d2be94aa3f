"""Who changed what: one audit a service, append-only, kept for good.

Every use case that changes what people have defined or ruled writes it down here, in the transaction that makes the
change: neither is there without the other. PostgreSQL refuses to change or delete what was written, whoever asks.

An object is named by its path below /v1 (`offers/free-delivery`), so that what is deleted and made anew has one
time-line. `before` and `after` are what GET shows of its definition. Of keys, secrets and digests there is nothing.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import JSON, BigInteger, Column, DateTime, Identity, MetaData, Row, Table, Text, text

from shared.clock import Clock
from shared.db import Work

TABLES_V1 = (
    """
    CREATE TABLE audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL,
        actor text COLLATE "C" NOT NULL,
        action text COLLATE "C" NOT NULL,
        object text COLLATE "C" NOT NULL,
        before json,
        after json
    )
    """,
    # Append-only, for whoever gets at it with the service's own role, too. A role that owns a table can't be forbidden
    # anything by REVOKE.
    """
    CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$
    """,
    """
    CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
    """,
)
"""For a migration of every service that has something to change."""

LATEST = 2**63 - 1
"""Past every id there will be."""

LOCK = text("SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.audit'))")
NOTE = text("""
    INSERT INTO audit (at, actor, action, object, before, after)
    VALUES (:at, :actor, :action, :object, CAST(:before AS json), CAST(:after AS json))
""")
REVISION = text("SELECT coalesce(max(id), 0) FROM audit")
PAGE = text("""
    SELECT id, at, actor, action, object, CAST(before AS text) AS before, CAST(after AS text) AS after FROM audit
    WHERE id < :before
        AND (:object = '' OR object = :object
            OR starts_with(object, :object || '/') OR starts_with(object, :object || '?'))
        AND (:actor = '' OR actor = :actor) AND (:action = '' OR action = :action)
        AND at >= coalesce(CAST(:since AS timestamptz), '-infinity')
        AND at < coalesce(CAST(:until AS timestamptz), 'infinity')
    ORDER BY id DESC LIMIT :limit
""")


class Selection(NamedTuple):
    """Which changes are asked for: of an object and what lies below it, by whom, of a kind, from when to before when.
    What is empty says nothing."""

    object: str = ""
    actor: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None


class Audit:
    """Writes down changes that people and processes make."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def changed(
        self, work: Work, actor: str, object: str, *, before: Any, after: Any, action: str | None = None
    ) -> None:
        """Write down what has become of `object`; nothing where it is as it was.

        Without an `action` it is `made`, `changed` or `deleted`, as `before` and `after` say.
        """
        if before != after:
            await self.note(work, actor, action or _action(before, after), object, before=before, after=after)

    async def note(
        self, work: Work, actor: str, action: str, object: str, *, before: Any = None, after: Any = None
    ) -> None:
        """Write down a change, also where no definition says what it is (a replay, a rebuild)."""
        await note(work, at=self.clock(), actor=actor, action=action, object=object, before=before, after=after)


def of_process(what: str) -> str:
    """The actor of what Temas does by itself."""
    return f"temas:{what}"


def of_operator() -> str:
    """The actor of what is typed at the machine: the operating system's user."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in many containers
        return "cli:unknown"


async def lock(work: Work) -> None:
    """Let changes come one after the other until this transaction ends.

    Ids then become visible in their order, so that nobody who has seen the highest one has missed a lower one. A change
    that looks before it writes (is there room for another?) takes the lock before it looks.
    """
    await work.execute(LOCK)


async def note(work: Work, *, at: datetime, actor: str, action: str, object: str, before: Any, after: Any) -> None:
    """Write down a change, in the transaction that makes it.

    `actor` is a key's id, or what `of_process` and `of_operator` give; `object` what was changed, by its path below
    /v1; `before` and `after` are JSON values, None where there was or is nothing. No key and no digest of one may be in
    them.
    """
    await lock(work)
    told = {"at": at, "actor": actor, "action": action, "object": object}
    await work.execute(NOTE, {**told, "before": _json(before), "after": _json(after)})


async def revision(work: Work) -> int:
    """The number of the last change; 0 before the first."""
    highest: int = (await work.execute(REVISION)).scalar_one()
    return highest


async def page(work: Work, before: int, which: Selection, limit: int) -> Sequence[Row[Any]]:
    """Changes of `which`, newest first, those with an id lower than `before`."""
    return (await work.execute(PAGE, {"before": before, "limit": limit, **which._asdict()})).all()


def add_table(metadata: MetaData) -> Table:
    """Tell a service's metadata of the audit."""
    name = Text(collation="C")
    return Table(
        "audit",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("at", DateTime(timezone=True), nullable=False),
        Column("actor", name, nullable=False),
        Column("action", name, nullable=False),
        Column("object", name, nullable=False),
        Column("before", JSON),
        Column("after", JSON),
    )


def _action(before: Any, after: Any) -> str:
    if before is None:
        return "made"
    return "changed" if after is not None else "deleted"


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
