"""Who comes by, as the log tells it: records of 900 bytes about people of whom some come often and most seldom."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import msgspec

from shared.events import Call, Touchpoint, encode

PEOPLE = 10_000
"""Who come back, where nothing else is said."""

CONTEXT = msgspec.Raw(
    msgspec.json.encode(
        {
            "library": {"name": "analytics.js", "version": "2.1.0"},
            "page": {"url": "https://shop.example/records/jazz", "title": "Jazz", "referrer": "https://shop.example/"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
            "locale": "en-GB",
        }
    )
)
NAMES = (
    *("Product Viewed", "Product Viewed", "Product Viewed", "Product Viewed", "Products Searched"),
    *("Cart Viewed", "Product Added", "Product Added", "Checkout Started", "Checkout Started"),
)

Whose = Callable[["People"], str]
"""Draws whose the next touchpoint is."""


class People:
    """A stream of touchpoints, the same for the same seed; every event is another one."""

    def __init__(self, whose: Whose, *, known: int = PEOPLE, seed: int = 1) -> None:
        self.whose = whose
        self.known = known
        self.random = random.Random(seed)
        self.seed = seed
        self.number = 0
        self.at = datetime.now(UTC) - timedelta(hours=1)
        # The k-th most frequent comes 1/k^0.8 as often as the first: a shop's people.
        self.weights = list(accumulate(1 / rank**0.8 for rank in range(1, known + 1)))

    def records(self, count: int) -> list[tuple[bytes, bytes]]:
        """The next touchpoints, as they stand in the log: key and value."""
        return [(each.owner.value.encode(), encode(each)) for each in (self.touchpoint() for _ in range(count))]

    def touchpoint(self) -> Touchpoint:
        """The next one: one in ten is an order, one in fifty a login with an email."""
        who = self.whose(self)
        self.number += 1
        self.at += timedelta(milliseconds=1)
        name: str | None = self.random.choice(NAMES)
        traits: dict[str, Any] = {}
        properties: dict[str, Any] = {"product_id": "sku-1", "price": 19.9}
        if self.number % 10 == 0:
            name = "Order Completed"
            properties |= {"order_id": f"o-{self.number}", "total": 42.5}
        elif self.number % 50 == 1 and who.startswith("u"):
            name, traits = None, {"email": f"{who}@shop.example", "plan": "gold", "city": "Delft"}
        return Touchpoint(
            id=f"m-{self.seed}-{self.number}",
            source="web",
            time=self.at,
            data=Call(
                type="track" if name else "identify",
                received_at=self.at,
                channel="web",
                name=name,
                user_id=who if who.startswith("u") else None,
                anonymous_id=f"a-{who}",
                traits=traits,
                properties=msgspec.Raw(msgspec.json.encode(properties | {"padding": "x" * 200})),
                context=CONTEXT,
            ),
        )

    def returning(self) -> str:
        """Somebody who was here before, frequent ones more often."""
        return person(bisect(self.weights, self.random.random() * self.weights[-1]))

    def anew(self) -> str:
        """Somebody nobody has heard of: a visitor, or a user."""
        return f"{'uv'[self.number % 2]}-new-{self.seed}-{self.number}"


def person(number: int) -> str:
    """One of those who come back."""
    return f"u-{number:07}"


def in_turn(people: People) -> str:
    """Everybody who comes back, one after the other."""
    return person(people.number % people.known)


def mostly_known(people: People) -> str:
    return people.anew() if people.random.random() < 0.05 else people.returning()


def half_on_one(people: People) -> str:
    return person(0) if people.random.random() < 0.5 else mostly_known(people)


def mostly_new(people: People) -> str:
    return people.anew() if people.random.random() < 0.8 else people.returning()


TRAFFIC: Mapping[str, Whose] = {
    "known people, 5 % new": mostly_known,
    "half on one person": half_on_one,
    "80 % new people": mostly_new,
}
