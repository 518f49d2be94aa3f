"""Gates: who may not get an offer, and why. In this order; the first that an offer fails is its reason.

1. availability: the channel, and the offer's own dates.
2. eligibility: the rule in CEL. Unknown counts as no.
3. consent, to the offer's purpose in this channel. Where the company speaks first (email, sms, push, call) it must have
   been given; where the person came by themselves it must only not have been refused. Of a statement on the channel
   and one on every channel (`*`) the later counts; but a client's grant does not override a server's refusal.
4. fatigue: an offer that was dismissed or accepted rests; beyond that the offer's caps hold. Exposures count over all
   identifiers of the person, so that logging in is no way around a dismissal.
5. budget comes after these. It is not among them yet: an offer's budget is kept, and nothing refuses because of it.

What could not be looked up is not guessed. Where the person was not looked up for this decision, or in a read model
that is behind, the reason is `unknown` for consent to whatever purpose and for every cap (consent may have been
withdrawn since, the offer may have been shown), and for a rule that reads the person (what was so a short while ago is
near enough, but not for a rule that reads consent). An offer that asks for none of these still comes. Rests concern
every offer, and are a courtesy: they hold as far as dismissals and acceptances are remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from services.personalize.domain.channels import OUTBOUND
from services.personalize.domain.customers import Past, Reliance
from services.personalize.domain.offers import Cap, Offer, Shelf
from shared.clock import later, rfc3339
from shared.consent import holding
from shared.events import Consent, Gate

EVERY_CHANNEL = "*"

UNKNOWN = "unknown"
"""The reason where the person could not be looked up, and the offer asks for something of them."""


class Rests(msgspec.Struct, frozen=True):
    """How long an offer is not shown again to somebody who has dismissed it, and to somebody who has accepted it."""

    dismissed: timedelta
    accepted: timedelta


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that gates look at. `held` says which eligibility rules hold, by their text; None where unknown."""

    now: datetime
    channel: str
    held: Mapping[str, bool | None]
    consent: Mapping[str, Mapping[str, Consent]]
    pasts: Mapping[str, Past]
    rests: Rests
    reliance: Reliance = "current"


class Refusal(msgspec.Struct, frozen=True):
    """The first gate that an offer failed, and why: a sentence for a person, or `UNKNOWN`."""

    gate: Gate
    reason: str


def refusals(shelf: Shelf, situation: Situation) -> dict[str, Refusal]:
    """The offers that fail a gate in `situation`, by id. What offers share is looked at once for all of them."""
    elsewhere = {channels: _elsewhere(channels, situation.channel) for channels in shelf.channels}
    unknown = _unknown_rules(shelf, situation.reliance)
    ineligible = {text: UNKNOWN if text in unknown else _ineligible(holds) for text, holds in situation.held.items()}
    unconsented = {purpose: _unconsented(purpose, situation) for purpose in shelf.purposes}
    looked_up = situation.reliance == "current"
    found: dict[str, Refusal] = {}
    for offer in shelf.offers:
        if reason := elsewhere[offer.channels] or _out_of_date(offer, situation.now):
            found[offer.id] = Refusal("availability", reason)
        elif offer.eligibility is not None and (reason := ineligible.get(offer.eligibility, NO_ANSWER)):
            found[offer.id] = Refusal("eligibility", reason)
        elif reason := unconsented[offer.purpose]:
            found[offer.id] = Refusal("consent", reason)
        elif offer.caps and not looked_up:
            found[offer.id] = Refusal("fatigue", UNKNOWN)
        elif offer.id in situation.pasts and (reason := _tiring(offer, situation.pasts[offer.id], situation)):
            found[offer.id] = Refusal("fatigue", reason)
    return found


def _unknown_rules(shelf: Shelf, reliance: Reliance) -> frozenset[str]:
    """The rules that read more of the person than is known."""
    if reliance == "current":
        return frozenset()
    return shelf.about_consent if reliance == "recent" else shelf.about_person


def _elsewhere(channels: Sequence[str], channel: str) -> str | None:
    if not channels or channel in channels:
        return None
    return f"not made in the channel {channel}, only in {', '.join(channels)}"


def _out_of_date(offer: Offer, now: datetime) -> str | None:
    if offer.valid_from is not None and now < offer.valid_from:
        return f"not valid before {rfc3339(offer.valid_from)}"
    if offer.valid_to is not None and now >= offer.valid_to:
        return f"no longer valid since {rfc3339(offer.valid_to)}"
    return None


NO_ANSWER = "whether its rule holds is unknown for this person, which counts as no"


def _ineligible(holds: bool | None) -> str | None:
    if holds is None:
        return NO_ANSWER
    return None if holds else "its rule does not hold for this person"


def _unconsented(purpose: str | None, situation: Situation) -> str | None:
    if purpose is None:
        return None
    if situation.reliance != "current":
        return UNKNOWN
    said = _last_word(situation.consent.get(purpose, {}), situation.channel)
    if said is not None and not said.granted:
        return f"consent to {purpose} in {situation.channel} was refused at {said.at}"
    if said is None and situation.channel in OUTBOUND:
        return f"nobody has consented to {purpose} in {situation.channel}, where the company speaks first"
    return None


def _tiring(offer: Offer, past: Past, situation: Situation) -> str | None:
    return (
        _resting("dismissed", past.dismissed, situation.rests.dismissed, situation.now)
        or _resting("accepted", past.accepted, situation.rests.accepted, situation.now)
        or next((reason for cap in offer.caps if (reason := _capped(cap, past, situation.now))), None)
    )


def _last_word(channels: Mapping[str, Consent], channel: str) -> Consent | None:
    """The later of what was said on `channel` and on every channel; ties as profiles resolve them, by touchpoint.

    But no client's grant on one of them overrides what a server says of the other.
    """
    said = [channels[each] for each in (channel, EVERY_CHANNEL) if each in channels]
    by_server, by_client = (
        max((word for word in said if word.trust == trust), key=_place, default=None) for trust in ("server", "client")
    )
    return holding(by_server, by_client, _place)


def _place(word: Consent) -> tuple[str, str]:
    return word.at, word.touchpoint_id


def _resting(what: str, at: datetime | None, rest: timedelta, now: datetime) -> str | None:
    if at is None or now >= (until := later(at, rest)):
        return None
    return f"{what} at {rfc3339(at)}, so it rests until {rfc3339(until)}"


def _capped(cap: Cap, past: Past, now: datetime) -> str | None:
    since = now - timedelta(days=cap.days)
    times = sum(at > since for at in past.shown)
    return f"shown {times} times since {rfc3339(since)}, of {cap.count} allowed" if times >= cap.count else None
