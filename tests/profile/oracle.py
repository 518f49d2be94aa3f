"""What a person would compute by hand from the set of touchpoints: plainly, slowly, with none of the service's
code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from services.profile.domain.rulings import Ruling
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


def who_is_who(life: Iterable[Touchpoint], visitors: int, others: int, rulings: Iterable[Ruling] = ()) -> dict[Id, Id]:
    """Each identifier with the one that names its profile."""
    life = sorted(life, key=place)
    merges, splits = in_force(rulings)
    seen: dict[Id, Any] = {}
    for each in sorted(life, key=moment):
        for id in {owner(each)} | {id for id in ids(each) if not blocked(id[1]) and not blocked(owner(each)[1])}:
            seen.setdefault(id, (*moment(each), id))
    name = _people(life, seen, merges, splits)

    claims: dict[Id, list[Any]] = {}
    for each in life:
        for id in claimed(each):
            claims.setdefault(id, []).append((*place(each), owner(each), id))
    for wanted, limit in ((lambda id: id[0] == "anonymous_id", visitors), (lambda id: id[0] in ADDRESSES, others)):
        mine = [id for id in {*seen, *claims} if wanted(id) and (id in seen or id[0] in ADDRESSES)]
        roomy = _roomy([claims[id][0] for id in mine if id in claims], name, limit)
        words = {id: [into for _, into in reversed(merges.get(id, []))] for id in mine}
        bound = {id for id in mine if id in merges or any(id in pair for pair in splits)}
        for id in [*sorted(set(mine) - bound), *_queue(bound, merges, splits)]:
            for whose, first in [(into, False) for into in words[id]] + _owners(claims.get(id, [])):
                target = name.get(whose)
                if target is None or any(name.get(foe) == target for foe in _foes(id, splits)):
                    continue
                if not first or id in roomy:
                    name[id] = target
                break
            if id not in name and id[0] == "anonymous_id":
                name[id] = id
    return name


def moment(touchpoint: Touchpoint) -> Any:
    """When it counts: what a client says not before it was received."""
    at, received_at = touchpoint.at, touchpoint.data.received_at
    return (max(at, received_at) if touchpoint.data.trust == "client" else at), at, touchpoint.id


def place(touchpoint: Touchpoint) -> Any:
    """What all servers say comes before all that clients say."""
    return touchpoint.data.trust == "client", *moment(touchpoint)


ADDRESSES = ("email", "phone", "crm")


def in_force(rulings: Iterable[Ruling]) -> tuple[dict[Id, list[Any]], list[tuple[Id, Id]]]:
    """The merges that hold, by who is merged, oldest first; and the pairs that are split."""
    last: dict[frozenset[Id], Any] = {}
    for each in sorted(rulings, key=lambda each: (each.at, each.id)):
        member, into = (each.member.kind, each.member.value), (each.owner.kind, each.owner.value)
        last.pop(frozenset({member, into}), None)
        last[frozenset({member, into})] = (each, member, into)
    merges: dict[Id, list[Any]] = {}
    for each, member, into in last.values():
        if each.ruling == "merge":
            merges.setdefault(member, []).append(((each.at, each.id), into))
    return merges, [(member, into) for each, member, into in last.values() if each.ruling == "split"]


def _people(life: list[Touchpoint], seen: dict[Id, Any], merges: Any, splits: Any) -> dict[Id, Id]:
    people = [{id} for id in seen if id[0] == "user_id"]
    said: list[Any] = []
    for each in (each for each in life if each.data.type == "alias" and owner(each)[0] == "user_id"):
        pair = {owner(each), ("user_id", str(each.data.previous_id))}
        first_login = each.data.trust == "client" and each.data.previous_id == each.data.anonymous_id
        if not first_login and not any(blocked(value) for _, value in pair):
            said.append((place(each), pair))
    said += [
        ((False, when[0], when[0], when[1]), {member, into})
        for member in merges
        for when, into in merges[member]
        if member[0] == "user_id"
    ]
    for _, pair in sorted(said, key=lambda each: each[0]):
        one = set().union(*(person for person in people if person & pair))
        if pair <= seen.keys() and not any(one >= {*split} for split in splits):
            people = [person for person in people if not person & pair] + [one]
    return {id: min(person, key=seen.__getitem__) for person in people for id in person}


def _roomy(firsts: list[Any], name: dict[Id, Id], limit: int) -> set[Id]:
    """Of those claimed by one person, of one kind, the first few."""
    taken: dict[Any, list[Id]] = {}
    for *_, whose, id in sorted(firsts):
        if whose in name:
            taken.setdefault((name[whose], id[0]), []).append(id)
    return {id for few in taken.values() for id in few[:limit]}


def _owners(claims: list[Any]) -> list[tuple[Id, bool]]:
    """Those who claim it, the first to do so marked."""
    whose = list(dict.fromkeys(each[-2] for each in sorted(claims)))
    return [(each, number == 0) for number, each in enumerate(whose)]


def _foes(id: Id, splits: Any) -> set[Id]:
    return {other for split in splits if id in split for other in split if other != id}


def _queue(bound: set[Id], merges: Any, splits: Any) -> list[Id]:
    """One after the other: who follows or avoids nobody that is still to come; else the least."""
    queue: list[Id] = []
    while left := bound - {*queue}:
        after = {id: {into for _, into in merges.get(id, [])} | {b for a, b in splits if a == id} for id in left}
        queue.append(min([id for id in left if not after[id] & left] or left))
    return queue


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
    by_trust = sorted(life, key=lambda each: each.data.trust == "server")
    plans = {name: each for each in by_trust for name, word in each.data.traits.items()}
    consents = [each for each in life if each.data.name == "Consent Changed"]
    channels = [each.data.channel for each in life]
    return {
        "traits": {name: each.data.traits[name] for name, each in plans.items() if each.data.traits[name] is not None},
        "order_count": len(orders),
        "order_value": float(value),
        "orders": (orders[0].at, orders[-1].at) if orders else None,
        "touchpoints": (life[0].at, life[-1].at) if life else None,
        "channels": {channel: channels.count(channel) for channel in set(channels)},
        "granted": _granted(consents),
    }


def _granted(consents: list[Touchpoint]) -> Any:
    """Of consents in their order: the last of a server; but whoever has a client may refuse after it."""
    last = {each.data.trust: (number, each.properties()["granted"]) for number, each in enumerate(consents)}
    if len(last) < 2:
        return next((granted for _, granted in last.values()), None)
    (by_server, granted), (by_client, wanted) = last["server"], last["client"]
    return granted and (wanted or by_client < by_server)


def worth(touchpoint: Touchpoint) -> Decimal:
    properties = touchpoint.properties()
    text = str(properties.get("total", properties.get("value")))
    return Decimal(text) if re.fullmatch(r"[\d.]+", text) else Decimal(0)


def groups(life: Iterable[Touchpoint], most: int) -> dict[str, Any]:
    """The groups that the touchpoints of one person leave them in, each with since when; `most` words tell that."""
    life = sorted(life, key=lambda each: (each.at, each.id, each.source))
    told = {_group_of(each) for each in life if each.data.trust == "server"}
    words: dict[str, list[tuple[Any, bool]]] = {}
    for each in (each for each in life if each.data.trust == "server" or _group_of(each) not in told):
        if each.data.type == "group":
            words.setdefault(str(each.data.group_id), []).append((each.at, True))
        elif each.data.name == "Group Left":
            words.setdefault(each.properties()["group_id"], []).append((each.at, False))
    found: dict[str, Any] = {}
    for group, said in words.items():
        run: list[Any] = []
        for at, joins in said:
            run = [*run, at] if joins else []
        came_back = any(joins for _, joins in said[: len(said) - len(run)])
        if run:
            found[group] = run[-most:][0] if came_back else run[0]
    return found


def _group_of(each: Touchpoint) -> str | None:
    if each.data.type == "group":
        return str(each.data.group_id)
    return each.properties()["group_id"] if each.data.name == "Group Left" else None
