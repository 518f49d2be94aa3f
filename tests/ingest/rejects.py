"""Rejected events, as those see them who send them, and those who mend them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from shared import topics
from shared.clock import system_clock
from shared.events import Reason, Refusal, Rejected, Touchpoint, encode
from shared.health import Health
from shared.kafka import Kafka
from tests.builders import Json, batch
from tests.ingest.door import SECRET_KEY, Door, read
from tests.waiting import until

SECRET = (SECRET_KEY, "")


def bad(name: str, total: str = "12.5", **rest: Any) -> Json:
    """A call whose properties are a text: `MENDED` makes an object of it."""
    return {
        "type": "track",
        "event": name,
        "userId": "u-1",
        "properties": total,
        "messageId": f"m-{uuid.uuid4()}",
        **rest,
    }


MENDED = {"set": {"properties": "{'total': double(event.properties)}"}}
NO_HELP = {"set": {"context": "{}"}}


async def ask(door: Door, path: str = "", *, expected: int = 200, **query: Any) -> Any:
    answer = await door.client.get(f"/v1/rejected{path}", params=query, auth=SECRET)
    assert answer.status_code == expected, answer.text
    return answer.json()


async def order(door: Door, what: str, select: Json, *, expected: int = 200, **rest: Any) -> Any:
    answer = await door.client.post(f"/v1/rejected/{what}", json={"select": select, **rest}, auth=SECRET, timeout=60)
    assert answer.status_code == expected, answer.text
    return answer.json()


async def replay(door: Door, select: Json, fix: Any = MENDED, *, dry_run: bool = False, **rest: Any) -> Any:
    return await order(door, "replay", select, fix=fix, dry_run=dry_run, **rest)


async def waiting(door: Door, name: str, count: int) -> list[Json]:
    """The rejected events of that name, once there are so many, the oldest first."""

    async def look() -> list[Json] | None:
        items: list[Json] = (await ask(door, event=name, limit=500))["rejected"]
        assert len(items) <= count
        return items[::-1] if len(items) == count else None

    return await until(look)


async def refused(door: Door, name: str, *calls: Json, **rest: Any) -> list[Json]:
    """Send `calls`, all of them bad; what the queue then has of that name."""
    answer = await door.post("/v1/batch", batch(*calls), **rest)
    assert answer.status_code == 400, answer.text
    return await waiting(door, name, len(calls))


async def logged(door: Door, name: str) -> list[Touchpoint]:
    return [each for each in await read(door.kafka, topics.TOUCHPOINTS, Touchpoint) if each.data.name == name]


def column(items: Sequence[Json], field: str) -> list[Any]:
    return [each[field] for each in items]


def refusal(name: str, **rest: Any) -> Refusal:
    call = bad(name)
    said = {"body": encode(call), "message_id": call["messageId"], "type": "track", "name": name}
    told = {"received_at": system_clock(), **said, **rest}
    return Refusal(reasons=(Reason("$.properties", "wrong_type", "properties must be an object"),), **told)


def rejection(name: str, **rest: Any) -> Rejected:
    return Rejected(id=str(uuid.uuid4()), source="web", time=system_clock(), data=refusal(name, **rest))


async def given(door: Door, events: Sequence[Rejected]) -> None:
    """Append these to the topic, as ingest does."""
    async with Kafka.open(door.kafka, Health()) as kafka:
        await kafka.log(topics.REJECTED).append([(each.source.encode(), encode(each)) for each in events])
