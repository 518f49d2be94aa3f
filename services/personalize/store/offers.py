"""Offers as they were last put. A withdrawn one is kept, marked as deleted; put again, it goes on counting versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text

from services.personalize.domain.offers import Offer
from shared.db import Work

PUT = text("""
    INSERT INTO offer (offer_id, version, body) VALUES (:offer_id, 1, :body)
    ON CONFLICT (offer_id) DO UPDATE
    SET version = offer.version + 1, body = excluded.body, deleted_at = NULL, written_by = pg_current_xact_id()
    RETURNING version
""")
FIND = text("SELECT version, CAST(body AS text) AS body FROM offer WHERE offer_id = :offer_id AND deleted_at IS NULL")
PAGE = text("""
    SELECT version, CAST(body AS text) AS body FROM offer
    WHERE offer_id > :after AND deleted_at IS NULL ORDER BY offer_id LIMIT :limit
""")
WITHDRAW = text("""
    UPDATE offer SET version = version + 1, deleted_at = :now, written_by = pg_current_xact_id()
    WHERE offer_id = :offer_id AND deleted_at IS NULL
""")
CHANGED = text("""
    SELECT offer_id, version, CAST(body AS text) AS body, deleted_at FROM offer
    WHERE written_by >= CAST(CAST(:since AS text) AS xid8)
""")

_decoder = msgspec.json.Decoder(Offer)
_encoder = msgspec.json.Encoder()


async def put(work: Work, offer: Offer) -> Offer:
    """Put `offer`, whatever version it says; give it with the version it got."""
    row = {"offer_id": offer.id, "body": _encoder.encode(offer).decode()}
    return msgspec.structs.replace(offer, version=(await work.execute(PUT, row)).scalar_one())


async def find(work: Work, offer_id: str) -> Offer | None:
    row = (await work.execute(FIND, {"offer_id": offer_id})).one_or_none()
    return None if row is None else _offer(row.version, row.body)


async def page(work: Work, after: str, limit: int) -> list[Offer]:
    """At most `limit` offers, by id, that come after `after`."""
    return [_offer(row.version, row.body) for row in await work.execute(PAGE, {"after": after, "limit": limit})]


async def withdraw(work: Work, offer_id: str, now: datetime) -> None:
    """Make the offer no more."""
    await work.execute(WITHDRAW, {"offer_id": offer_id, "now": now})


async def changed(work: Work, since: str) -> Sequence[tuple[str, Offer | None]]:
    """Offers written from the horizon `since` on, by id; None for those withdrawn."""
    rows = await work.execute(CHANGED, {"since": since})
    return [(row.offer_id, None if row.deleted_at else _offer(row.version, row.body)) for row in rows]


def _offer(version: int, body: str) -> Offer:
    return msgspec.structs.replace(_decoder.decode(body), version=version)
