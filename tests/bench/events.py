"""What the bench sends: touchpoints of 850 bytes, as a shop's pages would, alone or in batches."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.bench.load import MARK, Requests, post

EVENT_BYTES = 850

BATCHES = 64
"""Templates of a batch: with 100 events each, 6,400 users take turns."""

NAMES = ("Product Viewed", "Product Added", "Product Viewed", "Checkout Started", "Product Viewed")


def event(user: str, number: str, *, order: bool = False) -> bytes:
    """One `track` call of exactly EVENT_BYTES. `number` makes its id; `MARK` may stand in it."""
    properties: dict[str, Any] = {"product_id": f"sku-{len(user)}", "price": 19.9, "currency": "USD", "padding": ""}
    if order:
        properties |= {"order_id": f"o-{number}", "total": 42.5, "products": [{"product_id": "sku-1", "quantity": 1}]}
    call = {
        "type": "track",
        "event": "Order Completed" if order else NAMES[sum(user.encode()) % len(NAMES)],
        "messageId": f"m-{number}",
        "userId": user,
        "anonymousId": f"a-{user}",
        "properties": properties,
        "context": {
            "channel": "web",
            "library": {"name": "analytics.js", "version": "2.1.0"},
            "page": {"url": "https://shop.example/records/jazz", "title": "Jazz", "referrer": "https://shop.example/"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
            "locale": "en-GB",
        },
    }
    properties["padding"] = "x" * (EVENT_BYTES - len(_json(call)))
    return _json(call)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def batch(number: int, size: int, new: int = 0) -> bytes:
    """The template of a batch of `size` events of as many users; one in ten is an order.

    `new`: one in so many is of somebody who has never been there; 0, of nobody.
    """
    mark = MARK.decode()
    users = [f"n-{mark}-{i:03d}" if new and i % new == new - 1 else f"u-{number * size + i:05d}" for i in range(size)]
    events = [event(user, f"{mark}-{i:03d}", order=i % 10 == 0) for i, user in enumerate(users)]
    return b'{"batch":[' + b",".join(events) + b"]}"


def batches(url: str, key: str, size: int, first: int = 0, new: int = 0) -> Requests:
    """Requests that post batches, numbered from `first`."""
    templates = tuple(post(url, "/v1/batch", batch(number, size, new), basic(key)) for number in range(BATCHES))
    return Requests(templates, first)


def singles(url: str, key: str) -> Requests:
    """Requests that post one event each."""
    mark = MARK.decode()
    return Requests(tuple(post(url, "/v1/track", event(f"u-{n:05d}", mark), basic(key)) for n in range(BATCHES)))


def basic(key: str) -> str:
    """The header that carries a key."""
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()
