"""`/v1/offers`: what may be offered, kept by a marketer."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, status

from services.personalize.api.asked import OfferId, OfOffers
from services.personalize.domain.offers import Offer
from services.personalize.schemas import OfferAnswer, OfferBody, OffersAnswer
from shared import paging
from shared.auth import Caller
from shared.http import refusals
from shared.paging import DEFAULT_LIMIT, AnyText, Cursor, Limit

router = APIRouter(prefix="/v1/offers", tags=["offers"])

NOT_FOUND = refusals(404)


@router.put("/{id}", summary="Make an offer, or change it")
async def put(id: OfferId, body: OfferBody, offers: OfOffers, caller: Caller) -> OfferAnswer:
    offer = msgspec.convert({**body.model_dump(), "id": id, "version": 0}, Offer)
    return OfferAnswer.model_validate(await offers.put(offer, caller.id))


@router.get("", summary="All offers, by id")
async def page(offers: OfOffers, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> OffersAnswer:
    after = paging.place(cursor, AnyText)[0] if cursor else ""
    found = await offers.page(after, limit + 1)
    shown = [OfferAnswer.model_validate(offer) for offer in found[:limit]]
    return OffersAnswer(offers=shown, next=paging.cursor(shown[-1].id) if len(found) > limit else None)


@router.get("/{id}", summary="One offer", responses=NOT_FOUND)
async def one(id: OfferId, offers: OfOffers) -> OfferAnswer:
    return OfferAnswer.model_validate(await offers.find(id))


@router.delete("/{id}", status_code=status.HTTP_204_NO_CONTENT, summary="Make the offer no more", responses=NOT_FOUND)
async def withdraw(id: OfferId, offers: OfOffers, caller: Caller) -> None:
    await offers.withdraw(id, caller.id)
