"""Events at the ends of our calendar, where clients leave their times empty, are shown like everything else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from shared.clock import rfc3339
from shared.events import Touchpoint
from tests.builders import Json, aliased, identified, joined, ordered, viewed
from tests.profile.service import NOON, Service

FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
ENDS = {
    "first": FIRST,
    "before-1000": datetime(999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
    "last": LAST,
}


def life(name: str, at: datetime) -> list[Touchpoint]:
    """All kinds of contacts at one moment, which find each other by every kind of link."""
    user, device, other = f"et-{name}", f"et-{name}-device", f"et-{name}-other"
    moment: dict[str, Any] = {"at": at, "received_at": NOON}
    return [
        viewed(anonymous=device, **moment),
        identified(user, device, id=f"{user}-1", traits={"email": f"{user}@example.com", "plan": "gold"}, **moment),
        identified(other, device, id=f"{user}-2", **moment),  # a second login on the device, which has to lose
        aliased(f"{user}-before", user, **moment),
        joined(f"{user}-group", user=user, **moment),
        ordered(12.5, user=user, order=f"{user}-1", **moment),
    ]


async def asked(service: Service, path: str, **query: Any) -> Json:
    answer = await service.send("GET", f"/v1/{path}", params=query)
    assert answer.status_code == 200, (path, answer.text)
    found: Json = answer.json()
    return found


async def pages(service: Service, path: str, items: str, **query: Any) -> list[Json]:
    """All items, page by page."""
    found: list[Json] = []
    cursor: dict[str, str] = {}
    while True:
        page = await asked(service, path, limit=1, **query, **cursor)
        found += page[items]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("name", ENDS)
async def test_whoever_was_seen_at_an_end_of_the_calendar_is_shown_everywhere(service: Service, name: str) -> None:
    at, user = ENDS[name], f"et-{name}"
    view = await service.shows(f"user_id:{user}", *life(name, at))
    assert view["touchpoints"]["first_at"] == rfc3339(at)

    for kind, value in (("user_id", user), ("user_id", f"{user}-other"), ("anonymous_id", f"{user}-device")):
        person = f"profiles/{quote(f'{kind}:{value}', safe='')}"
        whole = await asked(service, f"{person}/identity")
        parts = {part: await pages(service, f"{person}/identity", part) for part in ("identifiers", "edges", "rulings")}
        assert parts == {part: whole[part] for part in parts}
        assert {edge["at"] for edge in whole["edges"]} == {rfc3339(at)}
        told = await asked(service, f"{person}/timeline")
        assert await pages(service, f"{person}/timeline", "touchpoints") == told["touchpoints"]
        since = await asked(service, f"{person}/timeline", **{"from": rfc3339(at)})
        assert since["touchpoints"] == told["touchpoints"]
        await asked(service, person)
        await asked(service, f"{person}/computed")
        for trait in await pages(service, f"{person}/traits", "traits"):
            assert await pages(service, f"{person}/traits/{trait['trait']}", "words")
    assert await pages(service, f"groups/{user}-group/profiles", "profiles")


@pytest.mark.parametrize("name", ENDS)
async def test_whoever_was_seen_at_an_end_of_the_calendar_is_taken_apart_and_put_together(
    service: Service, name: str
) -> None:
    user, device = f"user_id:et-ruled-{name}", f"anonymous_id:et-ruled-{name}-device"
    await service.shows(user, *life(f"ruled-{name}", ENDS[name]))
    for ruling, other in (("unmerge", "from"), ("merge", "into")):
        body = {"identifier": device, other: user, "why": "to see"}
        answer = await service.send("POST", f"/v1/identities/{ruling}", json=body)
        assert answer.status_code == 200, answer.text
        for person in (user, device):
            await asked(service, f"profiles/{quote(person, safe='')}/identity")
