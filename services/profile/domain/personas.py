"""Personas: segments that most companies want, ready to be adopted as they are or changed.

Their times and numbers are where to begin, not what is true of everybody: who sells mattresses waits longer for a
second order than who sells coffee.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Persona(msgspec.Struct, frozen=True):
    """A segment that is ready to be adopted. `why`: what it helps with."""

    id: str
    name: str
    rule: str
    why: str


_ALL = (
    Persona(
        "new-customers",
        "New customers",
        'computed.order_count >= 1 && computed.first_order_at > now - duration("720h")',
        "The first 30 days decide whether there is a second order: help them to use what they bought.",
    ),
    Persona(
        "champions",
        "Champions",
        'computed.order_count >= 3 && computed.last_order_at > now - duration("2160h")',
        "They buy often and bought lately: thank them, ask for their opinion, and spare them the discounts.",
    ),
    Persona(
        "big-spenders",
        "Big spenders",
        "computed.order_value >= 500",
        "Few who bring much: worth a person's time. The amount is in your currency, less what was refunded.",
    ),
    Persona(
        "at-risk",
        "At risk",
        """computed.order_count >= 2 && computed.last_order_at > now - duration("8760h")
  && (computed.last_order_at < now - duration("2160h") || scores.churn_risk > 0.7)""",
        "They came back before and are late now: ask what is wrong while they still remember you.",
    ),
    Persona(
        "lapsed-customers",
        "Lapsed customers",
        'computed.order_count >= 1 && computed.last_order_at < now - duration("8760h")',
        "No order for a year: one good reason to come back, then leave them in peace.",
    ),
    Persona(
        "advocates",
        "Advocates",
        "computed.order_count >= 1 && computed.referral_count >= 1",
        "Customers who brought others: what they say is worth more than what you say.",
    ),
    Persona(
        "browsing-not-buying",
        "Browsing, not buying",
        """computed.order_count == 0 && computed.touchpoint_count >= 5
  && computed.last_touchpoint_at > now - duration("336h")""",
        "They were there again and again in the last 14 days and bought nothing: something is in their way.",
    ),
    Persona(
        "in-many-channels",
        "In many channels",
        "computed.order_count >= 1 && size(channels) >= 3",
        "Customers who meet you in three channels or more: they notice first where those contradict each other.",
    ),
    Persona(
        "unreachable",
        "Unreachable",
        """computed.order_count >= 1
  && !consent.exists(purpose, consent[purpose].exists(channel, consent[purpose][channel].granted))""",
        "Customers whom you may write for no purpose and in no channel: serve them well, and ask when they are there.",
    ),
)

PERSONAS: Mapping[str, Persona] = {persona.id: persona for persona in _ALL}
