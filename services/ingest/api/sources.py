"""`/v1/sources`: where calls come from, and the keys they come with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, status
from sqlalchemy import Row

from services.ingest.api.desk import AdminOfNamed, AtDesk, Reader, ReaderOfNamed
from services.ingest.domain.sources import Narrowing, Source, Standing
from services.ingest.schemas.sources import (
    KeyAnswer,
    KeyBody,
    KeysAnswer,
    NewKeyAnswer,
    RotateBody,
    RotatedAnswer,
    SourceAnswer,
    SourceBody,
    SourcesAnswer,
)
from services.ingest.store.sources import source_of
from shared.clock import rfc3339
from shared.http import refusals
from shared.paging import DEFAULT_LIMIT, AnyText, AwareMoment, Cursor, Limit, cursor, place

router = APIRouter(prefix="/sources", tags=["sources"], responses=refusals(503))

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["web"])]
KeyId = Annotated[str, Path(pattern=r"^[A-Za-z0-9:._-]{1,200}$", examples=["web:3f9ac27b01d4"])]


NOT_FOUND = refusals(404)
FULL = refusals(409)


# --- sources ---------------------------------------------------------------------------------------------------------


@router.put("/{name}", summary="Make a source, or change it", responses=FULL)
async def save(name: Name, body: SourceBody, caller: AdminOfNamed, desk: AtDesk) -> SourceAnswer:
    """It holds in all processes within two seconds. A limit that is left out of the body is none; `trust`, `may` and
    `identity_proof` stay as they are where they are left out.
    """
    source = Source(
        name=name,
        usual=body.usual,
        origins=frozenset(body.origins),
        rate=body.rate,
        quota=body.quota,
        unplanned=body.unplanned,
    )
    may = None if body.may is None else frozenset(body.may)
    standing = Standing(trust=body.trust, may=may, identity_proof=body.identity_proof)
    return _source(await desk.run(lambda work: desk.sources.save(source, standing, caller, work)))


@router.get("", summary="All sources, by name")
async def page(caller: Reader, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> SourcesAnswer:
    (after,) = place(cursor, AnyText) if cursor is not None else ("",)
    rows = await desk.run(lambda work: desk.sources.page(after, limit + 1, work))
    shown = [_source(row) for row in rows[:limit]]
    return SourcesAnswer(sources=shown, next=_next(shown[-1].name) if len(rows) > limit else None)


@router.get("/{name}", summary="A source, and what it has sent today", responses=NOT_FOUND)
async def get(name: Name, caller: ReaderOfNamed, desk: AtDesk) -> SourceAnswer:
    return _source(await desk.run(lambda work: desk.sources.get(name, work)))


# --- keys ------------------------------------------------------------------------------------------------------------


@router.post(
    "/{name}/keys",
    status_code=status.HTTP_201_CREATED,
    summary="Make a key; its text is told this once",
    responses=NOT_FOUND | FULL,
)
async def make_key(name: Name, body: KeyBody, caller: AdminOfNamed, desk: AtDesk) -> NewKeyAnswer:
    """It holds in all processes within two seconds. A source has at most ten keys that hold."""
    scopes = sorted(body.scopes)
    text, row = await desk.run(lambda work: desk.sources.make_key(name, scopes, _narrowing(body), caller, work))
    return NewKeyAnswer(key=text, **_key(row, desk.clock()))


@router.get("/{name}/keys", summary="A source's keys, newest first, ended ones too", responses=NOT_FOUND)
async def keys(
    name: Name, caller: ReaderOfNamed, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> KeysAnswer:
    """Not those that settings give: they are the operator's."""
    before = place(cursor, AwareMoment, AnyText) if cursor is not None else None
    rows = await desk.run(lambda work: desk.sources.keys(name, before, limit + 1, work))
    shown = [KeyAnswer(**_key(row, desk.clock())) for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return KeysAnswer(keys=shown, next=last and _next(last.made_at.isoformat(), last.id))


@router.post(
    "/{name}/keys/{id}/rotate",
    status_code=status.HTTP_201_CREATED,
    summary="Make a key that takes another's place; both hold for a while",
    responses=NOT_FOUND | FULL,
)
async def rotate(
    name: Name, id: KeyId, caller: AdminOfNamed, desk: AtDesk, body: RotateBody | None = None
) -> RotatedAnswer:
    overlap = timedelta(seconds=(body or RotateBody()).overlap_seconds)
    (text, row), old = await desk.run(lambda work: desk.sources.rotate(name, id, overlap, caller, work))
    now = desk.clock()
    return RotatedAnswer(key=text, **_key(row, now), replaces=KeyAnswer(**_key(old, now)))


@router.delete(
    "/{name}/keys/{id}", status_code=status.HTTP_204_NO_CONTENT, summary="Revoke a key, now", responses=NOT_FOUND
)
async def revoke(name: Name, id: KeyId, caller: AdminOfNamed, desk: AtDesk) -> None:
    """No process takes it two seconds later. It stays in the list, as ended."""
    await desk.run(lambda work: desk.sources.revoke(name, id, caller, work))


def _narrowing(body: KeyBody) -> Narrowing:
    services = {"ingest"} if body.sources is not None else body.services
    return Narrowing(
        services=None if services is None else frozenset(services),
        sources=None if body.sources is None else frozenset(body.sources),
    )


def _next(*place: str) -> str:
    return cursor(*place)


def _source(row: Row[Any]) -> SourceAnswer:
    source = source_of(row)
    return SourceAnswer(
        name=source.name,
        usual=source.usual,
        origins=row.origins,
        rate=source.rate,
        quota=source.quota,
        unplanned=source.unplanned,
        trust=source.trust,
        may=sorted(source.may),
        identity_proof=source.identity_proof,
        made_at=rfc3339(row.made_at),
        calls_today=row.calls_today,
    )


def _key(row: Row[Any], now: datetime) -> dict[str, Any]:
    return {
        "id": row.id,
        "hint": row.hint,
        "scopes": row.scopes,
        "services": row.services,
        "sources": row.sources,
        "made_at": rfc3339(row.made_at),
        "ends_at": row.ends_at and rfc3339(row.ends_at),
        "holds": row.ends_at is None or now < row.ends_at,
    }
