"""A whole stack as its clients see it: HTTP in, HTTP out. Beside that, what only a test may look at: log and tables."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from shared.topics import TOUCHPOINTS, Topic
from tests.builders import Json, batch
from tests.servers import Stack
from tests.waiting import until

CONSUMERS = ("profile", "scoring", "personalize")

UNPUBLISHED: Mapping[str, str] = {
    "profile": "SELECT count(*) FROM profile.mark",
    "scoring": "SELECT count(*) FROM scoring.score WHERE version > published",
}
"""What a service has still to publish."""


@dataclass(frozen=True)
class Temas:
    """The stack's four services. Every call but `post` expects an answer of the 200s."""

    stack: Stack
    http: httpx.AsyncClient

    # --- as clients do -----------------------------------------------------------------------------------------------

    async def post(self, *calls: Json, key: str = "TEMAS_WRITE_KEY", **rest: Any) -> httpx.Response:
        """A batch to ingest, with what else its body has, whatever the answer."""
        auth = (self.stack.environment[key], "")
        return await self.http.post(f"{self.stack.url('ingest')}/v1/batch", json=batch(*calls, **rest), auth=auth)

    async def send(self, *calls: Json, key: str = "TEMAS_WRITE_KEY") -> str:
        """A batch that must be accepted whole. Gives its position."""
        answer = await self.post(*calls, key=key)
        assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.text
        assert "temas-rejected" not in answer.headers, answer.headers
        return answer.headers["temas-position"]

    async def ask(self, service: str, path: str, *, method: str = "GET", **rest: Any) -> Any:
        """The JSON that `service` answers to whoever has the secret key."""
        auth = (self.stack.environment["TEMAS_SECRET_KEY"], "")
        answer = await self.http.request(method, self.stack.url(service) + path, auth=auth, **rest)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def profile(self, person: str, **query: Any) -> Json:
        found: Json = await self.ask("profile", f"/v1/profiles/{quote(person, safe='')}", params=query)
        return found

    async def timeline(self, person: str) -> list[Json]:
        """Everything that happened, page after page, newest first."""
        found: list[Json] = []
        query: dict[str, str] = {"limit": "500"}
        while True:
            page = await self.ask("profile", f"/v1/profiles/{quote(person, safe='')}/timeline", params=query)
            found += page["touchpoints"]
            if page["next"] is None:
                return found
            query["cursor"] = page["next"]

    async def scores(self, person: str, **query: Any) -> Json:
        found: Json = await self.ask("scoring", f"/v1/scores/{quote(person, safe='')}", params=query)
        return found

    async def offer(self, id: str, **body: Any) -> None:
        await self.ask("personalize", f"/v1/offers/{id}", method="PUT", json={"name": id, "kind": "content", **body})

    async def decide(self, person: str, placement: str, **rest: Any) -> Json:
        asked = {"profile": person, "placement": placement, **rest}
        found: Json = await self.ask("personalize", "/v1/decide", method="POST", json=asked)
        return found

    async def decision(self, id: str) -> Json:
        """The record of a decision, once it is there."""
        found: Json = await until(lambda: self.ask("personalize", f"/v1/decisions/{id}"))
        return found

    # --- as only a test does -----------------------------------------------------------------------------------------

    async def select(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows of any table, by the database's administrator."""
        connection = await asyncpg.connect(self.stack.environment["TEMAS_DATABASE_URL"])
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    async def log(self, topic: Topic = TOUCHPOINTS) -> list[ConsumerRecord]:
        """All records of the topic, read from Kafka directly."""
        async with self._reader() as consumer:
            partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[ConsumerRecord] = []
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return found

    async def settled(self) -> None:
        """Return once every service has applied all that the log holds, and published what followed from it."""

        async def nothing_waits() -> bool:
            waiting = [*await self._behind(), *await self._unpublished()]
            assert not waiting, "; ".join(waiting)
            return True

        await until(nothing_waits)

    async def _behind(self) -> list[str]:
        async with self._reader() as consumer:
            partitions = [TopicPartition(TOUCHPOINTS.name, number) for number in range(TOUCHPOINTS.partitions)]
            ends = {each.partition: end for each, end in (await consumer.end_offsets(partitions)).items() if end}
        statement = "SELECT partition, next_offset FROM {}.stream_offset WHERE topic = $1 AND next_offset > 0"
        applied = {
            service: {row[0]: row[1] for row in await self.select(statement.format(service), TOUCHPOINTS.name)}
            for service in CONSUMERS
        }
        return [f"{service} has applied {done} of {ends}" for service, done in applied.items() if done != ends]

    async def _unpublished(self) -> list[str]:
        counts = {service: (await self.select(statement))[0][0] for service, statement in UNPUBLISHED.items()}
        return [f"{service} has {count} to publish" for service, count in counts.items() if count]

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.stack.environment["TEMAS_KAFKA_BOOTSTRAP"], enable_auto_commit=False
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()


@asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[Temas]:
    """A client of `stack`."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    async with httpx.AsyncClient(timeout=httpx.Timeout(60.0), limits=limits) as http:
        yield Temas(stack, http)


def unique(name: str) -> str:
    """A name that nobody has used in this stack yet."""
    return f"{name}-{secrets.token_hex(4)}"


def identifiers(view: Json) -> set[str]:
    """Those of a profile, as `kind:value`."""
    return {f"{each['kind']}:{each['value']}" for each in view["identifiers"]}


def lost(decision: Json) -> dict[str, str | None]:
    """Each candidate of a decision's record, with the gate it failed; None where it was ranked."""
    return {candidate["offer_id"]: candidate["gate"] for candidate in decision["candidates"]}


def shown(decision: Json) -> Sequence[str]:
    """The offers of an answer, the best first."""
    return [offer["offer_id"] for offer in decision["offers"]]
