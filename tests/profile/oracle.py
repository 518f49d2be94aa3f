"""What a person would compute by hand from the set of touchpoints: plainly, slowly, with none of the service's code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from shared.events import Touchpoint

Id = tuple[str, str]


def blocked(value: str) -> bool:
    return value in {"null", "undefined", "none", "anonymous", "-1", "nan"} or bool(re.fullmatch(r"0+|(\d)\1+", value))


def owner(touchpoint: Touchpoint) -> Id:
    named = ids(touchpoint)
    return next((id for id in named if not blocked(id[1])), named[0])


def ids(touchpoint: Touchpoint) -> list[Id]:
    call = touchpoint.data
    both = (("user_id", call.user_id), ("anonymous_id", call.anonymous_id))
    return [(kind, value) for kind, value in both if value is not None]


def who_is_who(life: Iterable[Touchpoint], visitors: int, others: int) -> dict[Id, Id]:
    """Each identifier with the one that names its profile."""
    life = sorted(life, key=lambda each: (each.at, each.id))
    seen: dict[Id, Any] = {}
    for each in life:
        for id in {owner(each)} | {id for id in ids(each) if not blocked(id[1]) and not blocked(owner(each)[1])}:
            seen.setdefault(id, (each.at, each.id, id))
    people = [{id} for id in seen if id[0] == "user_id"]
    for each in (each for each in life if each.data.type == "alias" and owner(each)[0] == "user_id"):
        pair = {owner(each), ("user_id", str(each.data.previous_id))}
        if pair <= seen.keys() and not any(blocked(value) for _, value in pair):
            joined = [person for person in people if person & pair]
            people = [person for person in people if not person & pair] + [set().union(*joined)]
    name = {id: min(person, key=seen.__getitem__) for person in people for id in person}

    claims: dict[Id, Any] = {}
    for each in life:
        for id in claimed(each):
            claim = (each.at, each.id, owner(each), id)
            claims[id] = min(claims.get(id, claim), claim)
    full: dict[tuple[Id, str], int] = {}
    for id, (*_, whose, _) in sorted(claims.items(), key=lambda item: (item[0][0] != "anonymous_id", item[1])):
        if id[0] == "anonymous_id" and id not in seen:
            continue
        target = name.get(whose, whose)
        taken = full.get((target, id[0]), 0)
        if taken < (visitors if id[0] == "anonymous_id" else others):
            full[target, id[0]] = taken + 1
            name[id] = target
    return {id: id for id in seen} | name


def claimed(touchpoint: Touchpoint) -> list[Id]:
    """What is said to be the owner's: devices by login and alias, emails and external ids by claim."""
    call, whose = touchpoint.data, owner(touchpoint)
    if blocked(whose[1]):
        return []
    claims = [(external.kind, external.value) for external in call.external_ids]
    if call.traits.get("email"):
        claims.append(("email", call.traits["email"].strip().lower()))
    if whose[0] == "user_id":
        claims += [id for id in ids(touchpoint) if id[0] == "anonymous_id"]
        if call.type == "alias" and call.previous_id != call.user_id:
            claims.append(("anonymous_id", str(call.previous_id)))
    return [claim for claim in claims if not blocked(claim[1])]


def known(life: Iterable[Touchpoint]) -> dict[str, Any]:
    """What the touchpoints of one person add up to, as the view shows it."""
    life = sorted(life, key=lambda each: (each.at, each.id))
    orders = [each for each in life if each.data.name == "Order Completed"]
    refunds = [each for each in life if each.data.name == "Order Refunded"]
    value = sum(map(worth, orders), Decimal(0)) - sum(map(worth, refunds), Decimal(0))
    plans = {name: each for each in life for name, word in each.data.traits.items()}
    consents = [each for each in life if each.data.name == "Consent Changed"]
    channels = [each.data.channel for each in life]
    return {
        "traits": {name: each.data.traits[name] for name, each in plans.items() if each.data.traits[name] is not None},
        "order_count": len(orders),
        "order_value": float(value),
        "orders": (orders[0].at, orders[-1].at) if orders else None,
        "touchpoints": (life[0].at, life[-1].at) if life else None,
        "channels": {channel: channels.count(channel) for channel in set(channels)},
        "granted": consents[-1].properties()["granted"] if consents else None,
    }


def worth(touchpoint: Touchpoint) -> Decimal:
    properties = touchpoint.properties()
    text = str(properties.get("total", properties.get("value")))
    return Decimal(text) if re.fullmatch(r"[\d.]+", text) else Decimal(0)
