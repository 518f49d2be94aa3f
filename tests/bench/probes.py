"""Probes: somebody new buys something, and we look, again and again, where it shows already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from tests.bench.client import Client
from tests.bench.events import event
from tests.bench.stack import BenchFailed, Stack

EVERY = 0.2
"""Seconds between two probes: looking must not be what keeps the services busy."""

GLANCE = 0.015
PATIENCE = 20.0

Seen = Mapping[str, float]
"""Seconds after ingest's answer: in the profile, in the scores, in the decision."""


async def probe(stack: Stack, seconds: float) -> list[Seen]:
    """Probes for that long. Each has a thread and connections of its own."""
    until = time.perf_counter() + seconds
    probes: list[asyncio.Task[Seen]] = []
    while time.perf_counter() < until:
        prober = Prober(stack, f"probe-{time.time_ns()}")
        probes.append(asyncio.create_task(asyncio.to_thread(prober.run)))
        await asyncio.sleep(EVERY)
    return list(await asyncio.gather(*probes))


class Prober:
    """One new customer and their first order."""

    def __init__(self, stack: Stack, user: str) -> None:
        self.user = user
        self.client = Client(stack)

    def run(self) -> Seen:
        """Post the order, then look until it shows everywhere. Raises BenchFailed where it does not."""
        looks: dict[str, Callable[[], bool]] = {
            "profile": self._in_profile,
            "scores": self._in_scores,
            "decision": self._in_decision,
        }
        posted = self.client.call("ingest", "POST", "/v1/track", event(self.user, self.user, order=True))
        accepted = time.perf_counter()
        if posted.status != 200:
            raise BenchFailed(f"ingest answered a probe with {posted.status}")
        seen: dict[str, float] = {}
        while looks:
            for where in [where for where, look in looks.items() if look()]:
                seen[where] = time.perf_counter() - accepted
                del looks[where]
            if time.perf_counter() > accepted + PATIENCE:
                raise BenchFailed(f"an order was not visible in {', '.join(looks)} after {PATIENCE:.0f} s")
            time.sleep(GLANCE)
        self.client.close()
        return seen

    def _in_profile(self) -> bool:
        answer = self.client.call("profile", "GET", f"/v1/profiles/user_id:{self.user}")
        return answer.status == 200 and answer.body["computed"]["order_count"] == 1

    def _in_scores(self) -> bool:
        answer = self.client.call("scoring", "GET", f"/v1/scores/user_id:{self.user}")
        return answer.status == 200 and bool(answer.body["purchases"]) and answer.body["purchases"]["count"] == 1

    def _in_decision(self) -> bool:
        asked = {"profile": f"user_id:{self.user}", "placement": "probe", "channel": "web", "context": {}, "limit": 1}
        return self.client.call("personalize", "POST", "/v1/decide", asked).body.get("profile_id") is not None
