"""A visitor of the shop: new in each run, and what their browser and the shop's own servers would send."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from shared.clock import rfc3339

Json = Mapping[str, Any]


@dataclass
class Visitor:
    """Someone with a cookie, who has a name for us only once they log in. Numbers what they do, for its message ids."""

    tag: str
    touchpoints: int = field(default=0)

    @classmethod
    def new(cls) -> Self:
        return cls(secrets.token_hex(4))

    @property
    def anonymous_id(self) -> str:
        return f"demo-cookie-{self.tag}"

    @property
    def user_id(self) -> str:
        return f"demo-{self.tag}"

    @property
    def email(self) -> str:
        return f"deniz-{self.tag}@example.com"

    @property
    def stranger(self) -> str:
        """How a page asks for them before they log in."""
        return f"anonymous_id:{self.anonymous_id}"

    @property
    def customer(self) -> str:
        """How a page asks for them afterwards."""
        return f"user_id:{self.user_id}"

    def views(self, page: str) -> Json:
        return self._call("page", anonymousId=self.anonymous_id, name=page, properties={"path": f"/{page.lower()}"})

    def logs_in(self) -> Json:
        traits = {"email": self.email, "name": "Deniz", "favourite": "jazz"}
        return self._call("identify", anonymousId=self.anonymous_id, userId=self.user_id, traits=traits)

    def declines(self, purpose: str) -> Json:
        """They untick a box."""
        return self._track("Consent Changed", {"purpose": purpose, "channel": "web", "granted": False})

    def orders(self, total: float) -> Json:
        products = [{"product_id": "kind-of-blue", "quantity": 1, "price": total}]
        properties = {"order_id": f"order-{self.tag}", "total": total, "currency": "USD", "products": products}
        return self._track("Order Completed", properties)

    def responds(self, how: str, decision_id: str, offer_id: str) -> Json:
        """`how`: Shown, Clicked, Accepted or Dismissed."""
        return self._track(f"Offer {how}", {"decision_id": decision_id, "offer_id": offer_id})

    def _track(self, event: str, properties: Json) -> Json:
        return self._call(
            "track", anonymousId=self.anonymous_id, userId=self.user_id, event=event, properties=properties
        )

    def _call(self, kind: str, **fields: Any) -> Json:
        self.touchpoints += 1
        return {
            "type": kind,
            "messageId": f"demo-{self.tag}-{self.touchpoints}",
            "timestamp": rfc3339(datetime.now(UTC)),
            "context": {"channel": "web"},
            **fields,
        }
