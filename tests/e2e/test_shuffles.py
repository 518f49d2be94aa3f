"""The order of arrival never shows: one life, told in four orders with repetitions, is one profile and one score."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import pytest

from tests.builders import Json, after, alias, identify, order, page, track
from tests.e2e.temas import Temas, connected, unique
from tests.servers import Stack
from tests.waiting import until

TELLINGS = 4
THEN = datetime(2026, 9, 1, tzinfo=UTC)
"""A moment after all that happened: scores as of then do not depend on when we ask."""

Life = Sequence[Json]


@pytest.fixture
async def temas(stack: Stack) -> AsyncIterator[Temas]:
    async with connected(stack) as temas:
        yield temas


def life(tag: str) -> Life:
    """Forty contacts of one person on three devices, under names that begin with `tag`."""
    user, old, phone, tablet = (f"{tag}-{name}" for name in ("user", "old", "phone", "tablet"))
    contacts = [
        page("Home", anonymous=phone, timestamp=after(0), context={"channel": "mobile"}),
        page("Shoes", anonymous=phone, timestamp=after(1), context={"channel": "mobile"}),
        *(track("Product Viewed", {"sku": n}, anonymous=tablet, timestamp=after(2 + n)) for n in range(8)),
        identify(user, {"plan": "free", "city": "İzmir"}, anonymous=phone, timestamp=after(20)),
        identify(user, {"plan": "pro"}, anonymous=tablet, timestamp=after(30)),
        # At the same moment, with another value: the message id decides, and not who came first.
        identify(user, {"plan": "business"}, timestamp=after(30)),
        identify(user, {"email": f"{tag}@example.com"}, timestamp=after(31)),
        track("Product Viewed", {"sku": 7}, user=old, timestamp=after(days=-3)),
        order(10.1, id=f"{tag}-o0", user=old, timestamp=after(days=-2)),
        alias(old, user, timestamp=after(40)),
        *(order(10.1 * n, id=f"{tag}-o{n}", user=user, timestamp=after(days=9 * n)) for n in range(1, 7)),
        order(5.5, id=f"{tag}-same-day", user=user, timestamp=after(60, days=9)),
        track("Order Refunded", {"order_id": f"{tag}-o2", "total": 3.3}, user=user, timestamp=after(days=20)),
        *(
            track("Consent Changed", {"purpose": "marketing", "channel": "email", "granted": bool(n % 2)},
                  user=user, timestamp=after(days=n))
            for n in range(5)
        ),
        track("Complaint Opened", {}, user=user, timestamp=after(days=25)),
        track("Feedback Given", {"kind": "nps", "score": 9}, user=user, timestamp=after(days=26)),
        page("Home", user=user, anonymous=phone, timestamp=after(days=40)),
        page("Late", anonymous=phone, timestamp=after(days=41)),
    ]  # fmt: skip
    return [{**contact, "messageId": f"{tag}-m{number:02}"} for number, contact in enumerate(contacts)]


def told(contacts: Life, chance: random.Random) -> Iterator[Life]:
    """The same contacts in any order, each once to three times, in batches of any size."""
    arrivals = [contact for contact in contacts for _ in range(chance.randint(1, 3))]
    chance.shuffle(arrivals)
    while arrivals:
        size = chance.randint(1, 12)
        yield arrivals[:size]
        arrivals = arrivals[size:]


def same_for_all(tag: str, body: Any, *ignored: str) -> Any:
    """A body without the fields that name the person or count the publications, and with one tag for all."""
    if isinstance(body, dict):
        return {key: same_for_all(tag, value, *ignored) for key, value in body.items() if key not in ignored}
    if isinstance(body, list):
        return [same_for_all(tag, value, *ignored) for value in body]
    return body.replace(tag, "tag") if isinstance(body, str) else body


async def test_four_tellings_of_one_life_give_one_profile_and_one_score(temas: Temas) -> None:
    base = unique("life")
    tags = [f"{base}{telling}" for telling in range(TELLINGS)]
    chance = random.Random(7)
    in_order = [[contact] for contact in life(tags[0])]
    others = [list(told(life(tag), chance)) for tag in tags[1:]]
    for turn in zip_longest(in_order, *others, fillvalue=()):  # all four lives arrive among each other
        for batch in filter(None, turn):
            await temas.send(*batch, key="TEMAS_SECRET_KEY")  # a public one joins no users
    await temas.settled()

    async def scored() -> bool:
        shown = [(await temas.profile(f"user_id:{tag}-user"))["scores"] for tag in tags]
        return all(score is not None and score["engagement"] for score in shown)

    await until(scored)
    await temas.settled()
    first, *rest = [await _everything(temas, tag) for tag in tags]
    assert first["profile"]["touchpoints"]["count"] == len(life(tags[0]))
    assert first["profile"]["computed"]["order_count"] == 8
    assert first["profile"]["traits"]["plan"]["value"] == "business"
    assert first["scores"]["purchases"]["count"] == 8
    for other in rest:
        assert json.dumps(other, indent=1) == json.dumps(first, indent=1)


async def _everything(temas: Temas, tag: str) -> Json:
    """All that is known of a person, but for what counts or dates publications, and what fades while we ask."""
    person = f"user_id:{tag}-user"
    view = same_for_all(tag, await temas.profile(person), "profile_id", "version", "scores")
    for ruled in (view["stage"], *view["segments"]):
        ruled.pop("since")  # rules may ask for the time, so they are asked when a view is published
    known = {
        "profile": view,
        "timeline": same_for_all(tag, await temas.timeline(person), "received_at"),
        "scores": same_for_all(tag, await temas.scores(person, as_of=THEN.isoformat()), "profile_id", "version"),
    }
    engagement = (await temas.scores(person))["engagement"]
    return known | {"engagement": {name: round(value, 3) for name, value in engagement.items()}}
