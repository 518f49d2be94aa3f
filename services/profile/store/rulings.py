"""Rulings: every one kept, none ever changed. This is their audit, too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, text

from services.profile.domain.rulings import Ruling
from services.profile.store import locks
from services.profile.store.identities import keys
from shared.db import Work
from shared.identifiers import Identifier

ADD = text("""
    INSERT INTO ruling (member_kind, member_value, owner_kind, owner_value, at, id, ruling, who, why)
    VALUES (:member_kind, :member_value, :owner_kind, :owner_value, :at, :id, :ruling, :who, :why)
""")
ABOUT = text("""
    WITH wanted (kind, value) AS MATERIALIZED (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])))
    SELECT ruling.* FROM wanted JOIN ruling ON (member_kind, member_value) = (wanted.kind, wanted.value)
    UNION
    SELECT ruling.* FROM wanted JOIN ruling ON (owner_kind, owner_value) = (wanted.kind, wanted.value)
""")
RULED = text("""
    SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS wanted (kind, value)
    WHERE EXISTS (SELECT 1 FROM ruling WHERE (member_kind, member_value) = (wanted.kind, wanted.value))
        OR EXISTS (SELECT 1 FROM ruling WHERE (owner_kind, owner_value) = (wanted.kind, wanted.value))
""")
EVERYTHING = text("SELECT * FROM ruling ORDER BY at, id")
PAGE = text("""
    SELECT * FROM ruling WHERE (at, id) < (CAST(:at AS timestamptz), CAST(:id AS text))
    ORDER BY at DESC, id DESC LIMIT :limit
""")


async def lock(work: Work) -> None:
    """Be the only one who rules or absorbs until this transaction ends.

    A batch that is being absorbed does not see a ruling that is being made, nor the ruling what the batch adds: each
    would decide without the other. Rulings are rare, so they wait for the batches; the batches never for each other.
    """
    await locks.alone(work, "ruling")


async def share(work: Work) -> None:
    """Absorb, beside others who do, while nobody rules. To be called before anything else is read or locked."""
    await locks.together(work, "ruling")


async def add(work: Work, ruling: Ruling) -> None:
    """Keep `ruling`."""
    member, owner = ruling.member, ruling.owner
    await work.execute(
        ADD,
        {
            "member_kind": member.kind,
            "member_value": member.value,
            "owner_kind": owner.kind,
            "owner_value": owner.value,
            **{name: getattr(ruling, name) for name in ("at", "id", "ruling", "who", "why")},
        },
    )


async def about(work: Work, wanted: Collection[Identifier]) -> list[Ruling]:
    """Every ruling that one of `wanted` is a party of, those taken back too."""
    if not wanted:
        return []
    return [ruling_of(row) for row in await work.execute(ABOUT, keys(wanted))]


async def ruled(work: Work, wanted: Collection[Identifier]) -> set[Identifier]:
    """Those of `wanted` that somebody ever ruled on."""
    return {Identifier(*row) for row in await work.execute(RULED, keys(wanted))} if wanted else set()


async def everything(work: Work) -> list[Ruling]:
    """Every ruling there is."""
    return [ruling_of(row) for row in await work.execute(EVERYTHING)]


async def page(work: Work, before: tuple[datetime, str], limit: int) -> Sequence[Ruling]:
    """Rulings of all profiles, newest first, those after the place `before`."""
    return [ruling_of(row) for row in await work.execute(PAGE, {"at": before[0], "id": before[1], "limit": limit})]


def ruling_of(row: Row[Any]) -> Ruling:
    """The ruling in a row."""
    return msgspec.convert(
        {
            "member": Identifier(row.member_kind, row.member_value),
            "owner": Identifier(row.owner_kind, row.owner_value),
            **{name: getattr(row, name) for name in ("at", "id", "ruling", "who", "why")},
        },
        Ruling,
    )
