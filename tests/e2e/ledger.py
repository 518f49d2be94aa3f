"""A ledger kept outside the system: what was accepted, what got no answer, what was refused; and what follows from it.

The oracle is as plain as can be: it counts in the log, knows nothing of fragments, graphs or batches, and takes every
event once by (source, id).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import msgspec
from aiokafka import ConsumerRecord

from shared.clock import Clock, rfc3339
from shared.events import Touchpoint
from tests.builders import Json, identify, order, page, track
from tests.e2e.temas import Temas

DEVICES = ("phone", "laptop")


@dataclass(frozen=True)
class Person:
    """Somebody with a login and two devices."""

    name: str

    @property
    def devices(self) -> Sequence[str]:
        return [f"{self.name}-{device}" for device in DEVICES]

    def logins(self) -> Iterator[Json]:
        for device in self.devices:
            yield identify(self.name, anonymous=device, messageId=f"{device}-login")

    def contact(self, id: str, chance: random.Random) -> Json:
        """Something that this person might do next."""
        what = chance.random()
        if what < 0.2:
            return order(chance.randrange(1, 400) / 4, id=f"o-{id}", user=self.name, messageId=id)
        if what < 0.6:
            return page("Home", anonymous=chance.choice(self.devices), messageId=id)
        return track("Product Viewed", {"sku": chance.randrange(9)}, user=self.name, messageId=id)


@dataclass
class Ledger:
    """Message ids by what became of them: accepted (2xx), no answer that says, refused (4xx)."""

    accepted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def note(self, calls: Sequence[Json], answer: httpx.Response | None) -> bool:
        """Write down an answer, or that there was none. Whether the calls are accepted."""
        ids = {call["messageId"] for call in calls}
        if answer is None or answer.status_code in {429, 503}:
            self.unknown |= ids
            return False
        if answer.status_code == 200:
            assert answer.json() == {"success": True}
            assert "temas-rejected" not in answer.headers
            self.accepted |= ids
            return True
        assert answer.status_code == 400, f"{answer.status_code} {answer.text}"
        self.refused |= ids
        return False


@dataclass
class Client:
    """Sends all the time. Where it gets no answer it mostly sends again, with the same ids; sometimes it gives up.

    With `clock`, it says of each call when that was, and of each batch when it is sent, as the SDKs do.
    """

    name: str
    temas: Temas
    people: Sequence[Person]
    ledger: Ledger
    chance: random.Random
    clock: Clock | None = None
    sent: int = 0

    async def run(self, enough: asyncio.Event) -> None:
        while not enough.is_set():
            if self.chance.random() < 0.05:
                await self._deliver([self._nonsense()], enough)
            else:
                await self._deliver([self._contact() for _ in range(self.chance.randint(1, 30))], enough)
            await asyncio.sleep(0.03)

    async def _deliver(self, calls: Sequence[Json], enough: asyncio.Event) -> None:
        """Send until accepted, or given up; now and then once more, as if the answer had been lost on its way."""
        if self.chance.random() < 0.05:
            self.ledger.note(calls, await attempt(self.temas, calls, self.clock))
        while not self.ledger.note(calls, await attempt(self.temas, calls, self.clock)):
            if enough.is_set() or self.chance.random() < 0.15 or calls[0]["messageId"] in self.ledger.refused:
                return
            await asyncio.sleep(0.3)

    def _contact(self) -> Json:
        # Half of all traffic is one person's.
        person = self.people[0] if self.chance.random() < 0.5 else self.chance.choice(self.people)
        contact = person.contact(self._id(), self.chance)
        return contact if self.clock is None else {**contact, "timestamp": rfc3339(self.clock())}

    def _nonsense(self) -> Json:
        return {"type": "track", "event": "Nobody did this", "messageId": self._id()}

    def _id(self) -> str:
        self.sent += 1
        return f"{self.name}-{self.sent}"


async def attempt(temas: Temas, calls: Sequence[Json], clock: Clock | None = None) -> httpx.Response | None:
    """The answer to a batch that is sent at the moment that `clock` shows; None where there was none."""
    sent = {} if clock is None else {"sentAt": rfc3339(clock())}
    try:
        return await temas.post(*calls, **sent)
    except httpx.TransportError:
        return None


@dataclass(frozen=True)
class Truth:
    """The contacts, orders and money (in cents) of each person, as the log has them.

    `delays` are by message id: from when it happened to when it was received.
    """

    touchpoints: Counter[str]
    orders: Counter[str]
    cents: Counter[str]
    delays: Mapping[str, timedelta]
    repetitions: int

    @property
    def ids(self) -> Set[str]:
        return self.delays.keys()


def truth(records: Iterable[ConsumerRecord]) -> Truth:
    """The oracle. An anonymous visitor `name-device` is the person `name`: their logins stand in the log."""
    arrived = [msgspec.json.decode(record.value, type=Touchpoint) for record in records]
    unique = {(each.source, each.id): each for each in arrived}
    touchpoints, orders, cents = Counter[str](), Counter[str](), Counter[str]()
    for each in unique.values():
        person = each.data.user_id or str(each.data.anonymous_id).rpartition("-")[0]
        touchpoints[person] += 1
        if each.data.name == "Order Completed":
            orders[person] += 1
            cents[person] += round(100 * each.properties()["total"])
    delays = {each.id: each.data.received_at - each.time for each in unique.values()}
    return Truth(touchpoints, orders, cents, delays, len(arrived) - len(unique))


@dataclass
class Versions:
    """The newest version that anybody has been shown of each thing. Sees when one goes back."""

    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    went_back: list[str] = field(default_factory=list)
    looks: int = 0

    def note(self, where: str, body: Any) -> None:
        id, version = body["profile_id"], body["version"]
        newest = self.seen.get((where, id), 0)
        if version < newest:
            self.went_back.append(f"{where} {id}: {newest} was shown, then {version}")
        self.seen[where, id] = max(version, newest)
        self.looks += 1

    async def watch(self, where: str, read: Callable[[str], Awaitable[Json]], people: Sequence[Person]) -> None:
        """Read the same thing of everybody all the time, until cancelled."""
        while True:
            for person in people:
                with contextlib.suppress(AssertionError, httpx.TransportError, TimeoutError):  # it is down just now
                    async with asyncio.timeout(3):
                        self.note(where, await read(f"user_id:{person.name}"))
                await asyncio.sleep(0.05)
